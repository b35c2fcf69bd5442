"""Fuzzing of whatever reads bytes from outside: ``make fuzz``."""
