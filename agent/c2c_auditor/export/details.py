"""The details of a finding as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from c2c_auditor.audit.reading.people import shortened
from c2c_auditor.export.changes import since_change
from c2c_auditor.export.verdict import since
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import App, Finding
from c2c_auditor.netfilter.render import render_rule

_MOST_LISTED = 8


def facts(finding: Finding, now: float) -> Iterator[tuple[str, str]]:
    """What is known of a finding, as (label, value); ``now`` is the time of the audit, or of the question after it."""
    if 0 < finding.first_seen <= now - 1:
        yield "since", since(finding.first_seen, now)
    if finding.changed_by is not None:
        yield "changed", since_change(finding.changed_by)
    for label, app in (("source", finding.source), ("dest", finding.destination)):
        if app is not None:
            yield label, _app(app)
    place = finding.place
    if place is not None:
        at = f", rule {place.position}" if place.position is not None else ""
        family = "ip6 " if place.family is AddressFamily.IPV6 else ""
        yield "where", f"{family}{place.table} {place.chain}{at}"
    if finding.found is not None:
        yield "found", render_rule(finding.found)
    if finding.expected is not None:
        yield "expected", render_rule(finding.expected)
    for difference in finding.differences:
        yield "differs", f"{difference.field}: {difference.found}, expected {difference.expected}"
    yield from _details(finding)


def _details(finding: Finding) -> Iterator[tuple[str, str]]:
    """What a check lists in one line, and each sentence by itself."""
    details = finding_details(finding)
    listed = [detail for detail in details if not detail.endswith(".")]
    if listed:
        yield "details", _listed(listed)
    for sentence in details:
        if sentence.endswith("."):
            yield "details", sentence


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


def _app(app: App) -> str:
    names = app.names
    name = "/".join(shortened(part) for part in (names.org, names.space, names.app) if part)
    return f"{name}  {app.guid}" if name else app.guid


def _listed(values: Sequence[str]) -> str:
    rest = f" … and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else ""
    return ", ".join(values[:_MOST_LISTED]) + rest


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%H:%M:%S} UTC"
