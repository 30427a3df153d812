"""A report for a person at a terminal: what is wrong, for whom, what it does to traffic, where, and what to do."""

from __future__ import annotations

from rich.console import Console

from c2c_auditor.export.causes import Group, Part, causes
from c2c_auditor.export.changes import change_rules, changes_behind, last_of, since_change
from c2c_auditor.export.details import facts
from c2c_auditor.export.pairs import print_pairs
from c2c_auditor.export.plain import plain
from c2c_auditor.export.terminal import Page
from c2c_auditor.export.verdict import STYLES, since, verdict
from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report

_MOST_PER_KIND = 5
_MOST_CHANGES = 5


def print_report(report: Report, console: Console) -> None:
    """Print the verdict, then the findings by cause, then the sources that could not be read.

    A finding that began before this audit says since when it is known.
    """
    page = Page(console)
    page.say(*verdict(report))
    print_pairs(page, report.pairs)
    for group in causes(report):
        page.blank()
        if group.summary:
            _print_group(page, group, report.time)
        else:
            _print_kind(page, group, report.time)
    _print_blindness(page, report)
    _print_changes(page, report)


def _print_group(page: Page, group: Group, now: float) -> None:
    """What happened, since when, what comes of it by kind with one example each, then what to do."""
    page.say((f" {group.effect.value.upper()} ", STYLES[group.effect]), (f" {plain(group.summary)}", "bold"))
    if 0 < group.first_seen <= now - 1:
        page.say((f"since {since(group.first_seen, now)}", ""), indent=2)
    for change in changes_behind(group.findings)[:1]:
        page.say((f"changed {since_change(change)}", ""), indent=2)
    pending = " (pending: silk may correct it)" if group.pending else ""
    page.say((f"{group.count} findings come of it{pending}; -o json has all of them:", "dim"), indent=2)
    for part in group.parts:
        page.say(
            (f"{part.effect.value} {part.kind.value}{part.times}", ""), (f": {part.kind.meaning}", "dim"), indent=2
        )
        page.say((_example(part), ""), indent=4)
    _print_remedies(page, group)


def _example(part: Part) -> str:
    more = f" … and {part.count - 1} more" if part.count > 1 else ""
    return f"{plain(part.findings[0].summary)}{more}"


def _print_kind(page: Page, group: Group, now: float) -> None:
    """The first few findings whole, the others counted, then what to do."""
    (part,) = group.parts
    page.say(
        (f" {group.effect.value.upper()} ", STYLES[group.effect]),
        (f" {group.name}", "bold"),
        (f": {part.kind.meaning}", "dim"),
    )
    for finding in part.findings[:_MOST_PER_KIND]:
        pending = "  (pending: silk may correct it)" if finding.state is State.PENDING else ""
        page.say((plain(finding.summary), "bold"), (pending, "dim"), indent=2)
        page.table(facts(finding, now), indent=4)
    if part.count > _MOST_PER_KIND:
        where = " (-o json has all)" if part.count == len(part.findings) else ""
        page.say((f"… and {part.count - _MOST_PER_KIND} more of this kind{where}", ""), indent=2)
    _print_remedies(page, group)


def _print_remedies(page: Page, group: Group) -> None:
    for remedy in group.remedies[:_MOST_PER_KIND]:
        page.say(("→ ", "bold green"), (plain(remedy), ""), indent=2)


def _print_changes(page: Page, report: Report) -> None:
    """What a recording tells of changes before it."""
    changes = last_of(report.journal, _MOST_CHANGES)
    if changes:
        page.blank()
        page.say(("The last changes to the rules", "bold"))
    for change in changes:
        page.say((since_change(change), ""), indent=2)
        for line in change_rules(change):
            page.say((plain(line), "dim"), indent=4)


def _facts_that_would(report: Report) -> str:
    """The options that give what an audit of rules alone lacks."""
    if not report.pairs or report.tally.policies is not None:
        return ""
    return " --store FILE and --policies FILE (store.json, the policy server's answer) show what should be there."


def _print_blindness(page: Page, report: Report) -> None:
    for status in report.sources:
        if not status.up and status.problem is not None:
            page.blank()
            page.say((" BLIND ", "bold white on magenta"), (f" {status.name}: {plain(status.problem.problem)}", ""))
            page.say((plain(status.problem.where), ""), indent=2)
            page.say(("→ ", "bold green"), (plain(status.problem.remedy), ""), indent=2)
    if report.unknown:
        families = ", ".join(sorted({kind.family.value for kind in report.unknown}))
        page.blank()
        page.say(
            (f"Not judged: {len(report.unknown)} kinds of findings ({families}): ", "dim"),
            (f"what was read does not show what they need.{_facts_that_would(report)}", "dim"),
        )
    for note in report.notes:
        page.say((f"Note: {plain(note)}", "dim"))
