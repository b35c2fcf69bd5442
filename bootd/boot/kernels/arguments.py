"""Kernel arguments: splitting, what images ask for, and the three-way merge.

An argument is one word of the command line as it is written there, quotes included: words are
separated by spaces outside of double quotes, and a quote has no escape (Linux, ``lib/cmdline.c``,
``next_arg``). Only printable ASCII is taken: a line break would end the line of the boot entry, and
the kernel takes byte 0xA0 of a UTF-8 letter for a space.

`bootd=` and `bootd.integrity=` are never part of a list here; the boot entry adds them.
"""

from __future__ import annotations

import logging
import platform
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from bootd.model.boot.command_line import words
from bootd.model.errors import InvalidKernelArgumentsError
from bootd.model.tree import Directory, RegularFile, lookup
from bootd.sysroot import INTEGRITY_ARGUMENT, KERNEL_ARGUMENT

_log = logging.getLogger(__name__)

ARGUMENT_FOLDER: Final = "/usr/lib/bootc/kargs.d"
ARGUMENT_SUFFIX: Final = ".toml"
MAX_ARGUMENT_FILE: Final = 65_536
MAX_ARGUMENTS: Final = 1_000
MAX_COMMAND_LINE: Final = 2_047
"""Bytes; ``COMMAND_LINE_SIZE`` of x86 and arm64 without the final NUL. More is cut off silently."""

PANIC_SECONDS: Final = 30
"""Long enough to read the last lines on a screen."""

ARGUMENTS_END: Final = "--"
_PANIC: Final = "panic"
OWN_KEYS: Final = frozenset({KERNEL_ARGUMENT, INTEGRITY_ARGUMENT})
"""What the boot entry of a deployment says by itself."""
_NOT_THE_IMAGES: Final = OWN_KEYS | {"root"}
"""For the machine to say: which deployment boots, how strictly, and from which disk."""
_OWN_PREFIX: Final = f"{KERNEL_ARGUMENT}."
_ENDLESS: Final = frozenset(
    {
        *("init", "rdinit", "rd.break", "systemd.unit", "rd.systemd.unit", "systemd.mask"),
        *("systemd.debug_shell", "rescue", "emergency", "single", "s", "S", "1"),
    }
)
"""With these a boot may end in a shell, or in what nobody knows, and not use up its tries."""
_ENDS: Final[Mapping[str, Callable[[str], bool]]] = {
    "panic": lambda value: value.lstrip("-").isdigit() and int(value) != 0,
    "rd.shell": lambda value: value in {"0", "no", "off"},
    "rd.emergency": lambda value: value == "reboot",
    "systemd.crash_action": lambda value: value == "reboot",
    "systemd.crash_reboot": lambda value: value in {"", "1", "yes", "true", "on"},
    "systemd.crash_shell": lambda value: value in {"0", "no", "false", "off"},
}
"""With these it ends by itself only if the value says so."""
_ARCHITECTURES: Final = {
    "ppc64": "powerpc64",
    "ppc64le": "powerpc64",
    "armv7l": "arm",
    "i686": "x86",
}
"""uname(2) machine names that Rust, and so ``match-architectures``, calls otherwise."""


def split_arguments(text: str) -> list[str]:
    """Return the arguments of a command line, each as it is written.

    Raises:
        InvalidKernelArgumentsError: a quote is not closed, or there is a letter that is not
            printable ASCII.
    """
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        raise InvalidKernelArgumentsError(
            f"kernel arguments {text[:200]!r} have a character that is not printable ASCII"
        )
    if text.count('"') % 2:
        raise InvalidKernelArgumentsError(
            f"kernel arguments {text[:200]!r} have a quote that is not closed"
        )
    return words(text)


def join_arguments(arguments: Sequence[str]) -> str:
    """Return the command line that splits into these arguments again.

    Raises:
        InvalidKernelArgumentsError: one of them is not a single word, or the kernel would cut the
            line off.
    """
    line = " ".join(arguments)
    if split_arguments(line) != list(arguments):
        raise InvalidKernelArgumentsError(
            f"kernel arguments {line[:200]!r} hold one with a space that is not quoted"
        )
    if len(line) > MAX_COMMAND_LINE:
        raise InvalidKernelArgumentsError(
            f"the kernel arguments have {len(line)} bytes; a kernel takes {MAX_COMMAND_LINE}",
            hint="Remove some, in the image's kargs.d or with 'bootctl-py kargs'.",
        )
    return line


def key_of(argument: str) -> str:
    """Return what stands before the ``=``, or the whole flag."""
    return argument.replace('"', "").partition("=")[0]


class Contents(Protocol):
    """Where the contents of an image's files come from; the store answers this."""

    def read(self, file: RegularFile) -> bytes:
        """Return the content of a small file, whole."""
        ...


def image_arguments(
    tree: Directory, contents: Contents, architecture: str | None = None
) -> dict[str, list[str]]:
    """Return what an image asks for, by the path of the file that does.

    Args:
        tree: the image's root.
        contents: reads its files.
        architecture: as uname(2) calls it; None for this machine's.

    Raises:
        InvalidKernelArgumentsError: naming the file and the key.
    """
    folder = lookup(tree, ARGUMENT_FOLDER.encode())
    files = []
    for name, node in folder.entries.items() if isinstance(folder, Directory) else ():
        shown = name.decode(errors="replace")
        if not shown.endswith(ARGUMENT_SUFFIX):
            continue
        path = f"{ARGUMENT_FOLDER}/{shown}"
        if not isinstance(node, RegularFile):
            raise InvalidKernelArgumentsError(f"{path} is not a regular file")
        _check_size(path, node.size)
        files.append((shown, contents.read(node)))
    return parse_argument_files(files, architecture or platform.machine())


def parse_argument_files(
    files: Iterable[tuple[str, bytes]], architecture: str
) -> dict[str, list[str]]:
    """Return what an image asks for, by path, file by file in the order of their names.

    Args:
        files: (name, content) of each ``*.toml`` in `ARGUMENT_FOLDER`; other names are left out.
        architecture: as uname(2) calls it; a file for others only is left out.

    Raises:
        InvalidKernelArgumentsError: naming the file and the key.
    """
    by_file: dict[str, list[str]] = {}
    for name, content in sorted(files):
        if name.endswith(ARGUMENT_SUFFIX):
            path = f"{ARGUMENT_FOLDER}/{name}"
            by_file[path] = _parse_file(path, content, architecture)
    number = sum(map(len, by_file.values()))
    if number > MAX_ARGUMENTS:
        raise InvalidKernelArgumentsError(f"{ARGUMENT_FOLDER} asks for {number} arguments")
    size = sum(len(argument) + 1 for arguments in by_file.values() for argument in arguments)
    if size > MAX_COMMAND_LINE:
        raise InvalidKernelArgumentsError(
            f"{ARGUMENT_FOLDER} asks for arguments of {size} bytes; a kernel takes "
            f"{MAX_COMMAND_LINE}"
        )
    return {path: _without_the_machines(arguments) for path, arguments in by_file.items()}


def _without_the_machines(arguments: list[str]) -> list[str]:
    def is_the_machines(argument: str) -> bool:
        key = key_of(argument)
        return key in _NOT_THE_IMAGES or key.startswith(_OWN_PREFIX) or names_own(argument)

    for argument in filter(is_the_machines, arguments):
        _log.warning("not taking %s from the image: the machine decides that", argument)
    return [argument for argument in arguments if not is_the_machines(argument)]


def names_own(argument: str) -> bool:
    """Tell whether an argument says what is for bootd to say, for whoever does not know quotes."""
    parts = argument.replace('"', " ").split()
    return any(
        key_of(part) in OWN_KEYS or (part != argument and key_of(part).startswith(_OWN_PREFIX))
        for part in (argument, *parts)
    )


def may_be_endless(argument: str) -> bool:
    """Tell whether a boot with an argument may go wrong and not end, so that nothing falls back."""
    key, _, value = argument.replace('"', "").partition("=")
    return key in _ENDLESS or (key in _ENDS and not _ENDS[key](value.strip()))


def with_restart_after_panic(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``panic=`` added, unless they say what a panic leads to.

    By default a kernel that panics waits for somebody to press a button, and a deployment on trial
    would never use up its tries.
    """
    said = any(key_of(argument) == _PANIC for argument in arguments)
    return list(arguments) if said else with_more(arguments, [f"{_PANIC}={PANIC_SECONDS}"])


def with_more(arguments: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return the arguments with more at their end, which is where init's begin."""
    end = end_of_arguments(arguments)
    return [*arguments[:end], *more, *arguments[end:]]


def end_of_arguments(arguments: Sequence[str]) -> int:
    """Return how many of the words are the kernel's; what follows ``--`` is handed to init."""
    return arguments.index(ARGUMENTS_END) if ARGUMENTS_END in arguments else len(arguments)


def without_own(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are not for bootd alone to say."""
    return [argument for argument in arguments if key_of(argument) not in OWN_KEYS]


def merge_arguments(base: Sequence[str], mine: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Merge three ways: what the machine changed stays, what the image changed happens.

    An argument may be there several times (``console=``) and each time counts. The machine's order
    is kept; what the image adds goes where the image has it, so an argument that was added on the
    machine, at the end, still has the last word.

    Args:
        base: what the running deployment's image asked for.
        mine: what the machine has.
        theirs: what the new image asks for.
    """
    base, mine, theirs = (without_own(arguments) for arguments in (base, mine, theirs))
    if mine == base:
        return theirs
    if theirs in (base, mine):
        return mine
    counts = Counter(base), Counter(mine), Counter(theirs)
    wanted = {word: _merge_count(*(count[word] for count in counts)) for word in {*mine, *theirs}}
    result: list[str] = []
    for word in mine:
        if result.count(word) < wanted[word]:
            result.append(word)
    _insert_missing(result, theirs, wanted)
    return result


def _merge_count(base: int, mine: int, theirs: int) -> int:
    if mine > base and theirs > base:
        return max(mine, theirs)
    if mine < base and theirs < base:
        return min(mine, theirs)
    return max(0, mine + theirs - base)


def _insert_missing(result: list[str], theirs: list[str], wanted: dict[str, int]) -> None:
    """Add what is wanted and not there yet, each after what precedes it in `theirs`."""
    passed: Counter[str] = Counter()
    position = 0
    for word in theirs:
        places = [index for index, present in enumerate(result) if present == word]
        if passed[word] < len(places):
            position = places[passed[word]] + 1
            passed[word] += 1
        elif len(places) < wanted[word]:
            result.insert(position, word)
            position += 1
            passed[word] += 1


def _parse_file(path: str, content: bytes, architecture: str) -> list[str]:
    _check_size(path, len(content))
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidKernelArgumentsError(f"{path} is not TOML: {error}") from error
    arguments = _strings(path, "kargs", values.pop("kargs", None))
    architectures = _strings(path, "match-architectures", values.pop("match-architectures", []))
    if values:
        raise InvalidKernelArgumentsError(f"{path} has the unknown key {min(values)[:100]!r}")
    names = {architecture, _ARCHITECTURES.get(architecture, architecture)}
    if architectures and names.isdisjoint(architectures):
        return []
    try:
        return [word for argument in arguments for word in split_arguments(argument)]
    except InvalidKernelArgumentsError as error:
        raise InvalidKernelArgumentsError(f"{path}: kargs: {error.message}") from error


def _strings(path: str, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        problem = "is missing" if value is None else "is not a list of strings"
        raise InvalidKernelArgumentsError(f"{path}: {key} {problem}")
    return value


def _check_size(path: str, size: int) -> None:
    if size > MAX_ARGUMENT_FILE:
        raise InvalidKernelArgumentsError(
            f"{path} has {size} bytes; at most {MAX_ARGUMENT_FILE} are read"
        )
