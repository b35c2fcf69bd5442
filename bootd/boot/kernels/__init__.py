"""Kernels: found in an image, put on ``$BOOT``, and the arguments they are started with."""
