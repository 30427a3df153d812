"""Rules that are all there but in another order: which were moved, and what that does.

Two neighbours that do the same (both accept, both refuse) can change places without any packet noticing. A rule that
allows and one that refuses cannot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from attrs import frozen

from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Effect


@frozen(kw_only=True)
class Moved:
    """A rule that was moved past one of another kind, and what that does to traffic."""

    entry: Entry
    effect: Effect


def moved(matched: Sequence[tuple[r.Rule, Entry]]) -> tuple[Moved, ...]:
    """``matched`` in the plan's order; what of it stands elsewhere and matters there."""
    positions = [entry.position for _, entry in matched]
    kept = longest_increasing(positions)
    found = []
    for index, (_, entry) in enumerate(matched):
        if index in kept:
            continue
        crossed = [
            other
            for other_index, (_, other) in enumerate(matched)
            if (other_index < index) != (other.position < entry.position)
        ]
        effect = _effect(entry, crossed)
        if effect is not None:
            found.append(Moved(entry=entry, effect=effect))
    return tuple(found)


def longest_increasing(values: Sequence[int]) -> frozenset[int]:
    """The indices of a longest increasing subsequence: what is outside of it was moved."""
    tails: list[int] = []
    heads: list[int] = []
    before: list[int] = []
    for index, value in enumerate(values):
        at = bisect_right(tails, value)
        before.append(heads[at - 1] if at else -1)
        tails[at : at + 1] = [value]
        heads[at : at + 1] = [index]
    kept = set()
    index = heads[-1] if heads else -1
    while index >= 0:
        kept.add(index)
        index = before[index]
    return frozenset(kept)


def _effect(entry: Entry, crossed: Sequence[Entry]) -> Effect | None:
    """None where only rules of the same kind were passed."""
    mine = _kind(entry.rule.target)
    others = {_kind(other.rule.target) for other in crossed} - {mine}
    if not others:
        return None
    if mine == "log" or others == {"log"}:
        return Effect.ADVICE
    late = any(other.position < entry.position and _kind(other.rule.target) != mine for other in crossed)
    if mine == "allow":
        return Effect.OUTAGE if late else Effect.BREACH
    return Effect.BREACH if late else Effect.OUTAGE


def _kind(target: r.Target) -> str:
    if isinstance(target, r.Log | r.NoTarget):
        return "log"
    return "refuse" if isinstance(target, r.Reject) or target == r.DROP else "allow"
