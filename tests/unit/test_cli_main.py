"""The entry point as a process: errors, exit statuses, what is imported, ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootd.cli import main as entry_point
from bootd.cli.main import main
from bootd.cli.remote import ssh_command
from bootd.model.errors import InternalError, InvalidArgumentError

NOWHERE = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
HEAVY = {"requests", "urllib3", "rich", "pydantic", "dbus_next", "dbus_fast", "asyncio"}


def bootctl(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from bootd.cli.main import main; sys.exit(main())",
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **NOWHERE, **environment},
    )


def imported_by(*words: str) -> set[str]:
    code = (
        "import sys\nfrom bootd.cli.main import main\n"
        f"try:\n    main({list(words)!r})\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, **NOWHERE},
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}


def test_help_costs_no_more_than_argparse() -> None:
    assert not imported_by("--help") & HEAVY


@pytest.mark.parametrize("verb", ["status", "check", "upgrade", "apply", "jobs"])
def test_talking_to_the_daemon_needs_no_http_and_no_bar(verb: str) -> None:
    assert not imported_by(verb) & {"requests", "urllib3", "rich", "jsonschema"}


def test_status_as_json_needs_no_bar() -> None:
    assert not imported_by("status", "--json=short", "--offline") & {"rich"}


def test_version() -> None:
    done = bootctl("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("bootd ")


def test_an_error_is_two_lines_and_a_status() -> None:
    done = bootctl("status")
    first, second = done.stderr.splitlines()
    assert first.startswith("bootctl-py: ")
    assert "/nonexistent/bus" in first
    assert second.startswith("hint: ")
    assert (done.stdout, done.returncode) == ("", 1)


def test_an_error_as_json_is_the_only_output() -> None:
    done = bootctl("check", "--json=short")
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["kind"] == "Error"
    assert document["code"] == "daemon-unreachable"
    assert document["exit_status"] == done.returncode == 1


def test_usage_errors_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--json=short", "frobnicate"]) == 2
    document = json.loads(capfd.readouterr().out)
    assert (document["code"], document["exit_status"]) == ("invalid-argument", 2)
    assert main(["--json=yaml"]) == 2
    assert "yaml" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["upgrade", "apply", "check", "jobs", "release", "pin"])
def test_what_needs_the_daemon_refuses_a_folder(
    verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ["0123456789abcdef.0"] if verb == "pin" else []
    assert main([verb, "--sysroot", str(tmp_path), *more]) == 2
    assert "needs the daemon" in capfd.readouterr().err


def test_apply_and_no_wait_exclude_each_other(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    assert main(["upgrade", "--apply", "--no-wait"]) == 2
    assert "--no-wait" in capfd.readouterr().err


def test_the_unexpected_is_no_traceback(tmp_path: Path) -> None:
    package = tmp_path / "pydantic"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('broken\\nin two')")
    done = bootctl("config", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "unexpected RuntimeError" in done.stderr
    assert "hint: " in done.stderr
    loud = bootctl("config", PYTHONPATH=str(tmp_path), SYSTEMD_LOG_LEVEL="debug")
    assert "Traceback" in loud.stderr


def test_a_fault_that_is_known_shows_its_traceback_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_words: list[str]) -> int:
        raise InternalError("an invariant does not hold")

    monkeypatch.setattr(entry_point, "_run", fail)
    caplog.set_level("DEBUG", "bootd")
    assert main(["config"]) == 1
    assert "InternalError: an invariant does not hold" in caplog.text


def test_a_reader_who_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from bootd.cli.main import main; sys.exit(main())",
                "config",
            ],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", [("config",), ("config", "--json=short"), ("frobnicate",)])
def test_any_character_set_will_do(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "etc/bootd").mkdir(parents=True)
    (tmp_path / "etc/bootd/bootd.toml").write_text('[etc.policy]\n"/etc/→…" = "keep-mine"\n')
    for encoding in ("ascii", "iso-8859-1"):
        done = bootctl("--sysroot", str(tmp_path), *words, PYTHONIOENCODING=encoding)
        assert "unexpected" not in done.stderr
        assert done.returncode == (2 if words[0] == "frobnicate" else 0)


def test_closed_output_is_no_error(tmp_path: Path) -> None:
    for redirection in (">&-", "2>&-", ">&- 2>&- <&-"):
        command = f'exec "$0" -c "$1" config --sysroot "$2" {redirection}'
        program = "import sys; from bootd.cli.main import main; sys.exit(main())"
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [("config",), ("config", "--json=short"), ("jobs", "-j")])
def test_full_output_is_told(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from bootd.cli.main import main; sys.exit(main())",
                *words,
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **NOWHERE},
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("bootctl-py: the result cannot be written: ")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_config_names_the_file_of_each_value(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "etc/bootd"
    folder.mkdir(parents=True)
    (folder / "bootd.toml").write_text('image = "registry.example/os:1"\nimgae = 1\n')
    assert main(["config", "--sysroot", str(tmp_path), "--json=short"]) == 0
    document = json.loads(capfd.readouterr().out)
    settings = {one["name"]: one for one in document["settings"]}
    assert settings["image"]["value"] == "registry.example/os:1"
    assert settings["image"]["source"] == "/etc/bootd/bootd.toml"
    assert settings["automatic"]["source"] == "default"
    [warning] = document["warnings"]
    assert "did you mean 'image'" in warning
    assert main(["config", "--sysroot", str(tmp_path)]) == 0
    assert "registry.example/os:1" in capfd.readouterr().out


PROXY = "http://me:SECRET@proxy.example:3128"
ENVIRONMENT = f"""\
# HTTPS_PROXY=http://commented.example
HTTPS_PROXY="{PROXY}"
  NO_PROXY = registry.example,10.0.0.0/8
nonsense
"""


@pytest.mark.parametrize(
    ("toml", "environment", "expected"),
    [
        ("", "", {"proxy": (None, "default"), "no_proxy": (None, "default")}),
        (
            "",
            ENVIRONMENT,
            {
                "proxy": ("http://…@proxy.example:3128", "/etc/bootd/environment"),
                "no_proxy": ("registry.example,10.0.0.0/8", "/etc/bootd/environment"),
            },
        ),
        (
            f'proxy = "{PROXY}"',
            "all_proxy=http://other.example",
            {"proxy": ("http://…@proxy.example:3128", "/etc/bootd/bootd.toml")},
        ),
        ('proxy = ""', ENVIRONMENT, {"proxy": ("", "/etc/bootd/bootd.toml")}),
        ("", "ALL_PROXY='http://other.example'", {"proxy": ("http://other.example", None)}),
    ],
)
def test_config_tells_of_the_proxy_without_its_password(
    toml: str,
    environment: str,
    expected: dict[str, tuple[str | None, str | None]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "etc/bootd"
    folder.mkdir(parents=True)
    (folder / "bootd.toml").write_text(f"[registries]\n{toml}\n")
    if environment:
        (folder / "environment").write_text(environment)
    assert main(["config", "--sysroot", str(tmp_path), "--json=short"]) == 0
    text = capfd.readouterr().out
    settings = {one["name"]: one for one in json.loads(text)["settings"]}
    for name, (value, source) in expected.items():
        found = settings[f"registries.{name}"]
        assert found["value"] == value
        assert found["source"] == (source or "/etc/bootd/environment")
    assert main(["config", "--sysroot", str(tmp_path)]) == 0
    assert "SECRET" not in text + capfd.readouterr().out


def test_config_tells_of_an_environment_that_it_cannot_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc/bootd/environment").mkdir(parents=True)
    assert main(["config", "--sysroot", str(tmp_path)]) == 0
    assert "/etc/bootd/environment cannot be read" in capfd.readouterr().out


def test_a_host_gets_the_rest_of_the_line(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor word; do echo "[$word]"; done\nexit 6\n')
    ssh.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = bootctl("-H", "root@there", "hold", "it's me", "--json=short", PATH=path)
    assert done.stdout.splitlines() == [
        "[--]",
        "[root@there]",
        "[bootctl-py hold 'it'\"'\"'s me' --json=short]",
    ]
    assert done.returncode == 6
    assert bootctl("-qH", "there", "status", PATH=path).returncode == 2


def test_without_ssh_it_says_so(tmp_path: Path) -> None:
    done = bootctl("-H", "there", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "ssh could not be started" in done.stderr


def test_ssh_gets_a_terminal_where_there_is_one() -> None:
    assert ssh_command("there", ["status"], terminal=True) == [
        "ssh",
        "-t",
        "--",
        "there",
        "bootctl-py status",
    ]


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x"])
def test_a_host_is_no_option(host: str) -> None:
    with pytest.raises(InvalidArgumentError):
        ssh_command(host, [], terminal=False)
