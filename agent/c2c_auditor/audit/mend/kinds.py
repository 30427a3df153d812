"""What a finding's kind tells of its mending. Pages show it, so nothing that audits is imported."""

from __future__ import annotations

from collections.abc import Iterable

from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind

BY_NO_COMMAND = frozenset(
    {
        Kind.STORE_SHRUNK,
        Kind.CONTAINER_CONFLICT,
        Kind.CONTAINER_UNREADABLE,
        Kind.TAG_CONFLICT,
        Kind.POLICY_UNREADABLE,
        Kind.PORT_NOT_EXPOSED,
        Kind.BACKEND_SPLIT,
        Kind.READER_DISAGREES,
    }
)
"""Kinds of findings that no change of rules mends."""
_FORBIDS_ALL = frozenset({Kind.STORE_SHRUNK, Kind.POLICY_UNREADABLE})


def may_help(findings: Iterable[Finding]) -> bool:
    """Whether commands may mend one of ``findings``."""
    kinds = {finding.kind for finding in findings}
    return bool(kinds - BY_NO_COMMAND) and not kinds & _FORBIDS_ALL
