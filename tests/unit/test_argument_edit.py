"""How kernel arguments are added, removed, set and unset, and what a program's set leaves alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootd.boot.kernels.argument_edit import ArgumentVerb, edit_arguments, replace_owned
from bootd.boot.kernels.arguments import with_restart_after_panic
from bootd.model.errors import InvalidArgumentError

EDITS = [
    # arguments, verb, words, result, absent
    ("a b", "add", "c", "a b c", ""),
    ("a b", "add", "a b", "a b", ""),
    ("a=1", "add", "a=2 a=1 a=2", "a=1 a=2", ""),
    ("a -- 3", "add", "b", "a b -- 3", ""),
    ("a -- b", "add", "b", "a b -- b", ""),
    ("a b a", "remove", "a", "b", ""),
    ("a b", "remove", "c", "a b", "c"),
    ("a=1 b", "remove", "a", "b", ""),
    ("a=1 a=1 b", "remove", "a", "b", ""),
    ("a a=1 b", "remove", "a", "a=1 b", ""),
    ("a=1 b", "remove", "a=2", "a=1 b", "a=2"),
    ("a=1 a=2 b", "remove", "a=2", "a=1 b", ""),
    ('a="x" b', "remove", "a=x", "b", ""),
    ("a b -- a", "remove", "a", "b -- a", ""),
    ("a=1 b a=2 c", "set", "a=3", "a=3 b c", ""),
    ("b c", "set", "a=3", "b c a=3", ""),
    ("a=1 b c=1", "set", "c=2 a=2 a=3", "a=2 a=3 b c=2", ""),
    ("quiet b", "set", "quiet", "quiet b", ""),
    ("a=1 b a=2", "set", "a=1 a=2", "a=1 b a=2", ""),
    ("b -- a=1", "set", "a=2", "b a=2 -- a=1", ""),
    ("a a=1 b a=2", "unset", "a", "b", ""),
    ("b", "unset", "a b", "", "a"),
    ("b -- a", "unset", "a", "b -- a", "a"),
]


@pytest.mark.parametrize(("arguments", "verb", "words", "result", "absent"), EDITS)
def test_edits(arguments, verb, words, result, absent):
    edited = edit_arguments(arguments.split(), ArgumentVerb(verb), words.split())
    assert (edited.arguments, edited.absent) == (result.split(), absent.split())


def test_a_key_that_several_have_is_not_guessed():
    with pytest.raises(InvalidArgumentError, match="console=tty0, console=ttyS0") as caught:
        edit_arguments(["console=ttyS0", "console=tty0"], ArgumentVerb.REMOVE, ["console"])
    assert "unset console" in caught.value.hint


OWNED = [
    # arguments, old, new, result
    ("a x y", "x y", "z", "a z"),
    ("a x b", "x", "x", "a x b"),
    ("a b", "x", "x", "a b x"),
    ("a", "", "x y", "a x y"),
    ("q a q", "q", "", "q a"),
    ("a x -- 3", "x", "y", "a y -- 3"),
    ("a x", "x", "x z", "a x z"),
]


@pytest.mark.parametrize(("arguments", "old", "new", "result"), OWNED)
def test_what_a_program_owns(arguments, old, new, result):
    assert replace_owned(arguments.split(), old.split(), new.split()) == result.split()


def test_what_bootd_adds_is_not_handed_to_init():
    assert with_restart_after_panic(["a", "--", "3"]) == ["a", "panic=30", "--", "3"]


words = st.lists(st.sampled_from(["a", "b", "c=1", "c=2", "d"]), max_size=6)


@settings(max_examples=200, deadline=None)
@given(words, words, words)
def test_a_program_s_set_can_be_replaced_and_taken_away(others, first, second):
    with_first = replace_owned(others, [], first)
    with_second = replace_owned(with_first, first, second)
    assert Counter(with_second) == Counter(others) + Counter(second)
    assert replace_owned(with_second, second, []) == others


@settings(max_examples=200, deadline=None)
@given(words, st.sampled_from(list(ArgumentVerb)), words)
def test_an_edit_that_is_repeated_changes_nothing(arguments, verb, given_words):
    if verb is ArgumentVerb.UNSET:
        given_words = [word.partition("=")[0] for word in given_words]
    once = edit_arguments(arguments, verb, given_words).arguments
    assert edit_arguments(once, verb, given_words).arguments == once
