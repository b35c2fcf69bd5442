"""What an image says about its own ``/etc``, and what it can make anew there.

``/usr/lib/bootd/etc.toml`` and the files of ``etc.toml.d`` beside it are read out of the image that
is to come; a later file adds to lists and tables of those before it. One that cannot be used is
told and left out, since no upgrade fails for it. Nothing is run here, and nothing but names of
programs is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from bootd.etc.rules.built_in import BUILT_IN, PROGRAMS
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.policy import EtcPolicies, parse_rules
from bootd.model.errors import InvalidConfigurationError
from bootd.model.etc.derived import DerivedRule
from bootd.model.etc.policy import EtcRules
from bootd.model.etc.report import escape
from bootd.model.tree import Directory, Node, RegularFile
from bootd.operations.etc.loose_ends import follow
from bootd.store.contents import StoreContents
from bootd.store.erofs.reader import ErofsImage
from bootd.store.images.host_layout import DEFAULT_PLACES

RULES: Final = "usr/lib/bootd/etc.toml"
RULES_FOLDER: Final = "usr/lib/bootd/etc.toml.d"
DERIVE_UNIT: Final = "usr/lib/systemd/system/bootd-derive.service"
"""An image without it has a bootd that makes nothing anew."""
PROGRAM_FOLDERS: Final = (
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
)
"""Where systemd looks for programs that are named without their folder (systemd.exec(5))."""
MAX_RULES_FILES: Final = 100
_MAX_RULES: Final = 65_536


def policies_with(settings: EtcRules, erofs: Path, contents: StoreContents) -> EtcPolicies:
    """Return the policies of a machine that takes an image.

    Args:
        settings: the machine's own.
        erofs: the image's EROFS file.
        contents: where the contents of its files come from.

    Raises:
        DamagedImageError, DamagedObjectError: the image cannot be read.
    """
    with ErofsImage.open(erofs) as image:
        rules, problem = _image_rules(image, contents)
        derived = _usable(image, settings, rules)
    return EtcPolicies.of(settings, rules, problem, derived)


def policies_going_back(settings: EtcRules, erofs: Path, contents: StoreContents) -> EtcPolicies:
    """Return the same without what the image says, but for what can be made anew under it.

    Raises:
        DamagedImageError, DamagedObjectError: the image cannot be read.
    """
    with ErofsImage.open(erofs) as image:
        rules, _ = _image_rules(image, contents)
        derived = _usable(image, settings, rules)
    return EtcPolicies.of(settings, EtcRules(), "", derived)


def combined(found: Mapping[str, EtcRules]) -> EtcRules:
    """Return the rules of several files, by their names; later files add to those before."""
    rules = EtcRules()
    for _, more in sorted(found.items(), key=lambda pair: (pair[0] != RULES, pair[0])):
        rules = EtcRules.model_construct(
            policy={**rules.policy, **more.policy},
            security=[*rules.security, *more.security],
            own=[*rules.own, *more.own],
            derived={**rules.derived, **more.derived},
        )
    return rules


def program_of(name: str, rule: DerivedRule) -> str:
    """Return the program that a rule needs: a path, or a name to be looked up."""
    is_built_in = rule is BUILT_IN.get(name)
    return PROGRAMS.get(name, rule.command[0]) if is_built_in else rule.command[0]


def _image_rules(image: ErofsImage, contents: StoreContents) -> tuple[EtcRules, str]:
    """Return what the files say, and why some of that cannot be used, or nothing."""
    main = image.lookup(RULES.encode())
    nodes = {RULES: main}
    folder = image.lookup(RULES_FOLDER.encode(), levels=1)
    if isinstance(folder, Directory):
        for entry, found_there in sorted(folder.entries.items()):
            if entry.endswith(b".toml") and not entry.startswith(b"."):
                nodes[f"{RULES_FOLDER}/{escape(entry)}"] = found_there
    problems = []
    if len(nodes) > MAX_RULES_FILES:
        problems.append(f"/{RULES_FOLDER} of the image: it has more than {MAX_RULES_FILES} files")
        nodes = {RULES: main}
    found = {}
    for name, node in nodes.items():
        if not isinstance(node, RegularFile):
            continue
        try:
            if node.size > _MAX_RULES:
                raise InvalidConfigurationError(f"it has more than {_MAX_RULES} bytes")  # noqa: TRY301 - one place tells
            found[name] = parse_rules(contents.read(node))
        except InvalidConfigurationError as error:
            problems.append(f"/{name} of the image: {error.message}")
    return combined(found), "; ".join(problems)


def _usable(image: ErofsImage, settings: EtcRules, rules: EtcRules) -> tuple[Derived, ...]:
    """Return the rules whose program is in an image.

    The machine's own come before the image's of the same name, and those before bootd's, which
    need a bootd that knows of them, too.
    """
    wanted: dict[str, DerivedRule] = {}
    if image.lookup(DERIVE_UNIT.encode()) is not None:
        wanted.update(BUILT_IN)
    wanted.update(rules.derived)
    wanted.update(settings.derived)
    look = _looking(image)
    return Derived.of(
        {
            name: rule
            for name, rule in wanted.items()
            if rule.command and _has_program(look, program_of(name, rule))
        }
    )


def _looking(image: ErofsImage) -> Callable[[bytes], Node | None]:
    @cache
    def look(path: bytes) -> Node | None:
        first, _, below = path.partition(b"/")
        if first != b"etc":
            return image.lookup(path, levels=1)
        # Links of alternatives lead through an image's own /etc, which has another place there.
        found = (image.lookup(one + b"/" + below, levels=1) for one in DEFAULT_PLACES)
        return next((node for node in found if node is not None), None)

    return look


def _has_program(look: Callable[[bytes], Node | None], program: str) -> bool:
    paths = [program] if "/" in program else [f"{one}/{program}" for one in PROGRAM_FOLDERS]
    return any(isinstance(follow(path.encode(), look), RegularFile) for path in paths)
