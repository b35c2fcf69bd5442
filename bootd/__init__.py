"""Keeps a Linux machine on an OS image from an OCI registry, atomically."""

__version__ = "0.1.0"
