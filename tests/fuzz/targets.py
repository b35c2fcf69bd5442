"""All targets, by name."""

from __future__ import annotations

from fuzz import image_targets, machine_targets, trust_targets

TARGETS = {
    target.name: target
    for target in (*image_targets.TARGETS, *trust_targets.TARGETS, *machine_targets.TARGETS)
}
