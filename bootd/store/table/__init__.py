"""Layers that tell where in the blob each file is, so that only some of them need be fetched.

Two formats, both ordinary layers to those who do not know them. Sources: containers/storage,
docs/containers-storage-zstd-chunked.md and pkg/chunked/internal/minimal/compression.go
(zstd:chunked); containerd/stargz-snapshotter, docs/estargz.md (eStargz).

Nothing here is believed: a table is a hint where contents may be found, and whoever uses it checks
what was found. Everything that is odd about one is an `InvalidLayerError`, upon which the layer is
fetched whole.
"""
