"""The tree of errors is complete: each has a code, a bus name, an exit status, advice."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from bootd.cli.verbs import GROUPS, VERBS
from bootd.model import errors
from bootd.model.errors import BUS_PREFIX, BootdError, InternalError, registered_errors

REGISTERED = registered_errors()
STATUSES = {
    errors.FAILED,
    errors.USAGE,
    errors.REFUSED,
    errors.NOT_AUTHORISED,
    errors.BUSY,
    errors.NOT_VERIFIED,
    errors.TRY_AGAIN,
}


def of_the_tree(root: type[BootdError]) -> Iterator[type[BootdError]]:
    for child in root.__subclasses__():
        if child.__module__.startswith(f"{errors.__name__}."):
            yield child
            yield from of_the_tree(child)


TREE = list(of_the_tree(BootdError))


def test_exit_statuses_are_the_published_ones() -> None:
    assert sorted(STATUSES) == [1, 2, 4, 5, 6, 7, 75]


def test_every_error_is_registered_and_every_family_is_not() -> None:
    concrete = {error for error in TREE if error.code}
    assert concrete == set(REGISTERED.values())
    for family in set(TREE) - concrete:
        assert any(issubclass(error, family) for error in concrete), family


@pytest.mark.parametrize("code", REGISTERED)
def test_an_error_has_all_it_needs(code: str) -> None:
    error = REGISTERED[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert error.code == code
    assert error.bus_name() == BUS_PREFIX + error.__name__.removesuffix("Error")
    assert re.fullmatch(r"org\.bootd1\.Error\.[A-Za-z]+", error.bus_name())
    assert error.__name__.endswith("Error")
    assert error.exit_status in STATUSES
    assert error.__doc__
    assert error.__doc__.endswith(".")
    assert error.default_hint.endswith(".")


def test_names_are_unique() -> None:
    assert len({error.bus_name() for error in REGISTERED.values()}) == len(REGISTERED)
    assert len({error.default_hint for error in REGISTERED.values()}) >= len(REGISTERED) - 5


@pytest.mark.parametrize("code", REGISTERED)
def test_an_error_crosses_a_process_boundary(code: str) -> None:
    sent = REGISTERED[code]("it broke", hint="mend it")
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is type(sent)
    assert (received.message, received.hint) == ("it broke", "mend it")


def test_the_raiser_knows_better() -> None:
    assert InternalError("x").hint == InternalError.default_hint
    assert InternalError("x", hint="y").hint == "y"
    assert InternalError("x", hint="").hint == ""


def test_hints_name_verbs_that_exist() -> None:
    words = {verb.words for verb in VERBS} | GROUPS.keys()
    coming = {"install", "lint"}
    for error in REGISTERED.values():
        for verb in re.findall(r"bootctl-py ([a-z]+)", error.default_hint):
            assert verb in words | coming, error
