"""Which rules decide which flows, kept so that a thousand rules in a row cost each walk no more than one.

Rules next to each other that ask the same of the ends and nothing of the mark, and that only accept, refuse or let go
on, do the same with the same flows on every walk. So what they do is worked out once, for all flows (`Run`), and a walk
only notes that it came through (`Passed`). Block lists of ports are such runs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowSet, both, meet, union, without
from c2c_auditor.netfilter.packet import always_in_doubt

Rules = tuple[r.Rule | None, ...]


class Asks(NamedTuple):
    """A rule as a walk sees it.

    The flows that meet it, with those that may meet it, too, whether it has no condition at all, and what its target
    does.
    """

    surely: FlowSet
    possibly: FlowSet
    bare: bool
    does: Action


class Decided(NamedTuple):
    """Flows that one rule decided; no rule is the chain's policy. Of ``flows`` those count that are in ``within``."""

    flows: FlowSet
    rule: r.Rule | None
    within: FlowSet = ALL

    def of(self, flows: FlowSet) -> FlowSet:
        """Those of ``flows`` that were decided here."""
        decided = both(flows, self.flows)
        return decided if self.within is ALL else both(decided, self.within)

    def split(self, flows: FlowSet, rules: AbstractSet[r.Rule]) -> tuple[FlowSet, FlowSet]:
        """Those of ``flows`` that one of ``rules`` decided here, and those that another one did."""
        decided = self.of(flows)
        return (decided, NOTHING) if self.rule in rules else (NOTHING, decided)

    def rules(self, flows: FlowSet) -> Rules:
        """The rule, if it decided any of ``flows``."""
        return (self.rule,) if meet(both(flows, self.flows), self.within) else ()


class Verdicts:
    """What the rules of a run decided in one way: accepted, or refused."""

    def __init__(self, decided: Sequence[tuple[FlowSet, r.Rule]]) -> None:
        self.flows = union(*(flows for flows, _ in decided))
        self._rules: Rules = tuple(rule for _, rule in decided)
        self._alike = all(flows == self.flows for flows, _ in decided)
        # By interval: which rules (by number) decided it. Sets overlap where a rule only may meet a flow.
        self._by_interval = sorted(
            (first, last, number) for number, (flows, _) in enumerate(decided) for first, last in flows
        )
        self._longest = max((last - first for first, last, _ in self._by_interval), default=0)

    def split(self, rules: AbstractSet[r.Rule]) -> tuple[FlowSet, FlowSet]:
        """What ``rules`` decided, and what the others did."""
        mine: list[tuple[int, int]] = []
        rest: list[tuple[int, int]] = []
        for first, last, number in self._by_interval:
            (mine if self._rules[number] in rules else rest).append((first, last))
        return union(*((one,) for one in mine)), union(*((one,) for one in rest))

    def rules(self, flows: FlowSet) -> Rules:
        """The rules that decided any of ``flows``, in their order."""
        if self._alike:
            return self._rules if meet(flows, self.flows) else ()
        numbers = set()
        for first, last in flows:
            at = bisect_left(self._by_interval, (first - self._longest,))
            while at < len(self._by_interval) and self._by_interval[at][0] <= last:
                if self._by_interval[at][1] >= first:
                    numbers.add(self._by_interval[at][2])
                at += 1
        if len(numbers) == len(self._rules):
            return self._rules
        return tuple(self._rules[number] for number in sorted(numbers))


class Run:
    """What becomes of all flows that come to a row of rules: ``accepted``, ``refused``, or ``left`` to go on."""

    def __init__(self, rules: Sequence[tuple[r.Rule, Asks]]) -> None:
        accepted: list[tuple[FlowSet, r.Rule]] = []
        refused: list[tuple[FlowSet, r.Rule]] = []
        left = ALL
        for rule, asks in rules:
            if asks.does is Action.GO_ON:
                continue
            if taken := both(left, asks.possibly):
                (accepted if asks.does is Action.ACCEPT else refused).append((taken, rule))
            if not always_in_doubt(rule):
                left = without(left, asks.surely)
        self.accepted = Verdicts(accepted)
        self.refused = Verdicts(refused)
        self.left = left


class Passed(NamedTuple):
    """Flows that came to a run: ``verdicts`` are those of it that accepted, or those that refused."""

    verdicts: Verdicts
    flows: FlowSet
    within: FlowSet

    def of(self, flows: FlowSet) -> FlowSet:
        """Those of ``flows`` that were decided here."""
        return both(both(both(flows, self.flows), self.verdicts.flows), self.within)

    def split(self, flows: FlowSet, rules: AbstractSet[r.Rule]) -> tuple[FlowSet, FlowSet]:
        """Those of ``flows`` that one of ``rules`` decided here, and those that another one did."""
        decided = self.of(flows)
        mine, rest = self.verdicts.split(rules)
        return both(decided, mine), both(decided, rest)

    def rules(self, flows: FlowSet) -> Rules:
        """The rules that decided any of ``flows``; all of them are one object."""
        return self.verdicts.rules(both(both(flows, self.flows), self.within))
