"""A client of the daemon; what ``bootctl-py`` and the tests talk through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from bootd.daemon.dbus import interfaces, names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.wire import ERROR_PREFIX, IncomingSignal, RemoteError, options
from bootd.daemon.event_loop import asyncio
from bootd.model.errors import (
    BUS_PREFIX,
    BootdError,
    BusyError,
    DaemonUnreachableError,
    InternalError,
    InvalidArgumentError,
    NoSuchJobError,
    NotAuthorizedError,
    registered_errors,
)

_CALL_TIMEOUT: Final = 25.0
_PROMPT_TIMEOUT: Final = 300.0
"""Seconds for a call that may ask its caller for a password."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as a client sees it; the fields are the properties of org.bootd1.Job."""

    path: str
    id: int
    kind: str
    state: str
    phase: str
    progress: float
    bytes_done: int
    bytes_total: int
    requester: int
    started: int
    result: str
    error: tuple[str, str, str]

    @classmethod
    def of(cls, path: str, properties: Mapping[str, Any]) -> Self:
        """Return the view of a job's properties."""
        code, message, hint = properties["Error"]
        return cls(
            path=path,
            id=properties["Id"],
            kind=properties["Kind"],
            state=properties["State"],
            phase=properties["Phase"],
            progress=properties["Progress"],
            bytes_done=properties["BytesDone"],
            bytes_total=properties["BytesTotal"],
            requester=properties["Requester"],
            started=properties["Started"],
            result=properties["Result"],
            error=(code, message, hint),
        )

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self.state in ("waiting", "running")

    def outcome(self) -> str:
        """Return the result's JSON document.

        Raises:
            BootdError: the job failed or was cancelled; this is its error.
        """
        code, message, hint = self.error
        if not code:
            return self.result
        raise registered_errors().get(code, InternalError)(message, hint=hint)


class BusClient:
    """A client of the daemon: what ``bootctl-py`` talks through.

    Every method raises the errors of `bootd.model.errors`: those the daemon sent by their names,
    `DaemonUnreachableError` where it does not answer, `NotAuthorizedError` where the bus or polkit
    refuses.
    """

    def __init__(self, connection: Connection, *, interactive: bool) -> None:
        self._connection = connection
        self._interactive = interactive
        self._owner: str | None = None
        self._watchers: list[Callable[[IncomingSignal | None], None]] = []
        connection.listen(self._on_signal)
        # Anybody may send a signal straight to us; only the daemon's count.
        connection.heeds = lambda sender: sender in (names.BUS_DAEMON, self._owner)

    @classmethod
    async def connect(cls, address: str | None = None, *, interactive: bool = True) -> Self:
        """Connect to the bus; the daemon itself is started by the first call.

        Args:
            address: a D-Bus address; None for the system bus.
            interactive: polkit may ask the user for a password.
        """
        client = cls(await Connection.open(address), interactive=interactive)
        try:
            await client._follow_daemon()
        except BootdError:
            await client.close()
            raise
        return client

    @property
    def daemon_runs(self) -> bool:
        """Whether somebody has the daemon's name, so that a call starts nothing."""
        return self._owner is not None

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def call(
        self,
        member: str,
        *arguments: Any,
        path: str = names.ROOT,
        interface: str = names.MANAGER,
        **given: bool | int | str | list[str],
    ) -> Any:
        """Call a method: ``await client.call("Switch", "registry.example/os:1", force=True)``.

        Args:
            member: a method of the interface.
            arguments: its arguments but for the options.
            path: the object.
            interface: the interface.
            given: the options.

        Returns:
            What it answers: the object path of a job, a JSON document, or None.
        """
        method = interfaces.load(interface).methods[member]
        values = await self._ask(
            path, f"{interface}.{member}", method.takes, *arguments, options(given)
        )
        return values[0] if values else None

    async def get_properties(
        self, path: str = names.ROOT, interface: str = names.MANAGER
    ) -> dict[str, Any]:
        """Return all properties of an object's interface, as plain values."""
        [values] = await self._ask(path, f"{names.PROPERTIES}.GetAll", "s", interface)
        assert isinstance(values, dict)
        return values

    async def get_property(
        self, name: str, path: str = names.ROOT, interface: str = names.MANAGER
    ) -> Any:
        """Return one property, as a plain value."""
        [value] = await self._ask(path, f"{names.PROPERTIES}.Get", "ss", interface, name)
        return value

    async def get_objects(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the properties of all deployments and jobs: by path, then by interface."""
        [objects] = await self._ask(names.ROOT, f"{names.OBJECT_MANAGER}.GetManagedObjects", "")
        assert isinstance(objects, dict)
        return objects

    async def get_jobs(self) -> list[JobView]:
        """Return the running job and those that ended lately, oldest first."""
        found = [
            JobView.of(path, held[names.JOB])
            for path, held in (await self.get_objects()).items()
            if names.JOB in held
        ]
        return sorted(found, key=lambda job: job.id)

    async def get_job(self, path: str) -> JobView:
        """Return one job.

        Raises:
            NoSuchJobError: it never was, or it ended long ago.
        """
        try:
            return JobView.of(path, await self.get_properties(path, names.JOB))
        except RemoteError as error:
            raise NoSuchJobError(f"there is no job {path}") from error

    async def cancel(self, path: str, **given: bool) -> None:
        """Ask a job to end; the options are those of the method.

        Raises:
            BusyError: with the option ``automatic``: somebody else wants it, too.
            NoSuchJobError: it never was, or it ended long ago.
        """
        try:
            await self.call("Cancel", path=path, interface=names.JOB, **given)
        except RemoteError as error:
            raise NoSuchJobError(f"there is no job {path}") from error

    async def follow_job(
        self, path: str, on_change: Callable[[JobView], None] | None = None
    ) -> JobView:
        """Wait for a job's end and return it as it then is.

        Args:
            path: the job's object.
            on_change: called at once and then at each change, last at the end.

        Raises:
            DaemonUnreachableError: the daemon went away; the job is lost, the machine is not.
            NoSuchJobError: there is no such job.
        """
        changed: asyncio.Queue[bool] = asyncio.Queue()

        def note(signal: IncomingSignal | None) -> None:
            if signal is None or signal.path == path:
                changed.put_nowait(signal is not None)

        stop = self.watch(note)
        try:
            while True:
                job = await self.get_job(path)
                if on_change is not None:
                    on_change(job)
                if not job.running:
                    return job
                if not await changed.get():
                    raise DaemonUnreachableError(f"the daemon went away while {job.kind} ran")
        finally:
            stop()

    def watch(self, watcher: Callable[[IncomingSignal | None], None]) -> Callable[[], None]:
        """Call `watcher` with each signal of the daemon, and with None when the daemon goes away.

        Returns:
            What ends the watch.
        """
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    async def _follow_daemon(self) -> None:
        ours = f"type='signal',sender='{names.BUS_NAME}',path_namespace='{names.ROOT}'"
        owner = f"type='signal',member='NameOwnerChanged',arg0='{names.BUS_NAME}'"
        await self._connection.ask_bus("AddMatch", "s", ours)
        await self._connection.ask_bus("AddMatch", "s", owner)
        with suppress(RemoteError):
            [self._owner] = await self._connection.ask_bus("GetNameOwner", "s", names.BUS_NAME)

    def _on_signal(self, signal: IncomingSignal) -> None:
        told: IncomingSignal | None = signal
        if signal.sender == names.BUS_DAEMON and signal.member == "NameOwnerChanged":
            name, old, new = signal.arguments
            if name != names.BUS_NAME:
                return
            self._owner = new or None
            if not old:
                return
            told = None
        elif signal.sender != self._owner:
            return
        for watcher in list(self._watchers):
            watcher(told)

    async def _ask(self, path: str, member: str, signature: str, *arguments: Any) -> list[Any]:
        starts = 0
        while True:
            starts += 1
            try:
                return await self._connection.call(
                    names.BUS_NAME,
                    path,
                    member,
                    signature,
                    *arguments,
                    interactive=self._interactive,
                    timeout=_PROMPT_TIMEOUT if self._interactive else _CALL_TIMEOUT,
                )
            except RemoteError as error:
                if starts == _STARTS or error.name != _START_TIMED_OUT:
                    raise _as_bootd_error(error) from error


_STARTS: Final = 4
"""The bus drops calls to a service that takes more than 25 s to start (dbus-daemon(1),
``service_start_timeout``), which a slow machine may need right after its boot. It goes on starting,
and none of the dropped calls ever reached it."""
_START_TIMED_OUT: Final = ERROR_PREFIX + "TimedOut"
_UNREACHABLE: Final = frozenset(
    ERROR_PREFIX + name
    for name in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "TimedOut", "Disconnected")
)
_REFUSED: Final = frozenset(
    ERROR_PREFIX + name for name in ("AccessDenied", "InteractiveAuthorizationRequired")
)
_TOO_MANY: Final = ERROR_PREFIX + "LimitsExceeded"
_GONE: Final = ERROR_PREFIX + "UnknownObject"


def _as_bootd_error(error: RemoteError) -> BootdError:
    name, message = error.name, error.message
    if name.startswith(BUS_PREFIX):
        classes = {found.bus_name(): found for found in registered_errors().values()}
        return classes.get(name, InternalError)(message, hint=error.hint)
    if name in _UNREACHABLE or ".Spawn." in name or name.startswith("org.freedesktop.systemd1."):
        return DaemonUnreachableError(f"the daemon does not answer: {message}")
    if name in _REFUSED:
        return NotAuthorizedError(message)
    if name == _TOO_MANY:
        return BusyError(
            f"the daemon takes no more calls of this user for now: {message}",
            hint="Something of this user's calls it again and again, or leaves it waiting for a "
            "password; end that, and call again.",
        )
    if name == _GONE:
        return error
    return InvalidArgumentError(
        f"the daemon did not understand: {message}",
        hint="Restart bootd.service if bootd was updated since it started.",
    )
