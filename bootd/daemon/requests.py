"""What callers ask the Manager for, by the tables of jobs and of looks.

A method that is a row there needs no more: its arguments and options are the fields of the request,
its action and its document stand in the row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from bootd.daemon.dbus import interfaces, names
from bootd.daemon.dbus.options import take_options
from bootd.daemon.dbus.polkit import Authority
from bootd.daemon.dbus.privacy import for_anybody
from bootd.daemon.dbus.server import Handler
from bootd.daemon.dbus.wire import IncomingCall
from bootd.daemon.event_loop import asyncio
from bootd.daemon.jobs import Job, JobRunner
from bootd.daemon.machine import Machine
from bootd.model.action import Action
from bootd.operations.jobs.kind import JobKind, LookKind
from bootd.operations.jobs.looks import LOOKS
from bootd.operations.jobs.request import Request, RequestT, make_request
from bootd.operations.jobs.table import JOBS


class Requests:
    """Makes requests of calls, asks polkit, and starts or answers what is asked for.

    Args:
        machine: what is known of it.
        runner: where jobs are started.
        authority: who is asked for leave.
    """

    def __init__(self, machine: Machine, runner: JobRunner, authority: Authority) -> None:
        self._machine = machine
        self._runner = runner
        self._authority = authority

    def methods(self) -> dict[str, Handler]:
        """Return the handlers of the Manager's methods that the tables have."""
        looks = {method: partial(self._look, look) for method, look in LOOKS.items()}
        jobs = {kind.method: partial(self._job, kind) for kind in JOBS.values() if kind.method}
        return {**looks, **jobs}

    async def start(self, call: IncomingCall, kind: JobKind[RequestT], request: RequestT) -> str:
        """Start a job if its caller may, and return its object path.

        Raises:
            NotAuthorizedError, CancelledError: the caller may not.
            BusyError: another job is in the way.
        """
        user = await self.require(call, kind, request)
        return path_of(self._runner.start(kind, request, user))

    async def require(
        self,
        call: IncomingCall,
        kind: JobKind[RequestT],
        request: RequestT,
        details: Mapping[str, str] | None = None,
    ) -> int:
        """Return the user ID of a caller who may have a job.

        Args:
            call: who asks.
            kind: for what.
            request: for what of it.
            details: what polkit is told, if not the request's own.

        Raises:
            NotAuthorizedError, CancelledError: the caller may not.
        """
        told = request.details() if details is None else details
        return await self._authority.require(call, request.action(kind.action), told)

    async def readable(self, call: IncomingCall, document: BaseModel) -> str:
        """Return a document as its caller may read it; nobody is asked for a password for more."""
        whole = document.model_dump(mode="json")
        public = for_anybody(whole)
        if public != whole and await self._authority.allows(call, Action.INSPECT):
            return compact(whole)
        return compact(public)

    async def _job(self, kind: JobKind[Any], call: IncomingCall, *given: Any) -> str:
        return await self.start(call, kind, _request(kind.method, kind.request, given))

    async def _look(self, look: LookKind[Any], call: IncomingCall, *given: Any) -> str:
        arguments = _request(look.method, look.request, given).arguments()
        if not look.is_for_anybody:
            await self._authority.require(call, Action.INSPECT)
        view = partial(look.load(), **arguments)
        if look.needs_boot:
            document = await asyncio.to_thread(self._machine.look_at_boot, view)
        else:
            document = await asyncio.to_thread(view, self._machine.host)
        if look.is_for_anybody:
            return await self.readable(call, document)
        return document.model_dump_json()


def path_of(job: Job) -> str:
    """Return the object path of a job."""
    return f"{names.JOBS}{job.id}"


def compact(document: Mapping[str, Any]) -> str:
    """Return a document as JSON without spaces."""
    return json.dumps(document, separators=(",", ":"))


def _request(method: str, model: type[RequestT], given: Sequence[Any]) -> RequestT:
    """Return the request that a call makes.

    Raises:
        InvalidArgumentError: an option is unknown or of another type, or an argument is none.
    """
    *arguments, options = given
    named = dict(
        zip(interfaces.load(names.MANAGER).methods[method].arguments, arguments, strict=True)
    )
    types = {name: kind for name, kind in _bus_types(model).items() if name not in named}
    return make_request(model, {**named, **take_options(options, **types)})


def _bus_types(model: type[Request]) -> dict[str, type]:
    """Return the type that each field of a request has on the bus, by the name it has there."""
    return {
        field.alias or name: _bus_type(field.annotation)
        for name, field in model.model_fields.items()
    }


def _bus_type(kind: Any) -> type:
    """Return what comes over the bus for a type: text for digests and IDs, lists of text."""
    if get_origin(kind) is Annotated:
        return _bus_type(get_args(kind)[0])
    if get_origin(kind) is list:
        return list
    if get_args(kind):
        return _bus_type(get_args(kind)[0])
    return bool if kind is bool else str
