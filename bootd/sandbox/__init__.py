"""Processes that hold no power: they read bytes from outside, answer, and can do nothing else."""
