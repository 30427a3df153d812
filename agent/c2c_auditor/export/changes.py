"""Changes to the rules, as JSON and as people read them: when, by whom, what was done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from c2c_auditor.export.plain import plain
from c2c_auditor.export.verdict import clock
from c2c_auditor.model.change import Act, Author, Change
from c2c_auditor.model.finding import Finding

_PROGRAMS = {Author.VPA: "vxlan-policy-agent", Author.CNI: "the CNI plugin"}


def changes_json(changes: Iterable[Change]) -> str:
    """The answer of ``/api/v1/changes``: the newest first; characters beyond ASCII are escaped."""
    return json.dumps({"changes": [change_document(change) for change in reversed(tuple(changes))]}, indent=1)


def change_document(change: Change) -> dict[str, Any]:
    """One change; texts are empty, and numbers 0, where nobody knows."""
    seen = round(change.seen, 3)
    return {
        "time": {
            "rfc3339": datetime.fromtimestamp(seen, timezone.utc).isoformat(timespec="milliseconds"),
            "epoch": seen,
        },
        "author": change.author.value,
        "act": change.act.value,
        "generation": change.generation,
        "pid": change.pid,
        "process": change.process,
        "command": change.command,
        "parent": change.parent,
        "chains": list(change.chains),
        "added": list(change.added),
        "removed": list(change.removed),
        "left_out": change.left_out,
    }


def described(change: Change) -> str:
    """``iptables -F FORWARD by pid 4711 (iptables), parent bash (4700)``: what was done, and by whom; foreign text."""
    return f"{_what(change)}{_by(change)}"


def _what(change: Change) -> str:
    if change.command:
        return f"`{plain(change.command)}`"
    if change.act is not Act.OTHER:
        return str(change.act.value)
    rules = len(change.added) + len(change.removed) + change.left_out
    where = plain(", ".join(change.chains)) or "the rules"
    if not rules:
        return f"a commit to {where}"
    added, removed = len(change.added), len(change.removed)
    if change.left_out:
        return f"{rules} rules added or removed in {where}"
    told = [f"{count} {'rule' if count == 1 else 'rules'} {verb}" for count, verb in _counted(added, removed)]
    return f"{' and '.join(told)} in {where}"


def _counted(added: int, removed: int) -> Iterator[tuple[int, str]]:
    if added:
        yield added, "added"
    if removed:
        yield removed, "removed"


def _by(change: Change) -> str:
    if not change.pid:
        return ", by whom is not known"
    parent = f", parent {plain(change.parent)}" if change.parent else ""
    program = f", of {_PROGRAMS[change.author]}" if change.author in _PROGRAMS else ""
    return f" by pid {change.pid} ({plain(change.process)}){parent}{program}"


def since_change(change: Change) -> str:
    """``2026-11-25 03:12:07 UTC, `iptables -F FORWARD` by pid 4711 (iptables), parent bash (4700)``."""
    return f"{clock(change.seen)}, {described(change)}"


def change_rules(change: Change) -> Iterator[str]:
    """Its rules in iptables' spelling, added ones after ``+`` and removed ones after ``-``."""
    yield from (f"- {rule}" for rule in change.removed)
    yield from (f"+ {rule}" for rule in change.added)
    if change.left_out:
        yield f"… and {change.left_out} more"


def last_of(changes: Iterable[Change], most: int) -> tuple[Change, ...]:
    """The newest ``most`` of what others did; where there are none, of all. The newest first."""
    every = tuple(changes)
    others = [change for change in every if not change.author.silks]
    return tuple((others or every)[::-1][:most])


def changes_behind(findings: Iterable[Finding]) -> tuple[Change, ...]:
    """The changes that caused ``findings``, as far as they are known: each once, the oldest first."""
    found = dict.fromkeys(finding.changed_by for finding in findings if finding.changed_by is not None)
    return tuple(sorted(found, key=lambda change: (change.seen, change.generation)))


def author_counts(counts: Mapping[str, int]) -> str:
    """``vpa 12, foreign 1``: who changed the rules since the agent started; empty if nobody did."""
    return ", ".join(f"{author} {count}" for author, count in counts.items() if count)
