"""Kernel arguments as somebody changes them: add, remove, set, unset, and sets that programs own.

The order of arguments counts (the last ``console=`` is ``/dev/console``), an argument may be there
several times, and what comes after ``--`` is init's and not the kernel's: all that is added goes
before it. Equal is what the kernel takes for equal, wherever the quotes are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bootd.boot.kernels.arguments import (
    ARGUMENTS_END,
    MAX_ARGUMENTS,
    end_of_arguments,
    key_of,
    names_own,
    split_arguments,
    with_more,
)
from bootd.model.errors import InvalidArgumentError, InvalidKernelArgumentsError


class ArgumentVerb(StrEnum):
    """How a list of arguments is changed."""

    ADD = "add"
    """Words go to the end, but for those that are there already."""
    REMOVE = "remove"
    """Words go away: exactly these, or the one whose key is named."""
    SET = "set"
    """Words take the place of all that have their keys."""
    UNSET = "unset"
    """All that have the named keys go away."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of an edit.

    Attributes:
        arguments: the list as it is now.
        absent: what was to go away and was not there.
    """

    arguments: list[str]
    absent: list[str]


def check_words(verb: ArgumentVerb, words: Sequence[str]) -> None:
    """Refuse what cannot be meant.

    Raises:
        InvalidArgumentError: a word is not one argument, or is not for anybody but bootd to say.
    """
    if len(words) > MAX_ARGUMENTS:
        raise InvalidArgumentError(f"name at most {MAX_ARGUMENTS} arguments, not {len(words)}")
    for word in words:
        try:
            split = split_arguments(word)
        except InvalidKernelArgumentsError as error:
            raise InvalidArgumentError(error.message) from error
        if split != [word] or not key_of(word) or word == ARGUMENTS_END:
            raise InvalidArgumentError(
                f"{word[:200]!r} is not one kernel argument",
                hint="Name each as a word of its own; quote spaces with double quotes.",
            )
        if names_own(word):
            raise InvalidArgumentError(f"{word[:200]!r} is for bootd to say")
        if verb is ArgumentVerb.UNSET and "=" in word:
            raise InvalidArgumentError(
                f"{word[:200]!r} is an argument and not a key",
                hint=f"'unset {key_of(word)}' takes all away that have that key; 'remove' takes "
                "this one.",
            )


def edit_arguments(arguments: Sequence[str], verb: ArgumentVerb, words: Sequence[str]) -> Edited:
    """Return the arguments as a verb changes them; the words are checked.

    Raises:
        InvalidArgumentError: a key is to be removed that several different arguments have.
    """
    edited = list(arguments)
    absent: list[str] = []
    if verb is ArgumentVerb.ADD:
        for word in words:
            if not any(_is_same(word, one) for one in edited[: end_of_arguments(edited)]):
                edited = with_more(edited, [word])
    elif verb is ArgumentVerb.SET:
        for key in dict.fromkeys(map(key_of, words)):
            edited = _with_key(edited, key, [word for word in words if key_of(word) == key])
    else:
        for word in words:
            going = _going(edited, verb, word)
            absent += [] if going else [word]
            end = end_of_arguments(edited)
            edited = [*(one for one in edited[:end] if one not in going), *edited[end:]]
    return Edited(edited, absent)


def replace_owned(arguments: Sequence[str], old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the arguments with one owner's in place of those it had; nobody else's change.

    Of words that others brought as well, the later ones are the owner's.
    """
    if list(old) == list(new) and not Counter(new) - Counter(arguments):
        return list(arguments)
    leaving = Counter(old)
    kept: list[str] = []
    for word in reversed(arguments):
        if leaving[word] > 0:
            leaving[word] -= 1
        else:
            kept.append(word)
    kept.reverse()
    return with_more(kept, new)


def _with_key(arguments: list[str], key: str, words: list[str]) -> list[str]:
    end = end_of_arguments(arguments)
    there = [index for index, one in enumerate(arguments[:end]) if key_of(one) == key]
    if [arguments[index] for index in there] == words:
        return arguments
    kept = [one for index, one in enumerate(arguments) if index not in there]
    place = there[0] if there else end
    return [*kept[:place], *words, *kept[place:]]


def _going(arguments: list[str], verb: ArgumentVerb, word: str) -> set[str]:
    """Return which arguments a word names."""
    kernels = arguments[: end_of_arguments(arguments)]
    exact = {one for one in kernels if _is_same(word, one)}
    if verb is ArgumentVerb.REMOVE and (exact or "=" in word):
        return exact
    named = {one for one in kernels if key_of(one) == key_of(word)}
    if verb is ArgumentVerb.REMOVE and len(named) > 1:
        raise InvalidArgumentError(
            f"{word} may be any of {', '.join(sorted(named))}"[:1_000],
            hint=f"Name the one that is meant, or take all away with 'unset {word}'.",
        )
    return named


def _is_same(one: str, other: str) -> bool:
    return one.replace('"', "") == other.replace('"', "")
