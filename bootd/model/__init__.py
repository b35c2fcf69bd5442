"""Plain data: no file, no socket, no clock is touched on this floor."""
