"""What one audit came to, in a sentence for people, and how long ago something was."""

from __future__ import annotations

from datetime import datetime, timezone

from c2c_auditor.export.plain import plain
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Family, Kind
from c2c_auditor.model.report import Report, Result, RuleSetName

STYLES = {
    Effect.BREACH: "bold white on red",
    Effect.OUTAGE: "bold red",
    Effect.RESIDUE: "yellow",
    Effect.ADVICE: "cyan",
}
"""How each effect looks on a terminal."""
_WORDS = {
    Effect.BREACH: ("breach", "breaches", "forbidden traffic passes"),
    Effect.OUTAGE: ("outage", "outages", "allowed traffic is blocked"),
    Effect.RESIDUE: ("left-over", "left-overs", "no effect on traffic"),
    Effect.ADVICE: ("hint", "hints", "worth a look"),
}
# Only an audit that could judge these may say that the policies' rules are as they should be.
_OF_POLICIES = (Family.POLICY, Family.CHAIN)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def verdict(report: Report) -> list[tuple[str, str]]:
    """The sentence as parts of (text, style).

    It has the counts of findings, whether and why the audit was blind, and CLEAN only if everything was judged.
    """
    counts = [
        (effect, sum(finding.effect is effect for finding in report.findings) + omitted(report, effect))
        for effect in Effect
    ]
    summary = ", ".join(
        f"{count} {_WORDS[effect][count != 1]} ({_WORDS[effect][2]})" for effect, count in counts if count
    )
    parts: list[tuple[str, str]] = []
    if summary:
        worst = next(effect for effect, count in counts if count)
        parts.append((summary, STYLES[worst]))
        if all(finding.state is State.PENDING for finding in report.findings):
            parts.append((" – all pending: silk may still correct them", ""))
    if report.result is Result.BLIND:
        parts.append((" and " if summary else "", ""))
        parts.append(("COULD NOT LOOK", "bold magenta"))
        parts.append((f" at everything: {_why_blind(report)}", ""))
    elif not summary:
        unknown = f"no contradiction found; {len(report.unknown)} of {len(Kind)} kinds of findings not judged"
        parts += [(unknown, "bold") if report.unknown else ("CLEAN", "bold green"), (_checked(report), "")]
    return parts


def _checked(report: Report) -> str:
    """``: 3 policy rules are as they should be``, where the rules of policies were judged and there are some."""
    count = sum(count for (name, _), count in report.tally.rules.items() if name is RuleSetName.MATCHED)
    if not count or any(kind.family in _OF_POLICIES for kind in report.unknown):
        return ""
    return f": {count} policy {'rules are as they' if count > 1 else 'rule is as it'} should be"


def omitted(report: Report, effect: Effect, kind: Kind | None = None) -> int:
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


def clock(seconds: float) -> str:
    """``2026-11-25 02:14:05 UTC``; ``seconds`` since the epoch."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def lasting(seconds: float) -> str:
    """A time span in its largest unit: ``40 s``, ``12 min``, ``3 h``, ``2 days``."""
    if seconds < _MINUTE:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f} h"
    return f"{seconds // _DAY:.0f} days"


def since(begin: float, now: float) -> str:
    """``2026-11-25 02:14:05 UTC (12 min ago)``; both in seconds since the epoch."""
    return f"{clock(begin)} ({lasting(now - begin)} ago)"
