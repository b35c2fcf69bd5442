"""Which policy a path of ``/etc`` has, and which paths matter for security. Pure.

The machine's patterns are asked before the image's. Of several patterns that match, a path that is
written out counts first, then the longest pattern.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from bootd.etc.rules.derived import Derived
from bootd.etc.rules.patterns import compiled, matches
from bootd.model.errors import InvalidConfigurationError
from bootd.model.etc.policy import OWN_PATHS, SECURITY_PATHS, EtcPolicy, EtcRules
from bootd.model.etc.report import etc_path
from bootd.model.validation import in_words

_WILDCARD: Final = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class EtcPolicies:
    """The policies of a merge, the strongest first.

    Attributes:
        ranks: of the machine, then of the image; each in the order they count.
        security: patterns of paths that matter for security.
        own: patterns of paths that are each machine's own.
        derived: what the new deployment can make anew from other files.
        problem: why the image's own rules are not among them; empty if they are.
    """

    ranks: tuple[tuple[tuple[re.Pattern[str], EtcPolicy], ...], ...] = ()
    security: tuple[re.Pattern[str], ...] = ()
    own: tuple[re.Pattern[str], ...] = ()
    derived: tuple[Derived, ...] = ()
    problem: str = ""

    @classmethod
    def of(
        cls,
        machine: EtcRules,
        image: EtcRules,
        problem: str = "",
        derived: tuple[Derived, ...] = (),
    ) -> EtcPolicies:
        """Return the policies of a machine and of the image it is to take."""
        ranks = tuple(_ranked(rules.policy) for rules in (machine, image))
        security = compiled([*SECURITY_PATHS, *machine.security, *image.security])
        own = compiled([*OWN_PATHS, *machine.own, *image.own])
        return cls(ranks, security, own, derived, problem)

    def policy(self, path: bytes) -> EtcPolicy:
        """Return the policy of a path, which is relative to ``/etc``."""
        text = etc_path(path)
        for rank in self.ranks:
            for pattern, policy in rank:
                if pattern.fullmatch(text):
                    return policy
        return EtcPolicy.KEEP_MINE

    def matters_for_security(self, path: bytes) -> bool:
        """Tell whether a conflict at a path, relative to ``/etc``, is to be loud."""
        return matches(self.security, path)

    def is_own(self, path: bytes) -> bool:
        """Tell whether a path, relative to ``/etc``, is each machine's own."""
        return matches(self.own, path)


NO_POLICIES: Final = EtcPolicies()
"""Every conflict keeps mine, and none matters more than another."""


def parse_rules(data: bytes) -> EtcRules:
    """Return the rules that an image ships.

    Raises:
        InvalidConfigurationError: they are not TOML, or a value is wrong.
    """
    try:
        return EtcRules.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise InvalidConfigurationError(in_words(error)) from error
    except (ValueError, RecursionError) as error:
        # Of numbers that are too long for Python, too.
        raise InvalidConfigurationError(f"it is not TOML: {error}") from error


def _ranked(policy: Mapping[str, EtcPolicy]) -> tuple[tuple[re.Pattern[str], EtcPolicy], ...]:
    order = sorted(policy, key=lambda one: (bool(_WILDCARD.search(one)), -len(one), one))
    return tuple(
        (expression, policy[pattern])
        for pattern, expression in zip(order, compiled(order), strict=True)
    )
