"""Who may read what of a document, and how its text is kept harmless: one rule for each field.

A field of text has one of the types here, or a `Reader` among its annotations; a field of anything
else may have one. What has none is for anybody. A test fails for text without a rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel

from bootd.model.text import lines, one_line, printable

MAX_LINES: Final = 65_536
"""Characters of text of several lines."""
WITHHELD: Final = "shown to root, and to whom polkit grants org.bootd1.inspect"


class Reader(StrEnum):
    """For whom a field is."""

    ANYBODY = "anybody"
    """Any user of the machine; it also stands in ``/run/bootd/status/status.json``."""
    INSPECTOR = "inspector"
    """Root, and whoever has the polkit action ``org.bootd1.inspect``: lines of the journal, output
    of programs, words of errors, and what files hold that only root may read."""


Shown = Annotated[str, AfterValidator(one_line), Reader.ANYBODY]
"""A line for anybody."""
ShownText = Annotated[str, AfterValidator(printable), Reader.ANYBODY]
"""The same, where its field has another bound."""
Guarded = Annotated[str, AfterValidator(one_line), Reader.INSPECTOR]
"""A line for inspectors."""
GuardedText = Annotated[str, AfterValidator(printable), Reader.INSPECTOR]
"""The same, where its field has another bound."""
GuardedLines = Annotated[str, AfterValidator(partial(lines, limit=MAX_LINES)), Reader.INSPECTOR]
"""Text of several lines for inspectors."""


def for_anybody(model: type[BaseModel], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document of a model, as JSON has it, as anybody may read it.

    What is for inspectors is left out where the model has a default for it, else `WITHHELD` stands
    in place of its text.
    """
    public: dict[str, Any] = {}
    for name, value in document.items():
        field = model.model_fields.get(name)
        if field is None:
            continue
        shown = _public(field.annotation, value, *field.metadata)
        if shown is _NOTHING and field.is_required():
            shown = WITHHELD
        if shown is not _NOTHING:
            public[name] = shown
    return public


_NOTHING: Final = object()


def _public(kind: Any, value: Any, *notes: object) -> Any:
    """Return a value of a type as anybody may read it, or `_NOTHING`."""
    kind, reader = _peeled(kind, notes)
    if value is None or reader is Reader.INSPECTOR:
        return None if value is None else _NOTHING
    if get_origin(kind) in (Union, UnionType):
        [some] = [one for one in get_args(kind) if one is not NoneType]
        return _public(some, value)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return for_anybody(kind, value)
    if isinstance(value, list):
        [inner] = get_args(kind)
        return [shown for one in value if (shown := _public(inner, one)) is not _NOTHING]
    if isinstance(value, dict):
        _, inner = get_args(kind)
        items = ((key, _public(inner, one)) for key, one in value.items())
        return {key: shown for key, shown in items if shown is not _NOTHING}
    return value


def _peeled(kind: Any, notes: Sequence[object]) -> tuple[Any, Reader | None]:
    """Return a type without its annotations, and who may read it by these."""
    while get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        notes = (*notes, *more)
    return kind, next((note for note in notes if isinstance(note, Reader)), None)
