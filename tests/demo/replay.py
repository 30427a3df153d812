"""The demo without root: a recorded cell, its rules damaged as text, and the same audit.

No kernel takes part, and it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.recordings.bundle import Bundle, read_bundle
from demo.screen import Screen

RECORDING = Path(__file__).resolve().parents[1] / "golden" / "cells" / "pair-nft"
Lines = list[str]


@frozen(kw_only=True)
class Damage:
    """One fault as a change of what iptables-save printed; it must raise exactly ``kind``."""

    name: str
    story: str
    kind: Kind
    change: Callable[[Lines], Lines]


def replay(screen: Screen) -> int:
    """Damage the recorded cell in one way after the other.

    Exit status 0 only if each was found, and nothing else was.
    """
    bundle = read_bundle(RECORDING)
    screen.title(
        "No root here, so this is a replay: rules recorded on a cell of silk's, damaged as text, audited as ever."
    )
    screen.said(
        "As root the demo makes a cell of its own with real rules in the kernel, and the real agent finds each "
        "fault in them."
    )
    rows = []
    clean = not _audit(bundle, lambda lines: lines)
    for damage in DAMAGES:
        screen.story(damage.story)
        found = _audit(bundle, damage.change)
        for finding in found:
            screen.finding(finding.effect, finding.kind.value, finding.summary)
        passed = [finding.kind for finding in found] == [damage.kind]
        clean = clean and passed
        rows.append((damage.name, damage.kind.value, "passed" if passed else "FAILED"))
    screen.table(("fault", "finding", ""), rows)
    return 0 if clean else 1


def _audit(bundle: Bundle, change: Callable[[Lines], Lines]) -> tuple[Finding, ...]:
    damaged = ["\n".join(change(text.splitlines())) + "\n" for text in bundle.rules.values()]
    rulesets = tuple(parse_save(text, where="the recording") for text in damaged)
    return judge_cell(Reading(time=bundle.time, facts=bundle.facts, rulesets=rulesets)).judgement.findings


def _at(lines: Lines, *words: str) -> int:
    return next(number for number, line in enumerate(lines) if all(word in line for word in words))


def _without(lines: Lines, *words: str) -> Lines:
    at = _at(lines, *words)
    return lines[:at] + lines[at + 1 :]


def _with(lines: Lines, line: str, at: int) -> Lines:
    return [*lines[:at], line, *lines[at:]]


def _other_mark(lines: Lines) -> Lines:
    at = _at(lines, "-A vpa--", "--dport 61001")
    return [*lines[:at], lines[at].replace("--mark 0x1 ", "--mark 0x4 "), *lines[at + 1 :]]


def _other_port(lines: Lines) -> Lines:
    at = _at(lines, "-A vpa--", "--dport 8080")
    return _with(lines, lines[at].replace("--dport 8080 ", "--dport 2222 "), at + 1)


def _open(lines: Lines) -> Lines:
    at = _at(lines, "-A vpa--")
    start, _, _ = lines[at].partition(" -s ")
    return _with(lines, f"{start} -s 10.255.0.0/16 -d 10.255.0.0/16 -j ACCEPT", at)


def _twice(lines: Lines) -> Lines:
    at = _at(lines, "-A vpa--", "--dport 8080")
    return _with(lines, lines[at], at)


DAMAGES = (
    Damage(
        name="mark-deleted",
        story="somebody deletes the MARK rule: source-app reaches no app any more",
        kind=Kind.MARK_MISSING,
        change=lambda lines: _without(lines, "-A vpa--", "-j MARK"),
    ),
    Damage(
        name="accept-other-mark",
        story="the ACCEPT rule for port 61001 asks for mark 0x4, and its source carries 0x1",
        kind=Kind.ACCEPT_CHANGED,
        change=_other_mark,
    ),
    Damage(
        name="accept-stale",
        story="an ACCEPT rule lets source-app reach port 2222, which no policy allows",
        kind=Kind.ACCEPT_STALE,
        change=_other_port,
    ),
    Damage(
        name="jump-deleted",
        story="FORWARD no longer jumps to the policy chain",
        kind=Kind.JUMP_MISSING,
        change=lambda lines: _without(lines, "-A FORWARD -j vpa--"),
    ),
    Damage(
        name="enforcement-disabled",
        story="one rule in front of the policy chain opens the whole overlay",
        kind=Kind.ENFORCEMENT_DISABLED,
        change=_open,
    ),
    Damage(
        name="rule-duplicated",
        story="an ACCEPT rule stands twice",
        kind=Kind.RULE_DUPLICATE,
        change=_twice,
    ),
)
"""Every damage of the replay, each found by itself."""
