"""Mutants of pure modules: a sample of small faults, and whether the module's tests notice them.

``make mutate`` runs it on `MODULES`; ``python -m support.mutate PATH TEST...`` on another one. The
checkout is not touched: each mutant is written into a copy of ``bootd/`` that comes first on the
path. What survives is printed as a diff: a test is missing, or the mutant means the same.
"""

from __future__ import annotations

import ast
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MODULES: Final = {
    "bootd/boot/loader/order.py": ("tests/unit/test_boot_order.py",),
    "bootd/etc/rules/decide.py": ("tests/unit/test_etc_rules.py", "tests/unit/test_etc_oracle.py"),
    "bootd/schedule/plan.py": ("tests/unit/test_schedule.py", "tests/unit/test_scheduler.py"),
}
"""Pure modules, and the tests that are theirs."""
SAMPLE: Final = int(os.environ.get("BOOTD_MUTANTS", "20"))
"""How many mutants of each module are tried; the same ones each time for the same source."""
_SECONDS: Final = 120
_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def mutants(source: str) -> Iterator[str]:
    """Yield the module once for each fault that can be made in it."""
    tree = ast.parse(source)
    for place, number in _faults(tree):
        yield _mutant(tree, place, number)


def _faults(tree: ast.Module) -> list[tuple[int, int]]:
    """Return which node, in the order of `ast.walk`, can be changed in which of its ways."""
    nodes = enumerate(ast.walk(tree))
    return [(place, number) for place, node in nodes for number in range(len(_changes(node)))]


def _mutant(tree: ast.Module, place: int, number: int) -> str:
    changed = deepcopy(tree)
    _changes(list(ast.walk(changed))[place])[number]()
    return ast.unparse(ast.fix_missing_locations(changed))


def _changes(node: ast.AST) -> list[_Change]:
    """Return what can be done to a node, each of which changes it in place."""
    changes: list[_Change] = []
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in _COMPARISONS:
            changes = [_Change(node.ops, 0, _COMPARISONS[type(operator)]())]
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS and not _is_type(node):
            changes = [_Change(node, "op", _OPERATORS[type(operator)]())]
        case ast.BoolOp(op=ast.And()):
            changes = [_Change(node, "op", ast.Or())]
        case ast.BoolOp(op=ast.Or()):
            changes = [_Change(node, "op", ast.And())]
        case ast.UnaryOp(op=ast.Not()):
            changes = [_Change(node, "op", ast.UAdd()), _Change(node, "operand", ast.Constant(1))]
        case ast.If() | ast.IfExp() | ast.While():
            changes = [_Change(node, "test", ast.Constant(value)) for value in (True, False)]
        case ast.Constant(value=bool() as value):
            changes = [_Change(node, "value", not value)]
        case ast.Constant(value=int() as number):
            changes = [_Change(node, "value", number + 1)]
        case ast.Return(value=ast.expr()):
            changes = [_Change(node, "value", ast.Constant(None))]
        case _:
            pass
    return changes


def _is_type(node: ast.BinOp) -> bool:
    """Whether it may be a union of types, which nobody looks at when a program runs."""
    return isinstance(node.op, ast.BitOr)


class _Change:
    """Puts another value in a place of a tree."""

    def __init__(self, owner: object, place: str | int, value: object) -> None:
        self._owner = owner
        self._place = place
        self._value = value

    def __call__(self) -> None:
        if isinstance(self._place, int):
            assert isinstance(self._owner, list)
            self._owner[self._place] = self._value
        else:
            setattr(self._owner, self._place, self._value)


def sampled(source: str, number: int) -> list[str]:
    """Return some mutants, each another module than the original one."""
    tree = ast.parse(source)
    original = ast.unparse(tree)
    faults = _faults(tree)
    random.Random(source).shuffle(faults)
    made = (_mutant(tree, *fault) for fault in faults)
    return list(islice((one for one in made if one != original), number))


def survives(module: str, mutant: str, tests: tuple[str, ...]) -> bool:
    """Run the tests with a mutant in place of its module; return whether all of them pass."""
    with tempfile.TemporaryDirectory(prefix="bootd-mutant-") as folder:
        shutil.copytree(ROOT / "bootd", Path(folder) / "bootd", ignore=_IGNORED)
        (Path(folder) / module).write_text(mutant)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


_IGNORED = shutil.ignore_patterns("__pycache__")


def main() -> int:
    """Try the mutants; return 1 if one survived."""
    words = sys.argv[1:]
    modules = {words[0]: tuple(words[1:])} if words else MODULES
    lived = 0
    for module, tests in modules.items():
        source = (ROOT / module).read_text()
        plain = ast.unparse(ast.parse(source))
        if not survives(module, source, tests):
            sys.stderr.write(f"{module}: its tests fail as it is\n")
            return 2
        tried = sampled(source, SAMPLE)
        for mutant in tried:
            if survives(module, mutant, tests):
                lived += 1
                lines = difflib.unified_diff(
                    plain.splitlines(), mutant.splitlines(), module, "survived", n=2, lineterm=""
                )
                print("\n".join(lines), flush=True)
        print(f"{module}: {len(tried)} mutants, {lived} survived so far", flush=True)
    return int(lived > 0)


if __name__ == "__main__":
    sys.exit(main())
