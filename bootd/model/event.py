"""What an administrator may want to find again in the journal.

Each event has a MESSAGE_ID of its own, an entry in ``systemd/bootd.catalog`` and fields that start
with ``BOOTD_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Event(Enum):
    """What happens to a machine; the value is the MESSAGE_ID."""

    UPDATE_AVAILABLE = "45afdd619696462fb41bf363c0968f87"
    STAGED = "44a38179051f4d5f874a5ae0a5daef65"
    FINALIZED = "a31bfb28c6e04123a39194fee6445eb6"
    FINALIZE_FAILED = "bf779673fe434dacacc795d89080cada"
    ROLLED_BACK = "3e0b5d2309ed4844b672ce550e74b8ea"
    KERNEL_ARGUMENTS_CHANGED = "deff7979adc441558e51041f6982d6f7"
    BLESSED = "264dd28c42534cbea4be407dec4cebfa"
    DENIED = "787772b9b55e4fb3bad51939665c8f2c"
    FALLBACK_SEEN = "88048f747e874c51bcfff00b4ec38dd6"
    DID_NOT_BOOT = "88757c61b35c4d30ad7d8368063e2bd9"
    RESTART_PUT_OFF = "55f357afec1347c0bd33ead3cefeecc5"
    BOOT_OVERRIDDEN = "c9448a3a6a384c0ea87bef7287110041"
    JOB_FAILED = "2c9b6a997ec84b649e596820fb720a4b"
    RECOVERED = "4db40f65a1094fd1a41d0a38b1ba3ac5"
    DAMAGE_FOUND = "0b5c0eab126a4752974ab246b5c8c8a8"
    ETC_SECURITY_CONFLICT = "caf4b9b8026a4d2c97dcd776d1bc6787"


FIELDS: Final[Mapping[Event, tuple[str, ...]]] = {
    Event.UPDATE_AVAILABLE: ("IMAGE", "DIGEST"),
    Event.STAGED: ("IMAGE", "DIGEST", "DEPLOYMENT"),
    Event.FINALIZED: ("DEPLOYMENT",),
    Event.FINALIZE_FAILED: ("REASON",),
    Event.ROLLED_BACK: ("DEPLOYMENT",),
    Event.KERNEL_ARGUMENTS_CHANGED: ("DEPLOYMENT", "ADDED", "REMOVED"),
    Event.BLESSED: ("DEPLOYMENT",),
    Event.DENIED: ("DIGEST", "REASON"),
    Event.FALLBACK_SEEN: ("DEPLOYMENT",),
    Event.DID_NOT_BOOT: ("DEPLOYMENT", "REASON"),
    Event.RESTART_PUT_OFF: ("DEPLOYMENT", "GATE", "REASON"),
    Event.BOOT_OVERRIDDEN: ("REASON",),
    Event.JOB_FAILED: ("JOB", "JOB_KIND", "ERROR_CODE", "HINT"),
    Event.RECOVERED: ("FAILURES", "SINCE"),
    Event.DAMAGE_FOUND: ("DAMAGES",),
    Event.ETC_SECURITY_CONFLICT: ("DEPLOYMENT", "CONFLICTS"),
}
"""The fields of each event, without their ``BOOTD_``."""
