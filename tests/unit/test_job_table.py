"""The tables of jobs and looks: each row agrees with what it names, and nothing else names it."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from bootd.daemon.events import news
from bootd.daemon.requests import _bus_types
from bootd.model.action import Action
from bootd.model.deployment import DeploymentId
from bootd.model.errors import (
    InvalidArgumentError,
    InvalidDigestError,
    InvalidReferenceError,
)
from bootd.operations.jobs.kind import JobKind, LookKind
from bootd.operations.jobs.looks import LOOKS
from bootd.operations.jobs.request import MAX_PATHS, MAX_TEXT, NoArguments, make_request
from bootd.operations.jobs.table import (
    CHANGE_KERNEL_ARGUMENTS,
    CHECK,
    ETC_RESET,
    ETC_RESOLVE,
    ETC_RESTORE,
    FORGET,
    FSCK,
    JOBS,
    PREVIEW,
    ROLLBACK,
    STAGE,
    started_by,
)
from bootd.operations.progress import Phase

BOOTD = Path(__file__).parents[2] / "bootd"
DEPLOYMENT = "0123456789abcdef.0"
DIGEST = "sha256:" + "ab" * 32

MEANS_SOMETHING_ELSE = {
    # What people type, and the modules of that name.
    "cli/verbs/__init__.py": {"check", "finalize", "forget", "fsck", "rollback"},
    # Values of a setting.
    "model/config.py": {"check", "stage"},
    # States of an upgrade.
    "model/state.py": {"composing", "finalizing", "pulling"},
    # The deployment that a rollback goes to.
    "cli/render/status.py": {"rollback"},
    # A health check.
    "cli/render/health.py": {"check"},
    # A module that is loaded ahead.
    "operations/stage.py": {"collect"},
    # The name of an attempt, from which the table has it.
    "model/attempts.py": {"stage"},
}
ROWS: dict[str, JobKind[Any] | LookKind[Any]] = {**JOBS, **LOOKS}


@pytest.mark.parametrize("kind", JOBS.values(), ids=JOBS)
def test_operation_takes_the_request_and_leaves_the_document(kind: JobKind[Any]) -> None:
    operation = kind.load()
    assert get_type_hints(operation)["return"] is kind.document
    _takes(operation, kind.request, 2)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_view_takes_the_request_and_answers_the_document(look: LookKind[Any]) -> None:
    view = look.load()
    assert get_type_hints(view)["return"] is look.document
    _takes(view, look.request, 1)


def _takes(function: Any, model: type[BaseModel], others: int) -> None:
    parameters = list(inspect.signature(function).parameters.values())[others:]
    # "kept" is given as "copy", a name that no field can have.
    fields = {"copy" if name == "kept" else name: one for name, one in model.model_fields.items()}
    assert fields.keys() <= {one.name for one in parameters}
    for one in parameters:
        is_required = one.default is inspect.Parameter.empty
        if one.name not in fields:
            assert not is_required, f"nobody can ask for {one.name}"
            continue
        assert fields[one.name].is_required() == is_required, one.name
        if not is_required:
            default = fields[one.name].get_default(call_default_factory=True)
            assert (default or None) == (one.default or None), one.name


@pytest.mark.parametrize("kind", JOBS.values(), ids=JOBS)
def test_phases_are_those_that_the_operation_reports(kind: JobKind[Any]) -> None:
    source = Path(inspect.getsourcefile(inspect.unwrap(kind.load())) or "")
    reported = {
        Phase[node.attr]
        for node in ast.walk(ast.parse(source.read_bytes()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Phase"
    }
    assert reported
    assert reported <= set(kind.phases)


def test_every_event_of_a_job_has_one_who_tells_it() -> None:
    told = {kind.event for kind in JOBS.values() if kind.event is not None}
    assert told == news._TELLERS.keys()


def test_every_method_starts_one_kind() -> None:
    methods = [kind.method for kind in JOBS.values() if kind.method]
    assert len(set(methods)) == len(methods)
    assert not set(methods) & LOOKS.keys()
    assert started_by("Cleanup").name == "collect"


@pytest.mark.parametrize(
    ("kind", "given", "action", "details"),
    [
        (CHECK, {}, Action.CHECK, {}),
        (STAGE, {"automatic": True}, Action.STAGE, {}),
        (
            STAGE,
            {"reference": "registry.example/os:1"},
            Action.SWITCH,
            {"image": "registry.example/os:1"},
        ),
        (STAGE, {"taken_from": "oci:/media"}, Action.SWITCH, {"image": "oci:/media"}),
        (STAGE, {"allow_downgrade": True}, Action.SWITCH, {}),
        (ROLLBACK, {}, Action.ROLLBACK, {"deployment": ""}),
        (ROLLBACK, {"deployment": DEPLOYMENT}, Action.ROLLBACK, {"deployment": DEPLOYMENT}),
        (FORGET, {"deployment": DEPLOYMENT}, Action.FORGET, {"deployment": DEPLOYMENT}),
        (FSCK, {"repair": False}, Action.FSCK, {}),
        (PREVIEW, {}, Action.INSPECT, {}),
        (PREVIEW, {"digest": DIGEST}, Action.STAGE, {}),
        (ETC_RESET, {"paths": ["/etc/a", "/etc/b"]}, Action.CHANGE_ETC, {"path": "/etc/a"}),
        (ETC_RESET, {"paths": ["/etc/a"], "dry_run": True}, Action.INSPECT, {"path": "/etc/a"}),
        (ETC_RESTORE, {"copy": "one"}, Action.CHANGE_ETC, {"copy": "one"}),
        (ETC_RESOLVE, {"path": "/etc/a", "choice": "x"}, Action.CHANGE_ETC, {"path": "/etc/a"}),
        (
            CHANGE_KERNEL_ARGUMENTS,
            {"verb": "add", "words": ["quiet"], "source": "tool"},
            Action.CHANGE_KERNEL_ARGUMENTS,
            {"source": "tool"},
        ),
    ],
)
def test_what_is_asked_of_polkit(
    kind: JobKind[Any], given: dict[str, Any], action: Action, details: dict[str, str]
) -> None:
    request = make_request(kind.request, given)
    assert (request.action(kind.action), request.details()) == (action, details)
    # What crosses to another process is the same request.
    assert kind.request.model_validate(json.loads(json.dumps(request.as_json()))) == request


@pytest.mark.parametrize(
    ("kind", "given", "error", "words"),
    [
        (CHECK, {"nonsense": 1}, InvalidArgumentError, "nonsense"),
        (STAGE, {"reference": "not a reference"}, InvalidReferenceError, "not|name"),
        (STAGE, {"taken_from": "registry.example/os:1\n"}, InvalidReferenceError, "not|name"),
        (STAGE, {"automatic": "perhaps"}, InvalidArgumentError, "automatic"),
        (ROLLBACK, {"deployment": "one"}, InvalidArgumentError, "'one'"),
        (FORGET, {}, InvalidArgumentError, "deployment"),
        (PREVIEW, {"digest": "sha256:" + "a" * 300}, InvalidDigestError, "is not a digest"),
        (ETC_RESET, {"paths": []}, InvalidArgumentError, "name 1 to 1000 paths, not 0"),
        (ETC_RESET, {"paths": ["/etc/a"] * (MAX_PATHS + 1)}, InvalidArgumentError, "1001"),
        (ETC_RESET, {"paths": ["/etc/a\n"]}, InvalidArgumentError, "path must be printable"),
        (ETC_RESTORE, {"copy": ""}, InvalidArgumentError, "copy must be printable"),
        (ETC_RESOLVE, {"path": "/etc/a", "choice": "\0"}, InvalidArgumentError, "choice must be"),
        (ETC_RESOLVE, {"path": "/" * 4097, "choice": "x"}, InvalidArgumentError, "path must be"),
        (
            CHANGE_KERNEL_ARGUMENTS,
            {"verb": "add", "words": ["x" * (MAX_TEXT + 1)]},
            InvalidArgumentError,
            "more than a kernel takes",
        ),
    ],
)
def test_what_is_no_request_is_refused(
    kind: JobKind[Any], given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make_request(kind.request, given)


def test_operations_are_given_what_was_asked_for_and_no_more() -> None:
    rollback = make_request(ROLLBACK.request, {"deployment": DEPLOYMENT})
    assert rollback.arguments() == {"target": DeploymentId(DEPLOYMENT)}
    restore = make_request(ETC_RESTORE.request, {"copy": "one", "paths": []})
    assert restore.arguments() == {"copy": "one", "paths": []}
    assert NoArguments().arguments() == {}


def test_options_have_the_types_of_their_fields() -> None:
    assert _bus_types(ETC_RESOLVE.request) == {
        "dry_run": bool,
        "path": str,
        "choice": str,
        "content": str,
        "also": list,
    }
    assert _bus_types(ROLLBACK.request) == {"deployment": str, "carry_etc": bool}
    assert _bus_types(PREVIEW.request) == {"digest": str}


def test_no_job_and_no_phase_is_named_anywhere_else() -> None:
    names = {*JOBS, *Phase}
    guilty = {}
    for path in BOOTD.rglob("*.py"):
        place = str(path.relative_to(BOOTD))
        if place in ("operations/jobs/table.py", "operations/progress.py"):
            continue
        words = {
            node.value
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        named = (words & names) - MEANS_SOMETHING_ELSE.get(place, set())
        if named:
            guilty[place] = named
    assert not guilty
