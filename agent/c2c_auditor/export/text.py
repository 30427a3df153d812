"""A report for a person at a terminal: what is wrong, for whom, what it does to traffic, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from c2c_auditor.export.plain import plain
from c2c_auditor.model.finding import App, Effect, Finding, State
from c2c_auditor.model.report import Report, Result
from c2c_auditor.netfilter.render import render_rule

_STYLES = {Effect.BREACH: "bold white on red", Effect.OUTAGE: "bold red", Effect.RESIDUE: "yellow", Effect.ADVICE: "cyan"}
_WORDS = {
    Effect.BREACH: ("breach", "breaches", "forbidden traffic passes"),
    Effect.OUTAGE: ("outage", "outages", "allowed traffic is blocked"),
    Effect.RESIDUE: ("left-over", "left-overs", "without effect"),
    Effect.ADVICE: ("hint", "hints", "worth a look"),
}
_SHOWN_PER_KIND = 5


def print_report(report: Report, console: Console) -> None:
    """Print the verdict, then each kind of finding, then what could not be looked at. Readable without colour and at 80 columns."""
    console.print(_verdict(report))
    for kind, group in groupby(report.findings, key=lambda finding: (finding.effect, finding.kind)):
        findings = list(group)
        console.print()
        effect, name = kind
        heading = Text(f" {effect.value.upper()} ", style=_STYLES[effect])
        heading.append(f" {name.value}", style="bold")
        heading.append(f" × {len(findings)}" if len(findings) > 1 else "")
        heading.append(f": {name.meaning}", style="dim")
        console.print(heading)
        for finding in findings[:_SHOWN_PER_KIND]:
            _print_finding(finding, console)
        if len(findings) > _SHOWN_PER_KIND:
            console.print(Padding(Text(f"… and {len(findings) - _SHOWN_PER_KIND} more of this kind (--format json has all)"), (0, 0, 0, 2)))
        remedies = dict.fromkeys(finding.remedy for finding in findings if finding.remedy)
        for remedy in list(remedies)[:_SHOWN_PER_KIND]:
            console.print(Padding(Text.assemble(("→ ", "bold green"), plain(remedy)), (0, 0, 0, 2)))
    _print_blindness(report, console)


def _verdict(report: Report) -> Text:
    """One line that says it all."""
    counts = [(effect, sum(finding.effect is effect for finding in report.findings)) for effect in Effect]
    said = ", ".join(f"{count} {_WORDS[effect][count != 1]} ({_WORDS[effect][2]})" for effect, count in counts if count)
    if said:
        worst = next(effect for effect, count in counts if count)
        return Text(said, style=_STYLES[worst])
    if report.result is Result.BLIND:
        return Text("COULD NOT LOOK", style="bold magenta").append(" at everything; nothing was found in what could be read.")
    checked = sum(count for (name, _), count in report.tally.rules.items() if name.value == "matched")
    about = f": {checked} policy rules are as they should be" if checked else ""
    return Text("CLEAN", style="bold green").append(about)


def _print_finding(finding: Finding, console: Console) -> None:
    summary = Text(plain(finding.summary), style="bold")
    if finding.state is State.PENDING:
        summary.append("  (pending: may mend itself)", style="dim")
    console.print(Padding(summary, (0, 0, 0, 2)))
    for label, value in _facts(finding):
        console.print(Padding(Text.assemble((f"{label:<9}", "dim"), plain(value)), (0, 0, 0, 4)))


def _facts(finding: Finding) -> Iterator[tuple[str, str]]:
    for label, app in (("source", finding.source), ("dest", finding.destination)):
        if app is not None:
            yield label, _app(app)
    place = finding.place
    if place is not None:
        at = f", rule {place.position}" if place.position is not None else ""
        yield "where", f"{place.table} {place.chain}{at}"
    if finding.found is not None:
        yield "found", render_rule(finding.found)
    if finding.expected is not None:
        yield "expected", render_rule(finding.expected)
    for difference in finding.differences:
        yield "differs", f"{difference.field}: {difference.found}, expected {difference.expected}"
    if finding.details:
        yield "details", _listed(finding.details)


def _app(app: App) -> str:
    names = app.names
    called = "/".join(part for part in (names.org, names.space, names.app) if part)
    return f"{called}  {app.guid}" if called else app.guid


def _listed(values: Sequence[str]) -> str:
    rest = f" … and {len(values) - 8} more" if len(values) > 8 else ""  # noqa: PLR2004 - two lines of a terminal
    return ", ".join(values[:8]) + rest


def _print_blindness(report: Report, console: Console) -> None:
    for status in report.sources:
        if not status.up and status.problem is not None:
            console.print()
            console.print(Text.assemble((" BLIND ", "bold white on magenta"), f" {status.name}: {plain(status.problem.problem)}"))
            console.print(Padding(Text(plain(status.problem.where)), (0, 0, 0, 2)))
            console.print(Padding(Text.assemble(("→ ", "bold green"), plain(status.problem.remedy)), (0, 0, 0, 2)))
    if report.unknown:
        families = sorted({kind.family.value for kind in report.unknown})
        console.print()
        console.print(
            Text(f"Not judged: {len(report.unknown)} kinds of findings ({', '.join(families)}), for want of their sources.", style="dim")
        )
    for note in report.notes:
        console.print(Text(f"Note: {plain(note)}", style="dim"))
