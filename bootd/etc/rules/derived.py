"""Which files of ``/etc`` are made from others, and by which rule. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootd.etc.rules.patterns import compiled, matches
from bootd.model.etc.derived import DerivedRule
from bootd.model.tree import Directory, Node, walk


@dataclass(frozen=True, slots=True)
class Derived:
    """A rule that can be used in a merge.

    Attributes:
        name: of the rule.
        rule: as it was written.
        outputs: patterns of what it makes.
        inputs: patterns of what it makes that from.
        followed: patterns of what the image's change alone makes it due for.
    """

    name: str
    rule: DerivedRule
    outputs: tuple[re.Pattern[str], ...]
    inputs: tuple[re.Pattern[str], ...]
    followed: tuple[re.Pattern[str], ...]

    @classmethod
    def of(cls, rules: Mapping[str, DerivedRule]) -> tuple[Derived, ...]:
        """Return the rules that are not switched off, by their names."""
        return tuple(
            cls(name, rule, *map(compiled, (rule.paths, rule.inputs, rule.follows)))
            for name, rule in sorted(rules.items())
            if rule.command and rule.paths
        )

    def makes(self, path: bytes, node: Node | None) -> bool:
        """Tell whether what stands at a path, with all that is below it, is made by this rule."""
        if not isinstance(node, Directory):
            return matches(self.outputs, path)
        below = walk(node, path + b"/")
        return bool(node.entries) and all(
            isinstance(leaf, Directory) or matches(self.outputs, one) for one, leaf in below
        )

    def rank(self, path: bytes) -> tuple[int, bytes]:
        """Return by what to sort the paths that it makes, in the order that its rule names them."""
        ranks = (rank for rank, one in enumerate(self.outputs) if matches((one,), path))
        return next(ranks, len(self.outputs)), path

    def concerns(self, path: bytes, node: Node) -> bool:
        """Tell whether a path is of what this rule makes, or makes that from."""
        made = not isinstance(node, Directory) and matches(self.outputs, path)
        return made or self.reads(path)

    def reads(self, path: bytes) -> bool:
        """Tell whether a path is of what this rule makes its files from."""
        return matches(self.inputs, path)

    def follows(self, path: bytes) -> bool:
        """Tell whether the image's change of a path is enough for the rule to be due."""
        return matches(self.followed, path)

    def has_inputs(self, *trees: Directory) -> bool:
        """Tell whether one of some trees has anything that its files are made from."""
        if not self.inputs:
            return True
        return any(self.reads(path) for tree in trees for path, _ in walk(tree))

    def outputs_in(self, tree: Directory) -> Iterator[bytes]:
        """Yield the paths in a tree of what it makes."""
        for path, node in walk(tree):
            if not isinstance(node, Directory) and matches(self.outputs, path):
                yield path
