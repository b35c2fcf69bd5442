"""The EROFS metadata image of a deployment: written, and read back.

`write_erofs` writes what ``mkcomposefs`` 1.0.8 writes for the same tree, byte for byte, so a tree
has one fs-verity digest whoever computes it; `ErofsImage` reads such images and trusts nothing in
them.

On-disk format: Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. What composefs
puts into it: composefs 1.0.8, libcomposefs, and its man pages mkcomposefs(1) and composefs-dump(5).
"""

from bootd.store.erofs.reader import ErofsImage
from bootd.store.erofs.writer import encode_erofs, write_erofs

__all__ = ["ErofsImage", "encode_erofs", "write_erofs"]
