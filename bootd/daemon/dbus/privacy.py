"""What anybody on the bus may be told; the rules for it stand in the models.

Anybody may read a job's properties, `Explain`, `GetHistory`, `ListDenied`, `GetStatus` and the
status file. What of them is for inspectors goes to those alone (`bootd.model.readers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from bootd.model import readers
from bootd.operations.jobs.looks import LOOKS
from bootd.operations.jobs.table import JOBS

PUBLISHED: Final[Mapping[str, type[BaseModel]]] = {
    str(model.model_fields["kind"].default): model
    for model in (
        *(kind.document for kind in JOBS.values()),
        *(look.document for look in LOOKS.values() if look.is_for_anybody),
    )
}
"""The documents that go to anybody, by their kind."""


def for_anybody(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document, as JSON has it, as anybody may read it; of an unknown one, its kind."""
    model = PUBLISHED.get(str(document.get("kind")))
    if model is None:
        return {key: document[key] for key in ("kind", "version") if key in document}
    return readers.for_anybody(model, document)
