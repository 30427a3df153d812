"""The details of a finding as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

from c2c_auditor.model.finding import Finding


def finding_details(finding: Finding) -> tuple[str, ...]:
    """What the finding's check says, and whether what should be is known."""
    if finding.unknown_since is None:
        return finding.details
    doubt = (
        f"Seen since {_clock(finding.first_seen)}; what should be is not known since {_clock(finding.unknown_since)}: "
        "a change that silk carried out after that would explain it."
    )
    return (*finding.details, doubt)


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%H:%M:%S} UTC"
