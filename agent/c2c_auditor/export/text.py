"""A report for a person at a terminal: what is wrong, for whom, what it does to traffic, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console

from c2c_auditor.audit.reading.people import shortened
from c2c_auditor.export.details import finding_details
from c2c_auditor.export.pairs import print_pairs
from c2c_auditor.export.plain import plain
from c2c_auditor.export.terminal import Page
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import App, Finding, State
from c2c_auditor.model.kind import Effect, Family, Kind
from c2c_auditor.model.report import Report, Result, RuleSetName
from c2c_auditor.netfilter.render import render_rule

_STYLES = {
    Effect.BREACH: "bold white on red",
    Effect.OUTAGE: "bold red",
    Effect.RESIDUE: "yellow",
    Effect.ADVICE: "cyan",
}
_WORDS = {
    Effect.BREACH: ("breach", "breaches", "forbidden traffic passes"),
    Effect.OUTAGE: ("outage", "outages", "allowed traffic is blocked"),
    Effect.RESIDUE: ("left-over", "left-overs", "no effect on traffic"),
    Effect.ADVICE: ("hint", "hints", "worth a look"),
}
_MOST_PER_KIND = 5
# Only an audit that could judge these may say that the policies' rules are clean.
_OF_POLICIES = (Family.POLICY, Family.CHAIN)
_ORDER = {effect: place for place, effect in enumerate(Effect)}


def print_report(report: Report, console: Console) -> None:
    """Print the verdict, then the findings by kind, then the sources that could not be read.

    Readable without colour, at 80 columns and in ASCII.
    """
    page = Page(console)
    page.say(*_verdict(report))
    print_pairs(page, report.pairs)
    findings = sorted(report.findings, key=lambda finding: (_ORDER[finding.effect], finding.kind.value))
    for (effect, kind), group in groupby(findings, key=lambda finding: (finding.effect, finding.kind)):
        page.blank()
        _print_kind(page, (effect, kind), list(group), _omitted(report, effect, kind))
    _print_blindness(page, report)


def _verdict(report: Report) -> list[tuple[str, str]]:
    """The first line: counts of findings, whether and why the audit was blind, CLEAN if policies were judged."""
    counts = [
        (effect, sum(finding.effect is effect for finding in report.findings) + _omitted(report, effect))
        for effect in Effect
    ]
    summary = ", ".join(
        f"{count} {_WORDS[effect][count != 1]} ({_WORDS[effect][2]})" for effect, count in counts if count
    )
    parts: list[tuple[str, str]] = []
    if summary:
        worst = next(effect for effect, count in counts if count)
        parts.append((summary, _STYLES[worst]))
        if all(finding.state is State.PENDING for finding in report.findings):
            parts.append((" – all pending: silk may still correct them", ""))
    if report.result is Result.BLIND:
        parts.append((" and " if summary else "", ""))
        parts.append(("COULD NOT LOOK", "bold magenta"))
        parts.append((f" at everything: {_why_blind(report)}", ""))
    elif not summary and any(kind.family in _OF_POLICIES for kind in report.unknown):
        parts.append(
            (f"no contradiction found; {len(report.unknown)} of {len(Kind)} kinds of findings not judged", "bold")
        )
    elif not summary:
        checked = sum(count for (name, _), count in report.tally.rules.items() if name is RuleSetName.MATCHED)
        parts += [("CLEAN", "bold green"), (f": {checked} policy rules are as they should be" if checked else "", "")]
    return parts


def _omitted(report: Report, effect: Effect, kind: Kind | None = None) -> int:
    """How many findings of ``effect``, and of ``kind`` if given, a report of bounded size leaves out."""
    return sum(
        count
        for (of_kind, of_effect, state), count in report.omitted.items()
        if of_effect is effect and kind in (None, of_kind) and state is not State.RESOLVED
    )


def _why_blind(report: Report) -> str:
    problems = [
        f"{status.name}: {plain(status.problem.problem)}"
        for status in report.sources
        if not status.up and status.problem is not None
    ]
    return "; ".join(problems) or f"{len(report.unknown)} kinds of findings could not be judged"


def _print_kind(page: Page, group: tuple[Effect, Kind], findings: Sequence[Finding], omitted: int) -> None:
    """All findings of one kind and effect: the first few whole, the others counted, and those ``omitted``."""
    effect, kind = group
    count = len(findings) + omitted
    times = f" × {count}" if count > 1 else ""
    page.say(
        (f" {effect.value.upper()} ", _STYLES[effect]), (f" {kind.value}{times}", "bold"), (f": {kind.meaning}", "dim")
    )
    for finding in findings[:_MOST_PER_KIND]:
        pending = "  (pending: silk may correct it)" if finding.state is State.PENDING else ""
        page.say((plain(finding.summary), "bold"), (pending, "dim"), indent=2)
        page.table(_facts(finding), indent=4)
    if count > _MOST_PER_KIND:
        where = "" if omitted else " (--format json has all)"
        page.say((f"… and {count - _MOST_PER_KIND} more of this kind{where}", ""), indent=2)
    remedies = dict.fromkeys(finding.remedy for finding in findings if finding.remedy)
    for remedy in list(remedies)[:_MOST_PER_KIND]:
        page.say(("→ ", "bold green"), (plain(remedy), ""), indent=2)


def _facts(finding: Finding) -> Iterator[tuple[str, str]]:
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
    details = finding_details(finding)
    listed = [detail for detail in details if not detail.endswith(".")]
    if listed:
        yield "details", _listed(listed)
    for sentence in details:
        if sentence.endswith("."):
            yield "details", sentence


def _facts_that_would(report: Report) -> str:
    """The options that give what an audit of rules alone lacks."""
    if not report.pairs or report.tally.policies is not None:
        return ""
    return " --store FILE and --policies FILE (store.json, the policy server's answer) show what should be there."


def _app(app: App) -> str:
    names = app.names
    name = "/".join(shortened(part) for part in (names.org, names.space, names.app) if part)
    return f"{name}  {app.guid}" if name else app.guid


def _listed(values: Sequence[str]) -> str:
    rest = f" … and {len(values) - 8} more" if len(values) > 8 else ""  # noqa: PLR2004 - two lines of a terminal
    return ", ".join(values[:8]) + rest


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
