"""Tar: archives of layers, decompressed and read entry by entry."""
