"""Block devices: which the boot loader read, what they lie on, and where they are mounted."""
