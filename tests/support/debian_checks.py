"""What has to work on the server of Debian 12 that came to Debian 13, in a machine or in its root.

Each check runs programs of Debian by a shell command, as those who use them; `run` is to raise an
error where one fails, and to return what it printed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from support.debian_machine import CHRONY_KEY, HOST, IMAGE_USER, JOB, PASSWORD, USER

Run = Callable[[str], str]

_HELPER = "/usr/lib/dbus-1.0/dbus-daemon-launch-helper"
MOST_CONFLICTS = 12
MOST_LINES = 40


def as_user(name: str, command: str) -> str:
    """A command with the rights of a user, of whom ``/etc`` says what groups they are in."""
    return f"runuser -u {name} -- {command}"


def check_jobs(run: Run) -> None:
    """A user sees and changes their own jobs."""
    assert run(f"su {USER} -c 'crontab -l'").splitlines()[-1] == JOB
    run(f"su {USER} -c 'crontab -l | crontab -'")


def check_mail(run: Run) -> None:
    """A user may hand in mail."""
    # Where it is not allowed to, postdrop tries for ever.
    send = f"timeout 60 sendmail office@{HOST}"
    run(f"su {USER} -c \"printf 'Subject: hi\\n\\nhello\\n' | {send}\"")


def check_bus(run: Run) -> None:
    """The bus starts its set-user-ID helper; nobody else does."""
    refused = "Permission denied"
    assert refused in run(f"{as_user('localapp', _HELPER)} org.example.None 2>&1 || :")
    assert refused not in run(f"{as_user('messagebus', _HELPER)} org.example.None 2>&1 || :")


def check_time(run: Run) -> None:
    """chronyd reads its keys; nobody else does."""
    read = "cat /etc/chrony/chrony.keys"
    assert CHRONY_KEY in run(as_user("_chrony", read))
    assert CHRONY_KEY not in run(f"{as_user('localapp', read)} 2>&1 || :")


def check_trust(run: Run) -> None:
    """A client believes a server that the machine's own authority vouches for."""
    assert run(f"curl --silent --show-error https://{HOST}/") == "intranet"


def check_logins(run: Run) -> None:
    """Whoever had a password here gets in by it, whether ``/etc`` names them or the image."""
    for name in (USER, IMAGE_USER, "root"):
        asked = as_user("backupd", f"su {name} -c 'id --user --name'")
        assert run(f"echo '{PASSWORD}' | {asked} 2>/dev/null").split() == [name], name
    assert (
        "authentication failure"
        in run(f"echo wrong | {as_user('backupd', f'su {IMAGE_USER} -c id')} 2>&1 || :").lower()
    )


def check_questions(paths: Collection[str], shown: str) -> None:
    """An administrator has a screenful to decide, with a name for each question.

    Args:
        paths: where something is undecided, one for each conflict.
        shown: what ``bootctl-py etc conflicts`` prints.
    """
    assert 0 < len(paths) <= MOST_CONFLICTS, sorted(paths)
    assert [path for path in paths if path not in shown] == []
    assert len(shown.splitlines()) <= MOST_LINES, shown
