"""The sampler of mutants: which faults it makes, and that tests which look notice them."""

from __future__ import annotations

import ast

import pytest
from support.mutate import MODULES, ROOT, mutants, sampled

pytestmark = pytest.mark.checkout


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a and b", {"a or b"}),
        ("a + 2", {"a - 2", "a + 3"}),
        ("x if y else z", {"x if True else z", "x if False else z"}),
        ("x = True", {"x = False"}),
        ("def f(x: int | None) -> None: ...", set()),
        ("f'{x}'", set()),
    ],
)
def test_one_fault_a_mutant(source: str, expected: set[str]) -> None:
    assert set(mutants(source)) == expected


@pytest.mark.parametrize("module", MODULES)
def test_the_sample_is_the_same_each_time(module: str) -> None:
    source = (ROOT / module).read_text()
    first = sampled(source, 5)
    assert first == sampled(source, 5)
    assert len(set(first)) == 5
    for mutant in first:
        ast.parse(mutant)
    for test in MODULES[module]:
        assert (ROOT / test).is_file()
