"""Which text belongs to which kind of document: each function that makes one is marked so."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ValidationError

from bootd.cli import render as folder
from bootd.cli.render.marked import MARKED
from bootd.cli.style import Style
from bootd.model import documents
from bootd.model.errors import InternalError

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Rendering(Generic[_Model]):
    """A kind of document, and what makes text of it."""

    model: type[_Model]
    text: Callable[[_Model, Style], str]

    def render(self, value: Mapping[str, Any], style: Style) -> str:
        """Return the text of a document that came as JSON.

        Raises:
            InternalError: it is not what its kind promises.
        """
        try:
            document = self.model.model_validate(value)
        except ValidationError as error:
            raise InternalError(
                f"the answer of kind {value.get('kind')} cannot be understood: {error}",
                hint="The daemon may be of another version: 'systemctl restart bootd'.",
            ) from error
        return self.text(document, style)


def _renderings() -> Iterator[tuple[str, Rendering[Any]]]:
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        if module.name != __name__:
            importlib.import_module(module.name)
    for text in MARKED:
        # Modules that must not load pydantic name their model to type checkers alone.
        model = next(iter(get_type_hints(text, localns=vars(documents)).values()))
        yield model.model_fields["kind"].default, Rendering(model, text)


RENDERINGS: Final[dict[str, Rendering[Any]]] = dict(_renderings())
"""By the document's ``kind``."""


def render(value: Mapping[str, Any], style: Style) -> str:
    """Return the text of a document that came as JSON.

    Raises:
        InternalError: its kind is not known, or it is not what its kind promises.
    """
    rendering = RENDERINGS.get(str(value.get("kind")))
    if rendering is None:
        raise InternalError(f"the answer is of an unknown kind: {value.get('kind')!r}")
    return rendering.render(value, style)
