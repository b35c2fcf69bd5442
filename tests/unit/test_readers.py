"""Every field of text in a document has a rule: who may read it, and that it is harmless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from bootd.daemon.dbus.privacy import PUBLISHED, for_anybody
from bootd.model.documents import Document
from bootd.model.readers import WITHHELD, Reader
from bootd.operations.jobs.table import JOBS

HOSTILE = "a\0b\nc\x1b[31md\u202ee\u2028f"
HARMLESS = "a\\x00b\\nc\\x1b[31md\\u202ee\\u2028f"


def models(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and all that its fields hold."""
    yield root
    for field in root.model_fields.values():
        for kind in leaves(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from models(kind)


def leaves(kind: Any) -> Iterator[Any]:
    """The types that a type is made of; text with its annotations."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        if inner is str:
            yield kind
            return
        yield from ((Annotated[one, *notes] if one is str else one) for one in leaves(inner))
    elif get_origin(kind) is Literal:
        return
    elif get_args(kind):
        for one in get_args(kind):
            yield from leaves(one)
    elif kind is not NoneType:
        yield kind


def has_reader(kind: Any) -> bool:
    return any(isinstance(note, Reader) for note in get_args(kind)[1:])


ALL = {model.__name__: model for published in PUBLISHED.values() for model in models(published)}


@pytest.mark.parametrize("model", ALL.values(), ids=ALL)
def test_every_text_has_a_rule(model: type[BaseModel]) -> None:
    without = []
    for name, field in model.model_fields.items():
        whole = any(isinstance(note, Reader) for note in field.metadata)
        for kind in leaves(field.annotation):
            inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
            if inner is str and not whole and not has_reader(kind):
                without.append(name)
    assert not without, (
        f"{model.__name__}: say with a type of bootd.model.readers who may read {without}"
    )


def test_what_jobs_answer_and_what_anybody_may_ask_for_is_published() -> None:
    answers = set()
    for kind in JOBS.values():
        answers.add(get_type_hints(kind.load())["return"])
    assert answers <= set(PUBLISHED.values())
    assert all(issubclass(one, Document) or "kind" in one.model_fields for one in answers)


def hostile(kind: Any) -> Any:
    """A value of a type with the same text in all places of text."""
    if get_origin(kind) in (Annotated, Literal):
        inner = get_args(kind)[0]
        return inner if get_origin(kind) is Literal else hostile(inner)
    if get_origin(kind) is list:
        return [hostile(get_args(kind)[0])]
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return {hostile(key): hostile(value)}
    if get_args(kind):
        return hostile(next(one for one in get_args(kind) if one is not NoneType))
    if kind is str:
        return HOSTILE
    return _samples(kind)


def _samples(kind: type) -> Any:
    if issubclass(kind, BaseModel):
        return {
            name: hostile(field.annotation)
            for name, field in kind.model_fields.items()
            # What has a form of its own takes nothing else.
            if not any(
                getattr(note, "pattern", None) or (getattr(note, "max_length", None) or 10) < 10
                for note in field.metadata
            )
        }
    known = {
        "DeploymentId": "0123456789abcdef.0",
        "Digest": "sha256:" + "0" * 64,
        "datetime": "2026-01-01T00:00:00Z",
        "bool": False,
        "int": 1,
        "float": 0.5,
    }
    return known[kind.__name__] if kind.__name__ in known else next(iter(kind))  # type: ignore[call-overload]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


DOCUMENTS = [one for one in PUBLISHED.values() if issubclass(one, Document)]


@pytest.mark.parametrize("model", DOCUMENTS, ids=lambda model: model.__name__)
def test_no_document_has_harmful_text(model: type[BaseModel]) -> None:
    document = model.model_validate(_samples(model)).model_dump(mode="json")
    assert HARMLESS in texts(document)
    kept = set("\n\t")
    assert all(
        letter in kept or letter.isprintable() for text in texts(document) for letter in text
    )


@pytest.mark.parametrize("model", PUBLISHED.values(), ids=PUBLISHED)
def test_anybody_reads_nothing_that_is_for_inspectors(model: type[BaseModel]) -> None:
    secret = json.dumps(model.model_validate(_samples(model)).model_dump(mode="json"))
    public = for_anybody(json.loads(secret))
    assert public["kind"] == model.model_fields["kind"].default
    assert not guarded(model, public)
    # What is left can be read as the same document.
    model.model_validate(public)


def guarded(model: type[BaseModel], document: dict[str, Any]) -> list[str]:
    """The names of fields for inspectors that hold something."""
    found = []
    for name, field in model.model_fields.items():
        kinds = list(leaves(field.annotation))
        value = document.get(name)
        marked = [*field.metadata, *(note for kind in kinds for note in get_args(kind)[1:])]
        if Reader.INSPECTOR in marked and value not in (None, WITHHELD, "", [], {}):
            found.append(name)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for one in inner_documents(value):
                    found += guarded(kind, one)
    return found


def inner_documents(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from inner_documents(one)


def test_a_document_that_nobody_knows_tells_its_kind_alone() -> None:
    assert for_anybody({"kind": "News", "version": 1, "text": "x"}) == {
        "kind": "News",
        "version": 1,
    }
