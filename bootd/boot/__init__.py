"""Boot entries, kernels on ``$BOOT`` and kernel arguments."""
