"""The planned rules of the policy chain against those that are there: matched, changed, missing, extra.

Rules are compared as values and as a multiset: silk's order within a group means nothing to a packet (`order` judges
where it does). What remains on both sides is paired when it differs in one field, so that one change is one finding.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar, overload

from attrs import field, frozen

from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.entry import Entries, Entry, first_places
from c2c_auditor.model import rule as r


class Wanted(Protocol):
    """Something planned: a rule that should be there, and whatever else its planner knows."""

    @property
    def rule(self) -> r.Rule:
        """The rule."""


W = TypeVar("W", bound=Wanted)


@frozen(kw_only=True)
class Changed(Generic[W]):
    """A planned rule and the rule that stands in its place."""

    planned: W
    entry: Entry


@frozen
class Matched(Sequence[tuple[W, Entry]]):
    """Planned rules and where they stand: ``plans[n]`` is ``present[places[n]]``. Each pair is made when asked for."""

    plans: Sequence[W]
    places: Sequence[int]
    _present: Sequence[Entry]

    def __len__(self) -> int:
        return len(self.plans)

    @overload
    def __getitem__(self, at: int) -> tuple[W, Entry]: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[tuple[W, Entry]]: ...

    def __getitem__(self, at: int | slice) -> tuple[W, Entry] | Sequence[tuple[W, Entry]]:
        if isinstance(at, slice):
            return Matched(self.plans[at], self.places[at], self._present)
        return self.plans[at], self._present[self.places[at]]


@frozen(kw_only=True)
class Comparison(Generic[W]):
    """The outcome: ``matched`` in the plan's order.

    ``repeated`` are further copies, within one chain, of a rule that is planned or already extra. ``planned`` and
    ``present`` are what was compared.
    """

    matched: Matched[W]
    changed: tuple[Changed[W], ...] = ()
    missing: tuple[W, ...] = ()
    extra: tuple[Entry, ...] = ()
    repeated: tuple[Entry, ...] = ()
    planned: Sequence[W] = field(eq=False, repr=False)
    present: Sequence[Entry] = field(eq=False, repr=False)


def compare(
    planned: Sequence[W],
    present: Sequence[Entry],
    pairable: Callable[[W, Entry], bool],
    *,
    previous: Comparison[W] | None = None,
) -> Comparison[W]:
    """``pairable`` may reject a pair of rules that differ in one field only, if it is no change of one rule.

    ``previous`` is an earlier comparison with the same meaning of ``pairable``; it stands where both sides are the same
    objects.
    """
    if previous is not None and previous.planned is planned and previous.present is present:
        return previous
    rules = _bare(present)
    first = first_places(rules)
    matched, missing = _found(planned, list(map(first.get, [plan.rule for plan in planned])), present)
    left = sorted({*first.values()}.difference(matched.places)) if len(matched) < len(first) else []
    extra = [present[at] for at in left]
    changed = _paired(missing, extra, pairable) if missing and extra else []
    gone = {id(pair.planned) for pair in changed}, {id(pair.entry) for pair in changed}
    return Comparison(
        matched=matched,
        changed=tuple(changed),
        missing=tuple(plan for plan in missing if id(plan) not in gone[0]),
        extra=tuple(entry for entry in extra if id(entry) not in gone[1]),
        repeated=tuple(_repeated(present)) if len(first) < len(rules) else (),
        planned=planned,
        present=present,
    )


def _bare(present: Sequence[Entry]) -> Sequence[r.Rule]:
    return present.rules if isinstance(present, Entries) else [entry.rule for entry in present]


def _found(
    planned: Sequence[W], places: Sequence[int | None], present: Sequence[Entry]
) -> tuple[Matched[W], tuple[W, ...]]:
    """What stands at its place, and what stands nowhere, each rule of it once."""
    missing: dict[r.Rule, W] = {}
    for plan, at in zip(planned, places, strict=True) if None in places else ():
        if at is None:
            missing.setdefault(plan.rule, plan)
    once = dict(zip(reversed(places), reversed(planned), strict=True))  # some may be planned twice
    once.pop(None, None)
    if len(once) == len(planned):
        return Matched(planned, array("Q", [at for at in places if at is not None]), present), ()
    plans = {at: once[at] for at in places if at is not None}
    return Matched(tuple(plans.values()), array("Q", plans), present), tuple(missing.values())


def _repeated(present: Iterable[Entry]) -> list[Entry]:
    """The copies after the first within each chain: a rule that two chains hold is a swap, not a repetition."""
    by_rule: dict[r.Rule, list[Entry]] = {}
    for entry in present:
        by_rule.setdefault(entry.rule, []).append(entry)
    again = []
    for entries in by_rule.values():
        seen: set[str] = set()
        for entry in entries:
            if entry.chain in seen:
                again.append(entry)
            seen.add(entry.chain)
    return again


def _paired(missing: Sequence[W], extra: Sequence[Entry], pairable: Callable[[W, Entry], bool]) -> list[Changed[W]]:
    """Pairs that differ in one field, the fields tried in the order of `fields.FIELDS`; each rule is used once."""
    pairs: list[Changed[W]] = []
    left = [(plan, fields.values_of(plan.rule)) for plan in missing]
    right = {id(entry): (entry, fields.values_of(entry.rule)) for entry in extra}
    for at in range(len(fields.FIELDS)):
        by_rest: dict[Hashable, list[Entry]] = {}
        for entry, values in right.values():
            by_rest.setdefault((*values[:at], *values[at + 1 :]), []).append(entry)
        rest = []
        for plan, values in left:
            candidates = by_rest.get((*values[:at], *values[at + 1 :]), [])
            chosen = next((number for number, entry in enumerate(candidates) if pairable(plan, entry)), None)
            if chosen is None:
                rest.append((plan, values))
            else:
                entry = candidates.pop(chosen)
                del right[id(entry)]
                pairs.append(Changed(planned=plan, entry=entry))
        left = rest
    return pairs
