"""When a machine looks for an update by itself: rules without I/O, whose clock is an argument."""
