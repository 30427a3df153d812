"""A report for a person at a terminal: what is wrong, for whom, what it does to traffic, where, and what to do."""

from __future__ import annotations

from rich.console import Console

from c2c_auditor.export.causes import Cause, causes
from c2c_auditor.export.changes import change_rules, last_of, since_change
from c2c_auditor.export.details import facts
from c2c_auditor.export.pairs import print_pairs
from c2c_auditor.export.plain import plain
from c2c_auditor.export.terminal import Page
from c2c_auditor.export.verdict import STYLES, verdict
from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report

_MOST_PER_KIND = 5
_MOST_CHANGES = 5


def print_report(report: Report, console: Console) -> None:
    """Print the verdict, then the findings by kind, then the sources that could not be read.

    A finding that began before this audit says since when it is known.
    """
    page = Page(console)
    page.say(*verdict(report))
    print_pairs(page, report.pairs)
    for cause in causes(report):
        page.blank()
        _print_cause(page, cause, report.time)
    _print_blindness(page, report)
    _print_changes(page, report)


def _print_cause(page: Page, cause: Cause, now: float) -> None:
    """The first few findings whole, the others counted, then what to do."""
    page.say(
        (f" {cause.effect.value.upper()} ", STYLES[cause.effect]),
        (f" {cause.kind.value}{cause.times}", "bold"),
        (f": {cause.kind.meaning}", "dim"),
    )
    for finding in cause.findings[:_MOST_PER_KIND]:
        pending = "  (pending: silk may correct it)" if finding.state is State.PENDING else ""
        page.say((plain(finding.summary), "bold"), (pending, "dim"), indent=2)
        page.table(facts(finding, now), indent=4)
    if cause.count > _MOST_PER_KIND:
        where = " (-o json has all)" if cause.count == len(cause.findings) else ""
        page.say((f"… and {cause.count - _MOST_PER_KIND} more of this kind{where}", ""), indent=2)
    for remedy in cause.remedies[:_MOST_PER_KIND]:
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
