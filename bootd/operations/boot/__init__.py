"""What operations do on ``$BOOT``: entries, kernels, the loader, and the room they need."""
