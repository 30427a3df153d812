"""The rows of reachability: the flows from one source to one destination, intended and actual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from attrs import evolve, field, frozen

from c2c_auditor.audit.traffic.ends import Source
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.cached import cached
from c2c_auditor.netfilter.decided import Rules
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowSet, both, touched, union, without

Outcome = tuple[FlowSet, FlowSet]
"""The flows that pass for sure, and those that may (`Disposition`), without the rules that decide so."""


@frozen(kw_only=True)
class Row:
    """One source's flows to one destination.

    ``intended`` by policy; ``passes`` for sure; ``may_pass`` for some packets only, or where the rules do not tell.

    ``dispositions`` are what the rules decide: first on the way there, then of the answers on their way back; none of a
    row that is as it should be. ``count`` is how many sources the row speaks for. ``declared`` are the flows that rules
    decide which the operator declared: they are as they are meant to be.
    """

    source: Source
    intended: FlowSet
    passes: FlowSet
    may_pass: FlowSet
    dispositions: tuple[Disposition, ...] = field(default=(), eq=False)
    count: int = 1
    declared: FlowSet = NOTHING

    @property
    def blocked(self) -> FlowSet:
        """Allowed by policy, and stopped."""
        return without(without(self.intended, union(self.passes, self.may_pass)), self.declared)

    @property
    def doubtful(self) -> FlowSet:
        """Allowed by policy, and not sure to pass."""
        return without(both(self.intended, self.may_pass), self.declared)

    @property
    def open(self) -> FlowSet:
        """Not allowed by any policy, and passing, or passing now and then."""
        return without(without(union(self.passes, self.may_pass), self.intended), self.declared)

    @property
    def differs(self) -> bool:
        """Whether a flow is not as policies and declared rules say."""
        if self.passes == self.intended and not self.may_pass:
            return False
        return not self.declared or bool(self.blocked or self.doubtful or self.open)

    def with_declared(self, rules: AbstractSet[r.Rule]) -> Row:
        """The row where ``rules`` are meant to decide as they do."""
        if not rules or not self.differs:
            return self
        there, *back = self.dispositions
        wrong = union(self.blocked, self.doubtful)
        stopped = without(wrong, there.passes)
        meant = union(both(wrong, there.passes), there.refused_only_by(rules, stopped))
        for disposition in back:
            unanswered = without(meant, disposition.answered[0])
            lost = without(touched(unanswered), disposition.passes)
            if disposition.refused_only_by(rules, lost) != lost:
                meant = without(meant, unanswered)
        return evolve(self, declared=union(meant, there.accepted_only_by(rules, self.open)))

    def deciding(self, flows: FlowSet) -> list[r.Rule | None]:
        """The rules that decide ``flows``, each once: those on the way there, or those that stop the answers.

        None is the chain's policy.
        """
        return list(dict.fromkeys(rule for rules in self.blame(flows) for rule in rules))

    def blame(self, flows: FlowSet) -> list[Rules]:
        """`deciding` in parts: many rules are one object where they are the same (`Disposition.deciding`)."""
        there, *back = self.dispositions
        blamed = [*there.deciding(without(flows, there.passes))] if both(flows, there.passes) != flows else []
        for disposition in back:
            if both(flows, disposition.answered[0]) != flows:
                blamed += disposition.deciding(touched(flows))
        return blamed or [*there.deciding(flows)]


@frozen(kw_only=True)
class DestinationFlows:
    """One destination: a container here, or an app elsewhere as far as this cell decides.

    ``different`` are the rows where intent and rules differ, ``flows`` as in `Reachability`. The other rows are not
    kept: a large cell has tens of thousands, and few ask for them (`Reachability.rows`).
    """

    app: str
    container: Container | None
    different: tuple[Row, ...]
    flows: Mapping[tuple[Passage, Passage], int] = field(eq=False)

    @classmethod
    def of(cls, app: str, container: Container | None, rows: tuple[Row, ...]) -> DestinationFlows:
        """With what follows from all its ``rows``."""
        return cls(
            app=app,
            container=container,
            different=tuple(row for row in rows if row.differs),
            flows=_counted(rows, here=container is not None),
        )

    def instead(self, gone: tuple[Row, ...], come: tuple[Row, ...], places: Mapping[str, int]) -> DestinationFlows:
        """With other rows of some containers. ``places`` are those of all containers' rows, which come first."""
        flows = Counter(self.flows)
        flows.subtract(_counted(gone, here=self.container is not None))
        flows.update(_counted(come, here=self.container is not None))
        different = [row for row in self.different if row not in gone] + [row for row in come if row.differs]
        return DestinationFlows(
            app=self.app,
            container=self.container,
            different=tuple(sorted(different, key=lambda row: _place(row, places))),
            flows=flows,
        )


def _place(row: Row, places: Mapping[str, int]) -> int:
    return places[row.source.container.handle] if row.source.container is not None else len(places)


def row_of(source: Source, intended: FlowSet, there: Outcome, back: Disposition) -> Row:
    """A flow passes if its packets pass and the answers to them do; without the dispositions."""
    passes, may_pass = _there_and_back(there, back.answered)
    return Row(source=source, intended=intended, passes=passes, may_pass=may_pass)


@cached
def _there_and_back(there: Outcome, back: Outcome) -> Outcome:
    """Which flows pass and whose answers do, and which may: tens of thousands of rows have a few of each."""
    passes = both(there[0], back[0])
    return passes, without(both(union(*there), union(*back)), passes)


def _counted(rows: Iterable[Row], *, here: bool) -> Mapping[tuple[Passage, Passage], int]:
    """How many stretches of ports there are of each kind.

    Of a destination elsewhere only what is allowed is this cell's matter.
    """
    allow, deny, may = Passage.ALLOW, Passage.DENY, Passage.MAY
    counts: Counter[tuple[Passage, Passage]] = Counter()
    for row in rows:
        if row.passes == row.intended and not row.may_pass:
            counts[allow, allow] += row.count * len(row.passes)
            counts[deny, deny] += row.count * (here and row.passes != ALL)
            continue
        intended = union(without(row.intended, row.declared), both(row.passes, row.declared))
        forbidden = without(ALL, intended)
        closed = without(forbidden, union(row.passes, row.may_pass))
        for key, flows in (
            ((allow, allow), both(intended, row.passes)),
            ((allow, may), row.doubtful),
            ((allow, deny), row.blocked),
            ((deny, allow), both(row.passes, forbidden)),
            ((deny, may), without(both(row.may_pass, forbidden), row.declared)),
        ):
            counts[key] += row.count * len(flows)
        counts[deny, deny] += row.count * (here and bool(closed))
    return counts
