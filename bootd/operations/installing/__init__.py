"""The parts of an installation: disks, what they lie on, and other systems beside it."""
