"""Images: a tree that grows by layers, its shape on a host, and what is kept of it."""
