"""The kernel's command line as words: one reading for bootd and for its initramfs script.

A word ends at a blank outside of double quotes; a quote has no escape, and one that is not closed
goes on to the end (Linux, ``lib/cmdline.c``, ``next_arg``). The script
``packaging/initramfs/bootd-root`` reads the same words; a test runs one table through both.
"""

from __future__ import annotations

from typing import Final

_BLANKS: Final = " \t"
_QUOTE: Final = '"'


def words(line: str) -> list[str]:
    """Return the words of a command line, each as it is written, quotes included."""
    parts: list[str] = []
    word = ""
    quoted = False
    for letter in line:
        if letter in _BLANKS and not quoted:
            parts += [word] if word else []
            word = ""
            continue
        quoted ^= letter == _QUOTE
        word += letter
    return [*parts, word] if word else parts


def first_value(line: str, key: str) -> str | None:
    """Return the value of the first word with a key; None: there is none.

    The boot entry says first what bootd says, so that nothing behind it has a say.
    """
    for word in words(line):
        name, equals, value = word.replace(_QUOTE, "").partition("=")
        if name == key and equals:
            return value
    return None
