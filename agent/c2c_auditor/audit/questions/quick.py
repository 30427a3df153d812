"""Verdicts for many pairs of containers: by an index of the rules instead of a walk that tries every one."""

from __future__ import annotations

from collections.abc import Sequence

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.routes import Leg, Route
from c2c_auditor.audit.questions.travel import MarkedRight
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import FlowSet, Piece, both
from c2c_auditor.netfilter.packet import Certainty, every


class Quick:
    """Verdicts on one flow; what was looked up of a cell's rules serves all pairs."""

    def __init__(self, cells: Sequence[Cell], flow: Piece, marked_right: MarkedRight) -> None:
        self._cells = cells
        self._wanted = flow.flows
        self._marked_right = marked_right

    def verdict(self, route: Route) -> Certainty:
        """Whether the flow passes on ``route``, which is one between containers."""
        first = route.first(self._cells)
        there = self._disposition(first)
        marks = self._marks(there)
        verdicts = [_of(there.passes, there.may_pass, self._wanted)]
        last = first
        for leg in route.second(marks):
            further = self._disposition(leg)
            verdicts.append(_of(further.passes, further.may_pass, self._wanted))
            last = leg
        if last.marked and not self._marked_right(marks):
            return Certainty.NO
        _, request = last.cell.routed(last.packet)
        back = route.back(last, request)
        answer = self._disposition(back)
        verdicts.append(_of(*answer.answered, self._wanted))
        home = route.home(back.packet, frozenset({None}))
        return every((*verdicts, *(_of(*self._disposition(leg).answered, self._wanted) for leg in home)))

    def _disposition(self, leg: Leg) -> Disposition:
        _, packet = leg.cell.routed(leg.packet)
        return leg.cell.way.disposition(packet)

    def _marks(self, disposition: Disposition) -> frozenset[int | None]:
        return frozenset(mark for mark, flows in disposition.marks.items() if both(flows, self._wanted))


def _of(passes: FlowSet, may_pass: FlowSet, wanted: FlowSet) -> Certainty:
    return Certainty.YES if both(passes, wanted) else Certainty.MAY if both(may_pass, wanted) else Certainty.NO
