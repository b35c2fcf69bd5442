"""Objects: file contents under their fs-verity digest."""
