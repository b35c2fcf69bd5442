"""What a kind of job is, and what a kind of look is: the columns of the two tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from pydantic import BaseModel

from bootd.model.action import Action
from bootd.model.event import Event
from bootd.operations.jobs.request import RequestT
from bootd.operations.progress import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind(Generic[RequestT]):
    """Something that takes time, and runs in a process of its own.

    Attributes:
        name: how its jobs are called: their ``Kind`` on the bus.
        load: imports and returns the operation, which takes a `Host`, a `Progress` and the
            request's arguments.
        request: what it is asked for.
        document: what it leaves.
        phases: what it may be busy with.
        action: the polkit action that it usually takes.
        method: the Manager's method that starts it, where its arguments and options are the
            request's fields; empty: the Manager makes the request of what several methods take.
        event: what the journal gets when it is done; None: nothing.
        gives_way: whether it waits for jobs of people, and these for it, instead of being refused.
        looks_for_update: whether what becomes of it is remembered as an attempt.
    """

    name: str
    load: Callable[[], Callable[..., BaseModel]]
    request: type[RequestT]
    document: type[BaseModel]
    phases: tuple[Phase, ...]
    action: Action
    method: str = ""
    event: Event | None = None
    gives_way: bool = False
    looks_for_update: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LookKind(Generic[RequestT]):
    """Something that is answered at once, and changes nothing.

    Attributes:
        method: the Manager's method; its arguments and options are the request's fields.
        load: imports and returns the view, which takes a `Host` and the request's arguments.
        request: what it is asked for.
        document: what it answers.
        is_for_anybody: whether any user may ask, and gets what of it is for anybody.
        needs_boot: whether it looks at ``$BOOT``, which is mounted for it.
    """

    method: str
    load: Callable[[], Callable[..., BaseModel]]
    request: type[RequestT]
    document: type[BaseModel]
    is_for_anybody: bool = False
    needs_boot: bool = False
