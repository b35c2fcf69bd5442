"""The SELinux labels of what bootd writes into a machine's ``/etc``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from bootd.durable import storage_errors
from bootd.etc.disk.labels import Labels, Read
from bootd.model.tree import Directory, Metadata, Node, RegularFile
from bootd.store.contents import StoreContents
from bootd.store.selinux.image_labels import reader_of
from bootd.store.selinux.labelling import LABEL, kind_of
from bootd.store.selinux.policy import read_configuration, read_policy
from bootd.store.selinux.specifications import SpecificationError

_log = logging.getLogger(__name__)


def policy_labels(read: Read) -> Labels | None:
    """Return the labels of the policy that is read; None: there is none, or it cannot be used.

    No upgrade fails because of a policy that a machine changed: what the image's gave to its
    files stays then, and the journal tells.
    """
    try:
        configuration = read_configuration(read)
        policy = None if configuration is None else read_policy(read, configuration.name)
    except SpecificationError as error:
        _log.warning("What arrives in /etc gets the labels of the image's policy: %s", error)
        return None
    if policy is None:
        return None

    def labels(path: bytes, node: Node) -> bytes | None:
        try:
            return policy.label(path, kind_of(node))
        except SpecificationError as error:
            _log.warning("%r keeps the label it has: %s", path, error)
            return node.metadata.xattrs.get(LABEL)

    return labels


def label_written(
    etc: Path, names: Iterable[str], defaults: Directory, contents: StoreContents
) -> None:
    """Label files that were written into a machine's first ``/etc``; not yet durable.

    Args:
        etc: the machine's.
        names: of the files in it.
        defaults: the image's ``/etc``, whose policy counts.
        contents: reads what the image has.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way.
    """
    labels = policy_labels(reader_of(defaults, contents))
    if labels is None:
        return
    for name in names:
        path = etc / name
        label = labels(b"/etc/" + name.encode(), RegularFile(Metadata(), 0, b""))
        if label is not None and path.is_file():
            with storage_errors("label", path):
                os.setxattr(path, LABEL, label, follow_symlinks=False)
