"""Who reaches whom: for each container and each source the flows that pass, beside those that the policies allow.

The answer is exact and not sampled: `netfilter.way` carries whole sets of flows through the rules. Sources whose
packets the rules cannot tell apart are walked once. What was worked out for a container is taken over from the reading
before as long as the rules, the policies and the senders that concern it are the same ones (`memory`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve, field, frozen

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic import intent
from c2c_auditor.audit.traffic.arrivals import Arrivals
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row, row_of
from c2c_auditor.audit.traffic.memory import Remembered
from c2c_auditor.audit.traffic.senders import Senders
from c2c_auditor.model.cell import Container
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.flows import NOTHING, both
from c2c_auditor.netfilter.way import Way


@frozen(kw_only=True)
class Reachability:
    """All of one reading.

    ``flows`` counts, for each pair of ends, the stretches of ports on which policies and rules agree, or do not.

    ``memory`` is what the next reading takes over, by handle.
    """

    reached: tuple[DestinationFlows, ...]
    flows: Mapping[tuple[Passage, Passage], int]
    senders: Senders = field(eq=False)
    memory: Mapping[str, Remembered] = field(eq=False, repr=False)
    _inputs: Inputs = field(eq=False, repr=False)

    def fits(self, inputs: Inputs) -> bool:
        """Whether the settings are those that all of it was worked out with, so that it may be taken over."""
        return _settings(self._inputs) == _settings(inputs)

    def differences(self) -> Iterator[tuple[DestinationFlows, Row]]:
        """Where the two differ."""
        return ((to, row) for to in self.reached for row in to.different)

    def rows(self) -> Iterator[tuple[DestinationFlows, tuple[Row, ...]]]:
        """All rows by destination; sources that no policy names and that reach nothing have none.

        They are put together from what is remembered: some 0.3 s for 250 containers and 20,000 policy rules.
        """
        known = {to.container.handle if to.container is not None else to.app: to for to in self.reached}
        ends = _Ends(self._inputs, self)
        for container in ends.containers:
            yield known[container.handle], ends.arrivals(container).rows()[0]
        for app, rows in ends.elsewhere():
            yield known[app], rows


def reachability(inputs: Inputs, previous: Reachability | None = None) -> Reachability | None:
    """Work out who reaches whom; None where containers, policies or rules are not known.

    Raises EvaluationError for rules that no kernel would hold.
    """
    store, policies = inputs.facts.store, inputs.facts.policies
    if store is None or policies is None or "FORWARD" not in inputs.ruleset.chains("filter"):
        return None
    ends = _Ends(inputs, previous if previous is not None and previous.fits(inputs) else None)
    memory = {container.handle: ends.remembered(container) for container in store.containers}
    here = [found.reached for found in memory.values()]
    away = [DestinationFlows.of(app, None, rows) for app, rows in ends.elsewhere()]
    senders = ends.senders
    unlisted = sum(senders.count - 1 - found.listed for found in memory.values())
    return Reachability(
        reached=(*here, *away),
        flows=_total((*here, *away), unlisted),
        senders=senders,
        memory=memory,
        inputs=inputs,
    )


def _settings(inputs: Inputs) -> tuple[object, ...]:
    """What `Overlay` and `intent.ingress` take from the settings of silk's programs."""
    config, cni = inputs.config, inputs.wrapper.config
    return (
        config.overlay_networks,
        config.overlay_ingress,
        cni.vtep_name,
        cni.ingress_tag,
        inputs.wrapper.underlay,
    )


class _Ends:
    """All that is the same for every destination, worked out once."""

    def __init__(self, inputs: Inputs, previous: Reachability | None) -> None:
        assert inputs.facts.store is not None  # noqa: S101 - `reachability`
        assert inputs.facts.policies is not None  # noqa: S101 - `reachability`
        self._inputs = inputs
        self._memory = previous.memory if previous is not None else {}
        self._way = Way(inputs.stages)
        self.containers = inputs.facts.store.containers
        self._to, self._of = intent.grouped(inputs.facts.policies)
        known = previous.senders if previous is not None else None
        self.senders = Senders.of(inputs, self._way, frozenset(self._of), known)

    def arrivals(self, container: Container) -> Arrivals:
        """One container as a destination."""
        return Arrivals(
            self._inputs,
            self._way,
            self.senders,
            container=container,
            policies=self._to.get(container.app, ()),
            old=self._memory.get(container.handle),
        )

    def remembered(self, container: Container) -> Remembered:
        """What becomes of all flows to one container."""
        old = self._memory.get(container.handle)
        if old is not None and old.stands(self.senders, self._to.get(container.app, ())):
            return old
        return self.arrivals(container).remembered()

    def elsewhere(self) -> Iterator[tuple[str, tuple[Row, ...]]]:
        """Apps that run on other cells only, as far as this cell decides: their sources' packets must leave marked."""
        here = frozenset(container.app for container in self.containers)
        rows: dict[str, list[Row]] = {}
        leaving = {
            app: some
            for app, policies in self._of.items()
            if (some := [policy for policy in policies if policy.destination not in here])
        }
        allowed = {app: intent.by_destination(policies) for app, policies in leaving.items()}
        for sender in self.senders.all:
            policies = leaving.get(sender.container.app)
            if policies is None:
                continue
            right = sender.egress.marks.get(policies[-1].source_tag, NOTHING)
            marked = both(sender.egress.passes, right), both(sender.egress.may_pass, right)
            for app, intended in allowed[sender.container.app].items():
                row = row_of(sender.source, intended, marked, sender.replies)
                row = evolve(row, passes=both(intended, row.passes), may_pass=both(intended, row.may_pass))
                if row.differs:
                    row = evolve(row, dispositions=(sender.egress, sender.replies))
                rows.setdefault(app, []).append(row.with_declared(self._inputs.declared.deciding))
        for app, found in sorted(rows.items()):
            yield app, tuple(found)


def _total(reached: Iterable[DestinationFlows], unlisted: int) -> dict[tuple[Passage, Passage], int]:
    """All counts; ``unlisted`` pairs of ends have no row: no policy allows anything there, and nothing passes."""
    counts = dict.fromkeys(((intended, actual) for intended in (Passage.ALLOW, Passage.DENY) for actual in Passage), 0)
    counts[Passage.DENY, Passage.DENY] = unlisted
    for to in reached:
        for key, count in to.flows.items():
            counts[key] += count
    return counts
