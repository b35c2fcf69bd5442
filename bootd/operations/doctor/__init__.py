"""Doctor: does this machine suit bootd, and if it is one of bootd's already, what holds updates?"""

from __future__ import annotations

from bootd.model.doctor import DoctorDocument
from bootd.operations.doctor.rules import findings, next_commands
from bootd.operations.doctor.sources import gather
from bootd.operations.host import Host


def doctor(host: Host) -> DoctorDocument:
    """Look at a machine, and change nothing; what cannot be found out is a finding, no error."""
    facts = gather(host)
    found = findings(facts)
    return DoctorDocument(
        managed=facts.updates is not None, findings=found, next=next_commands(facts, found)
    )
