"""Requests: the arguments of an operation, checked where they come in, whole to where they go.

A request is made of what a caller on the bus gave, and goes to the process of a job as JSON. What
is wrong in it is refused before anybody is asked for leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from bootd.model.action import Action
from bootd.model.deployment import DeploymentId
from bootd.model.digest import Digest
from bootd.model.errors import InvalidArgumentError
from bootd.model.validation import in_words
from bootd.registry.reference import parse_reference

MAX_TEXT: Final = 4_096
"""Characters of a line."""
MAX_PATHS: Final = 1_000
"""So that a request to the worker stays below its bound, however long the paths are."""

RequestT = TypeVar("RequestT", bound="Request")


class Request(BaseModel):
    """What all requests share.

    The fields are called as the operation calls its arguments; one that callers call otherwise has
    that name as its alias.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @property
    def is_automatic(self) -> bool:
        """Whether nobody asked for it."""
        return False

    @property
    def is_of_followed(self) -> bool:
        """Whether it is about the image that the machine follows, and no other."""
        return True

    def action(self, usual: Action) -> Action:
        """Return the polkit action that it takes.

        Args:
            usual: that of its kind.
        """
        return usual

    def details(self) -> dict[str, str]:
        """Return what polkit's rules, and its question to a person, may say of it."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """Return what of it the operation is given, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def as_json(self) -> dict[str, Any]:
        """Return it as it goes to another process."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


class NoArguments(Request):
    """A request that says nothing."""


def make_request(model: type[RequestT], given: Mapping[str, Any]) -> RequestT:
    """Return the request that a caller makes.

    Args:
        model: the kind's.
        given: its arguments and options, by name.

    Raises:
        InvalidArgumentError: an argument is missing, unknown or none; or another error of a
            reference, a digest or an ID that is none.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InvalidArgumentError(in_words(error)) from error


def checked(text: str, what: str) -> str:
    """Return a printable line.

    Args:
        text: what a caller gave.
        what: what it is called in the refusal.

    Raises:
        InvalidArgumentError: it is none, or too long.
    """
    if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
        raise InvalidArgumentError(
            f"{what} must be printable text of 1 to {MAX_TEXT} characters, not {text[:100]!r}"
        )
    return text


def _checked_reference(text: str) -> str:
    # A job's error is for all to read; what is no reference may be a password, and is not.
    parse_reference(text)
    return checked(text, "reference")


def _checked_paths(paths: list[str]) -> list[str]:
    if not 0 < len(paths) <= MAX_PATHS:
        raise InvalidArgumentError(f"name 1 to {MAX_PATHS} paths, not {len(paths)}")
    return [checked(path, "path") for path in paths]


def _checked_words(words: list[str]) -> list[str]:
    # What is no argument is refused by the job; this is so that its request has a bound.
    if sum(map(len, words)) > MAX_TEXT or len(words) > MAX_PATHS:
        raise InvalidArgumentError(
            f"kernel arguments of {sum(map(len, words))} characters are more than a kernel takes"
        )
    return words


def _any_paths(paths: list[str]) -> list[str]:
    return _checked_paths(paths) if paths else []


Reference = Annotated[str, AfterValidator(_checked_reference)]
"""The reference of an image."""
Path = Annotated[str, AfterValidator(partial(checked, what="path"))]
"""A path as reports print it."""
CopyName = Annotated[str, AfterValidator(partial(checked, what="copy"))]
Verb = Annotated[str, AfterValidator(partial(checked, what="verb"))]
Choice = Annotated[str, AfterValidator(partial(checked, what="choice"))]
Paths = Annotated[list[str], AfterValidator(_checked_paths)]
"""1 to 1,000 of them."""
AnyPaths = Annotated[list[str], AfterValidator(_any_paths)]
"""At most 1,000 of them; none stands for all."""
Words = Annotated[list[str], AfterValidator(_checked_words)]
"""Kernel arguments, of which nothing but the size is looked at."""
# Before pydantic looks at a text, so that what is none has the error of its own.
AnyDigest = Annotated[Digest, BeforeValidator(Digest)]
AnyDeployment = Annotated[DeploymentId, BeforeValidator(DeploymentId)]
