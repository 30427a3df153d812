"""What becomes of all flows between two ends, and which rules decide so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property

from attrs import field, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.decided import Decided, Passed, Rules
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowSet, touched, union, whole, without


@frozen(kw_only=True)
class Disposition:
    """What becomes of all flows between two ends: they pass for sure, or may, or do not.

    ``marks``: with which mark they can pass.

    ``accepted`` and ``refused`` are the rules that decide. Those that refuse are meant for what does not pass for sure,
    however wide their sets are: where one refuses all the rest, its set is not kept, and with a cell's tens of
    thousands of dispositions that halves what they take.
    """

    accepted: tuple[Decided | Passed, ...]
    refused: tuple[Decided | Passed, ...]
    marks: Mapping[int | None, FlowSet]
    passes: FlowSet
    may_pass: FlowSet
    _deciding: dict[FlowSet, tuple[Rules, ...]] = field(factory=dict, init=False, eq=False, repr=False)

    @cached_property
    def answered(self) -> tuple[FlowSet, FlowSet]:
        """Where these are answers: the flows whose answers pass for sure, and those whose answers may.

        An answer goes to the port that the client chose.
        """
        if self.passes == ALL:
            return ALL, NOTHING
        sure = whole(self.passes)
        some = touched(union(self.passes, self.may_pass))
        return sure, without(some, sure)

    def refused_only_by(self, rules: AbstractSet[r.Rule], flows: FlowSet) -> FlowSet:
        """Those of ``flows``, none of which passes for sure, that some of ``rules`` refuse and no other."""
        return _decided_only_by(self.refused, rules, flows)

    def accepted_only_by(self, rules: AbstractSet[r.Rule], flows: FlowSet) -> FlowSet:
        """Those of ``flows`` that some of ``rules`` accept and no other."""
        return _decided_only_by(self.accepted, rules, flows)

    def deciding(self, flows: FlowSet) -> tuple[Rules, ...]:
        """The rules that decide any of ``flows``, in the order of the walk; None is the policy.

        In parts, which are the same object each time: the answers to tens of thousands of flows may be stopped by the
        same thousand rules.
        """
        known = self._deciding.get(flows)
        if known is None:
            left = without(flows, self.passes)
            found = (*(one.rules(flows) for one in self.accepted), *(one.rules(left) for one in self.refused))
            known = self._deciding[flows] = tuple(_parts(found))
        return known


def _decided_only_by(decided: Iterable[Decided | Passed], rules: AbstractSet[r.Rule], flows: FlowSet) -> FlowSet:
    ours, others = NOTHING, NOTHING
    for one in decided:
        mine, rest = one.split(flows, rules)
        ours, others = union(ours, mine), union(others, rest)
    return without(ours, others)


def _parts(found: Iterable[Rules]) -> Iterator[Rules]:
    """``found`` without what is empty, and with rules that stand alone put together."""
    alone: list[r.Rule | None] = []
    for rules in found:
        if len(rules) == 1:
            alone += rules
        elif rules:
            if alone:
                yield tuple(dict.fromkeys(alone))
                alone = []
            yield rules
    if alone:
        yield tuple(dict.fromkeys(alone))
