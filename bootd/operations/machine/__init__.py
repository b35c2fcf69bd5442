"""What a machine is at the moment, and what is remembered about it."""
