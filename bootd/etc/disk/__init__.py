"""Folder trees on disk: read, written and changed without following anybody's links."""
