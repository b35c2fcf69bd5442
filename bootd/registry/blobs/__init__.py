"""Blobs on their way: whole, in parts, and resumed."""
