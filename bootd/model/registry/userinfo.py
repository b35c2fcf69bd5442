"""What people put before an ``@``: a name and a password, which nobody else may read."""

from __future__ import annotations

import re
from typing import Final

_DIGEST: Final = re.compile(r"@sha[0-9]{3}:[0-9a-zA-Z]*\Z", re.ASCII)
_IMAGE_ID: Final = re.compile(r"@[0-9a-f]{6,64}\Z", re.ASCII)
_LOCAL: Final = re.compile(
    r"(?P<path>(?:oci|oci-archive|dir|docker-archive):/)|containers-storage:(?:\[[^]]*\])?"
)
"""What has files of this machine behind it: an ``@`` in a path is nobody's password."""
_HIDDEN: Final = "…"


def without_userinfo(text: str) -> str:
    """Return a text with all that stands before its last ``@`` hidden, but for a scheme.

    A password may itself contain what separates the parts of a URL, so nothing before that ``@`` is
    shown.
    """
    before, at, rest = text.rpartition("@")
    if not at:
        return text
    scheme, separator, _ = before.partition("://")
    return f"{scheme}{separator}{_HIDDEN}@{rest}" if separator else f"{_HIDDEN}@{rest}"


def has_userinfo(reference: str) -> bool:
    """Return whether there is an ``@`` in an image reference that neither digest nor ID follows."""
    local = _LOCAL.match(reference)
    if local is not None and local["path"]:
        return False
    name = reference if local is None else _IMAGE_ID.sub("", reference[local.end() :])
    return "@" in _DIGEST.sub("", name)


def shown_reference(reference: str) -> str:
    """Return an image reference, or what was meant to be one, as a message may repeat it."""
    if not has_userinfo(reference):
        return reference
    digest = _DIGEST.search(reference)
    name = reference if digest is None else reference[: digest.start()]
    return without_userinfo(name) + ("" if digest is None else digest[0])
