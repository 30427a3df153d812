"""The details of a finding as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

from c2c_auditor.model.finding import Finding


def finding_details(finding: Finding) -> tuple[str, ...]:
    """The details of the finding's check, and a sentence if the expected state is not known at present."""
    if finding.unknown_since is None:
        return finding.details
    doubt = (
        f"Seen since {_clock(finding.first_seen)}; the expected state is not known since "
        f"{_clock(finding.unknown_since)}: a later change of policies or containers, carried out by silk, would "
        "explain it."
    )
    return (*finding.details, doubt)


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%H:%M:%S} UTC"
