"""Layers that tell where in the blob each file is, so that only some of them need be fetched.

The format is zstd:chunked, an ordinary layer to those who do not know it. Sources:
containers/storage, docs/containers-storage-zstd-chunked.md and
pkg/chunked/internal/minimal/compression.go.

Nothing here is believed: a table is a hint where contents may be found, and whoever uses it checks
what was found. Everything that is odd about one is an `InvalidLayerError`, upon which the layer is
fetched whole.
"""
