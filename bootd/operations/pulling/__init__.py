"""Layers on their way into the store, and the processes that bring them there."""
