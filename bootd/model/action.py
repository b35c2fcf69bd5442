"""What polkit is asked for: the actions of ``dbus/org.bootd1.policy``."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """The polkit actions of ``dbus/org.bootd1.policy``."""

    CHECK = "org.bootd1.check"
    STAGE = "org.bootd1.stage"
    SWITCH = "org.bootd1.switch"
    APPLY = "org.bootd1.apply"
    ROLLBACK = "org.bootd1.rollback"
    CLEANUP = "org.bootd1.cleanup"
    FORGET = "org.bootd1.forget"
    PIN = "org.bootd1.pin"
    HOLD = "org.bootd1.hold"
    ALLOW = "org.bootd1.allow"
    CHANGE_KERNEL_ARGUMENTS = "org.bootd1.change-kernel-arguments"
    CHANGE_ETC = "org.bootd1.change-etc"
    INSPECT = "org.bootd1.inspect"
    FSCK = "org.bootd1.fsck"
    CANCEL = "org.bootd1.cancel"
