"""Answers about traffic, for people at a terminal and for programs. Foreign text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from c2c_auditor.audit.questions.explanation import Explanation, Walk
from c2c_auditor.audit.questions.matrix import Line, Matrix
from c2c_auditor.export.plain import plain
from c2c_auditor.export.terminal import Page
from c2c_auditor.netfilter.evaluate import Step
from c2c_auditor.netfilter.packet import Certainty
from c2c_auditor.netfilter.render import render_rule

_PASSES = {
    Certainty.YES: ("PASSES", "bold green"),
    Certainty.NO: ("DOES NOT PASS", "bold red"),
    Certainty.MAY: ("MAY PASS", "bold yellow"),
}
_INTENDED: dict[tuple[Certainty, bool | None], str] = {
    (Certainty.YES, True): "as a policy allows",
    (Certainty.MAY, True): "and a policy allows it",
    (Certainty.NO, True): "although a policy allows it",
    (Certainty.YES, False): "although no policy allows it",
    (Certainty.MAY, False): "although no policy allows it",
    (Certainty.NO, False): "and no policy allows it",
}


def explanation_document(answer: Explanation) -> dict[str, Any]:
    """The answer as JSON values; each walk has the steps whose rules matched."""
    return {
        "source": answer.source,
        "destination": answer.destination,
        "flow": str(answer.flow),
        "passes": answer.passes.value,
        "intended": answer.intended,
        "half": answer.half,
        "walks": [_walk(walk) for walk in answer.walks],
        "policies": list(answer.policies),
        "allow": answer.allow,
        "others": list(answer.others),
    }


def _walk(walk: Walk) -> dict[str, Any]:
    decided = {id(step) for step in (*walk.outcome.accepted, *walk.outcome.refused)}
    return {
        "title": walk.title,
        "passes": walk.outcome.passes.value,
        "in_interface": walk.packet.in_interface,
        "out_interface": walk.packet.out_interface,
        "mark": walk.packet.mark,
        "marks_after": sorted(mark for mark in walk.outcome.marks if mark is not None),
        "tried": len(walk.outcome.trace),
        "steps": [
            {
                "table": step.table,
                "chain": step.chain,
                "position": step.position,
                "rule": render_rule(step.rule) if step.rule is not None else None,
                "matched": step.matched.value,
                "decides": id(step) in decided,
            }
            for step in walk.outcome.trace
            if step.matched is not Certainty.NO
        ],
    }


def matrix_document(matrix: Matrix) -> dict[str, Any]:
    """The matrix as JSON values."""
    return {
        "counts": {f"{intended.value}_{actual.value}": count for intended, actual, count in matrix.counts},
        "lines": [
            {
                "source": line.source,
                "destination": line.destination,
                "intended": line.intended,
                "actual": line.actual,
                "doubtful": line.doubtful,
                "differs": list(line.differs),
            }
            for line in matrix.lines
        ],
        "next": matrix.next,
    }


def print_explanation(answer: Explanation, console: Console) -> None:
    """Print the verdict, the walk of each packet, the policies, and the command that would allow the flow."""
    page = Page(console)
    word, style = _PASSES[answer.passes]
    right = answer.intended is None or answer.passes is (Certainty.YES if answer.intended else Certainty.NO)
    intended = _INTENDED.get((answer.passes, answer.intended), "the policies are not known")
    page.say((plain(answer.source), "bold"), (" → ", ""), (plain(answer.destination), "bold"), (f"  {answer.flow}", ""))
    page.say((word, style), (f", {intended}", "" if right else "bold red"))
    if answer.half:
        page.say((answer.half, "dim"))
    for walk in answer.walks:
        page.blank()
        _print_walk(page, walk)
    page.blank()
    if answer.policies:
        page.say(("Policies", "bold"))
        for policy in answer.policies:
            page.say((plain(policy), ""), indent=2)
    elif answer.intended is not None:
        page.say(("There is no policy between these two.", ""))
    if answer.allow:
        page.say(("To allow it (nothing is run here):", ""))
        page.say((plain(answer.allow), "bold"), indent=2)
    for other in answer.others:
        page.say((f"Also: {plain(other)}", "dim"))


def _print_walk(page: Page, walk: Walk) -> None:
    packet, outcome = walk.packet, walk.outcome
    interfaces = f"{packet.in_interface} → {packet.out_interface}"
    state = f"{packet.state}, " if packet.state != "NEW" else ""
    page.say((f"FORWARD, {walk.title}", "bold"), (f" ({state}{interfaces}, mark 0x{packet.mark or 0:x})", "dim"))
    verdicts = {id(step): "passes" for step in outcome.accepted}
    verdicts |= {
        id(step): "may pass or be refused" if id(step) in verdicts else "is refused" for step in outcome.refused
    }
    skipped = 0
    for step in outcome.trace:
        if step.matched is Certainty.NO:
            skipped += 1
            continue
        skipped = _print_skipped(page, skipped)
        _print_step(page, step, verdicts.get(id(step), ""))
    _print_skipped(page, skipped)


def _print_skipped(page: Page, count: int) -> int:
    if count:
        page.say(
            (f"… {count} rule{'s' * (count != 1)} that {'do' if count != 1 else 'does'} not match", "dim"), indent=4
        )
    return 0


def _print_step(page: Page, step: Step, verdict: str) -> None:
    table = "" if step.table == "filter" else f"{step.table} "
    where = f"{table}{step.chain} {step.position}" if step.rule is not None else f"policy of {table}{step.chain}"
    what = plain(render_rule(step.rule)) if step.rule is not None else "no rule decided before"
    may = "  (may match)" if step.matched is Certainty.MAY else ""
    page.say(
        (f"{where}: ", "cyan"),
        (what, ""),
        (may, "yellow"),
        (f"  ← {verdict}" if verdict else "", "bold"),
        indent=2 + 2 * step.depth,
    )


def print_matrix(matrix: Matrix, console: Console) -> None:
    """Print one line for each pair of ends, the differences below, then the counts."""
    page = Page(console)
    if matrix.lines:
        page.grid(("source", "destination", "intended", "actual"), map(_cells, matrix.lines))
    for line in matrix.lines:
        for text in line.differs:
            page.say(("✗ ", "bold red"), (plain(text), ""))
    counts = {(intended.value, actual.value): count for intended, actual, count in matrix.counts}
    passing = counts["allow", "allow"]
    blocked = counts["allow", "deny"]
    opened = counts["deny", "allow"]
    doubtful = counts["allow", "may"] + counts["deny", "may"]
    page.blank()
    page.say((f"Flows that pass as policies allow: {passing}.", "green" if passing else ""))
    page.say((f"Flows that do not pass although a policy allows them: {blocked}.", "bold red" if blocked else ""))
    page.say((f"Flows that pass although no policy allows them: {opened}.", "bold red" if opened else ""))
    if doubtful:
        page.say((f"Flows that may pass or not: {doubtful}.", "yellow"))


def _cells(line: Line) -> Sequence[tuple[str, str]]:
    wrong = "bold red" if line.differs else ""
    actual = line.actual if not line.doubtful else f"{line.actual}; may: {line.doubtful}"
    return (plain(line.source), ""), (plain(line.destination), ""), (line.intended, ""), (actual, wrong)
