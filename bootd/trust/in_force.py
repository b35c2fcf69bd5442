"""The policy for images that is in force on a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bootd.durable import storage_errors
from bootd.model.acceptance import POLICY_FILE
from bootd.model.errors import InvalidTrustPolicyError
from bootd.registry.reference import LayoutReference, Reference
from bootd.trust.policy import MAX_POLICY_SIZE, Policy, parse_policy
from bootd.trust.strict_json import InvalidJsonError


def load_policy(root: Path) -> Policy | None:
    """Return the machine's policy; None: it has none.

    Args:
        root: the folder that stands for ``/``.

    Raises:
        InvalidTrustPolicyError: the file is no policy.
        WriteFailedError: it cannot be read.
    """
    path = root / POLICY_FILE
    with storage_errors("read", path):
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_POLICY_SIZE + 1)
        except FileNotFoundError:
            return None
    try:
        return parse_policy(data)
    except InvalidJsonError as error:
        raise InvalidTrustPolicyError(f"{path}: {error}") from error


def without_links(reference: Reference) -> Reference:
    """Return a reference by whose path a policy can be asked: no link leads around a scope."""
    if isinstance(reference, LayoutReference):
        return replace(reference, path=reference.path.resolve())
    return reference
