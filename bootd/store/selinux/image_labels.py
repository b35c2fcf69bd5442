"""Labels for the tree of an image, by the policy that the image brings.

The defaults of ``/etc`` get the labels that they have there, where a machine finds them. A policy
that is named labels whatever its mode, since a tree that is read-only cannot be labelled later;
only where it is enforced does it have to.
"""

from __future__ import annotations

import logging

from bootd.model.errors import NoLabelsError
from bootd.model.tree import Directory, RegularFile, lookup
from bootd.store.contents import StoreContents
from bootd.store.images.host_layout import HostLayout, default_etc
from bootd.store.selinux.labelling import Labeller, unlabel
from bootd.store.selinux.policy import Reader, read_configuration, read_policy
from bootd.store.selinux.specifications import FILE_LIMIT, SpecificationError

_log = logging.getLogger(__name__)


def label_layout(layout: HostLayout, contents: StoreContents) -> None:
    """Label a host's root and the ``/var`` of its image, in place.

    Raises:
        NoLabelsError: the image enforces a policy that cannot label it.
        InvalidTreeError: see `Labeller`.
        StorageError: the store cannot be read.
    """
    defaults = default_etc(layout.root)
    read = reader_of(defaults, contents)
    enforcing = False
    try:
        configuration = read_configuration(read)
        if configuration is not None:
            enforcing = configuration.is_enforcing
            labeller = Labeller(read_policy(read, configuration.name))
            labeller.label(layout.root, elsewhere={id(defaults): b"/etc"})
            labeller.label(layout.var, b"/var")
            return
    except SpecificationError as error:
        if enforcing:
            raise NoLabelsError(f"the image enforces an SELinux policy, but {error}") from error
        _log.warning("The files of the image get no SELinux labels: %s", error)
    unlabel(layout.root)
    unlabel(layout.var)


def reader_of(etc: Directory, contents: StoreContents) -> Reader:
    """Return what reads the files of a policy below a tree of ``/etc``."""

    def read(name: str) -> bytes | None:
        node = lookup(etc, name.encode())
        if node is None:
            return None
        if not isinstance(node, RegularFile):
            raise SpecificationError(f"/etc/{name} is no file")
        if node.size > FILE_LIMIT:
            raise SpecificationError(f"/etc/{name} has {node.size} bytes, more than {FILE_LIMIT}")
        return contents.read(node)

    return read
