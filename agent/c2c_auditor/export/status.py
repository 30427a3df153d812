"""The running agent's last report on one screen: verdict, what is wrong since when, what to do, the sources' age."""

from __future__ import annotations

from collections.abc import Iterator

from c2c_auditor.audit.mend.kinds import may_help
from c2c_auditor.export.causes import Group, causes
from c2c_auditor.export.changes import author_counts, changes_behind, last_of, since_change
from c2c_auditor.export.plain import plain
from c2c_auditor.export.verdict import clock, lasting, since, verdict
from c2c_auditor.model.report import Report

# With a verdict, seven sources and what changed, this fits a screen of 50 lines.
_MOST_CAUSES = 6
_MOST_CHANGES = 5


def status_lines(report: Report | None, now: float) -> Iterator[str]:
    """The lines, indented by what they belong to; ``now`` is in seconds since the epoch.

    ``report`` is None before the first audit has ended.
    """
    if report is None:
        yield "COULD NOT LOOK: no audit has ended yet"
        return
    yield "".join(text for text, _ in verdict(report))
    yield last_audit(report, now)
    found = list(causes(report))
    for cause in found[:_MOST_CAUSES]:
        yield ""
        yield from _cause(cause, now)
    if len(found) > _MOST_CAUSES:
        yield ""
        yield f"… and {len(found) - _MOST_CAUSES} more causes: c2c-auditor audit"
    if may_help(report.findings):
        yield ""
        yield "c2c-auditor mend prints the commands that mend this, and runs nothing."
    yield ""
    yield from _surroundings(report, now)


def last_audit(report: Report, now: float) -> str:
    """When the last audit ended, and when the last one that could judge everything."""
    backend = f", iptables-{report.backend.value}" if report.backend is not None else ""
    if not report.time:
        return "No audit has ended yet."
    last = f"The last audit ended {lasting(now - report.time)} ago{backend}; agent {report.version}."
    conclusive = report.last_conclusive
    if conclusive is None:
        return f"{last} No audit could judge everything yet."
    if conclusive < report.time:
        return f"{last} The last one that could judge everything: {since(conclusive, now)}."
    return last


def _cause(group: Group, now: float) -> Iterator[str]:
    begin = f" since {since(group.first_seen, now)}" if group.first_seen else ""
    pending = ", pending: silk may still correct it" if group.pending else ""
    first = group.parts[0]
    name = f" {group.name}" if not group.summary else ""
    yield f"{group.effect.value.upper()}{name}{begin}{pending}"
    if group.summary:
        yield f"  {plain(group.summary)}"
        yield f"  {group.count} findings: {', '.join(part.kind.value + part.times for part in group.parts)}"
    yield f"  {plain(first.findings[0].summary)}"
    for change in changes_behind(group.findings)[:1]:
        yield f"  changed {since_change(change)}"
    if not group.summary and first.count > 1:
        yield f"  … and {first.count - 1} more of this kind"
    for remedy in group.remedies[:1]:
        yield f"  → {plain(remedy)}"


def _surroundings(report: Report, now: float) -> Iterator[str]:
    """The sources with their age, silk's processes, and who changed the rules since the agent started."""
    yield "Sources"
    for status in report.sources:
        age = f"{lasting(now - status.last_success)} old" if status.last_success is not None else "never read"
        problem = status.problem
        if status.up or problem is None:
            yield f"  {status.name}: {age}"
        else:
            yield f"  {status.name}: DOWN, {age}: {plain(problem.where)}: {plain(problem.problem)}"
            yield f"    → {plain(problem.remedy)}"
    for process in report.processes:
        if not process.up:
            yield f"  {process.name}: does not run"
        elif process.start_time is not None:
            yield f"  {process.name}: runs since {clock(process.start_time)}"
    counted = author_counts(report.counters.ruleset_changes)
    if counted:
        yield f"Changes to the rules since the agent started: {counted}"
    for change in last_of(report.journal, _MOST_CHANGES):
        yield f"  {since_change(change)}"
