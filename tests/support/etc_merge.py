"""A merge of /etc of which only the report is wanted."""

from __future__ import annotations

from pathlib import Path

from bootd.etc.disk.contents import Contents
from bootd.etc.merge import merge_trees
from bootd.etc.rules.policy import NO_POLICIES, EtcPolicies
from bootd.model.etc.report import EtcReport
from bootd.model.tree import Directory


def merge(
    base: Directory,
    mine: Path,
    theirs: Directory,
    contents: Contents,
    target: Path,
    *,
    policies: EtcPolicies = NO_POLICIES,
) -> EtcReport:
    """Merge into a new folder; see `merge_trees`, of which this is the report."""
    return merge_trees(base, mine, theirs, contents, target, policies=policies).report
