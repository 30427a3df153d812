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
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row, row_of
from c2c_auditor.audit.traffic.ends import BEYOND, UNMARKED, Source, SourceKind
from c2c_auditor.audit.traffic.memory import (
    DestinationKey,
    DispositionKey,
    Remembered,
    SenderConditions,
    if_same_rules,
)
from c2c_auditor.audit.traffic.senders import Sender, Senders
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import NOTHING, FlowSet, both, union, without
from c2c_auditor.netfilter.packet import UNNAMED, end_conditions
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

    def differences(self) -> Iterator[tuple[DestinationFlows, Row]]:
        """Where the two differ."""
        return ((to, row) for to in self.reached for row in to.different)


def reachability(inputs: Inputs, previous: Reachability | None = None) -> Reachability | None:
    """Work out who reaches whom; None where containers, policies or rules are not known.

    Raises EvaluationError for rules that no kernel would hold.
    """
    store, policies = inputs.facts.store, inputs.facts.policies
    if store is None or policies is None or "FORWARD" not in inputs.ruleset.chains("filter"):
        return None
    way = Way(inputs.stages)
    to, of = intent.grouped(policies.policies)
    senders = Senders.of(inputs, way, frozenset(of), previous.senders if previous is not None else None)
    memory: dict[str, Remembered] = {}
    for container in store.containers:
        old = previous.memory.get(container.handle) if previous is not None else None
        work = _Destination(inputs, way, senders, container=container, policies=to.get(container.app, ()), old=old)
        memory[container.handle] = work.remembered()
    here = [found.reached for found in memory.values()]
    apps = frozenset(container.app for container in store.containers)
    away = list(_elsewhere(senders, of, apps, inputs.declared.deciding))
    unlisted = sum(senders.count - 1 - found.listed for found in memory.values())
    return Reachability(reached=(*here, *away), flows=_total((*here, *away), unlisted), senders=senders, memory=memory)


class _Destination:
    """One container and all sources that may send to it."""

    def __init__(
        self,
        inputs: Inputs,
        way: Way,
        senders: Senders,
        *,
        container: Container,
        policies: tuple[Policy, ...],
        old: Remembered | None,
    ) -> None:
        self._way = way
        self._senders = senders
        self._container = container
        self._address = int(container.address)
        self._policies = policies
        self._ingress = intent.ingress(container, inputs.config)
        self._ingress_tag = inputs.ingress_tag
        self._sender = senders.sender(container)
        self._declared = inputs.declared.deciding
        # Rules that are the same as before have the same conditions and decide the same flows in the same way.
        self._before = if_same_rules(old, self._sender.inward)
        self._conditions = (
            self._before.conditions if self._before is not None else SenderConditions.of(self._sender.inward)
        )
        self._known = self._before.dispositions if self._before is not None else {}
        # Those that this reading needs, so that the memory forgets the others.
        self._dispositions: dict[DispositionKey, Disposition] = {}
        # Where rules compare single bits, no two marks are alike, and the mark of every app counts.
        self._marks = (
            self._conditions.marks
            if self._conditions.whole_marks
            else tuple(dict.fromkeys((*self._conditions.marks, *senders.tags)))
        )
        # Where a sender that no rule knows reaches something, all senders may, and each has to be looked at.
        stranger = self._disposition(self._strange_mark())
        self._open = bool(stranger.passes or stranger.may_pass)

    def remembered(self) -> Remembered:
        """The rows, taken over from before where nothing that concerns them changed."""
        locals_ = self._locals()
        key = DestinationKey(
            container=self._container,
            policies=self._policies,
            ingress=self._ingress,
            ingress_tag=self._ingress_tag,
            stranger=self._senders.overlay.stranger,
            mark_owners=tuple((mark, self._senders.owners(mark)) for mark in self._marks),
            apps_elsewhere=self._senders.apps if self._open else None,
            senders=tuple((sender.key, start if start is not None else self._own(sender)) for sender, start in locals_),
            itself=self._sender.key,
            declared=self._declared,
        )
        if self._before is not None and self._before.key == key:
            return self._before
        rows, listed = self._rows(locals_)
        return Remembered(
            conditions=self._conditions,
            key=key,
            dispositions=self._dispositions,
            reached=DestinationFlows.of(self._container.app, self._container, rows),
            listed=listed,
        )

    def _locals(self) -> list[tuple[Sender, int | None]]:
        """The containers of this cell that may need a row, each with the mark that it can be taken to start with."""
        senders = self._senders
        late = senders.unusual(self._address)
        some: Iterable[Sender] = senders.all
        if self._conditions.whole_marks and not self._conditions.others and not late and not self._open:
            some = senders.that(apps={policy.source for policy in self._policies}, marks=self._conditions.marks)
        me = self._container.handle
        return [
            (sender, senders.start(sender, self._address) if late else sender.mark)
            for sender in some
            if sender.container.handle != me
        ]

    def _own(self, sender: Sender) -> tuple[object, ...]:
        """What decides about the packets of a sender that is walked by itself: its own rules, in their place."""
        address = int(sender.container.address)
        return address, *self._way.outline(self._address, address)

    def _rows(self, locals_: list[tuple[Sender, int | None]]) -> tuple[tuple[Row, ...], int]:
        """The rows with something to say, and how many sources were looked at one by one."""
        allowed = intent.by_source(self._policies)
        found = [
            self._from_here(sender, start, allowed.get(sender.container.app, NOTHING)) for sender, start in locals_
        ]
        away = list(self._away(allowed))
        found += [self._from_elsewhere(source, intended) for source, intended in away]
        counted = sum(source.kind is SourceKind.APP for source, _ in away)
        if self._open:  # one row speaks for all apps elsewhere that neither a policy nor a rule names
            others = self._senders.apps - counted
            found[-1] = evolve(found[-1], count=max(others, 1))
            counted += others
        # Beside a row that speaks for all others, a source that reaches nothing needs a row that says so.
        kept = [
            row
            for row in found
            if row.intended
            or row.passes
            or row.may_pass
            or (self._open and row.source.kind in (SourceKind.APP, SourceKind.MARK))
        ]
        return tuple(row.with_declared(self._declared) for row in kept), len(locals_) + counted

    def _away(self, allowed: Mapping[str, FlowSet]) -> Iterator[tuple[Source, FlowSet]]:
        """Senders on other cells: each that a policy or a rule names, one for all others with a mark, one without.

        Over IPv6 no packet carries a mark, and one source stands for all.
        """
        senders = self._senders
        if senders.overlay.family is AddressFamily.IPV6:
            yield BEYOND, NOTHING
            return
        seen: set[str] = set()
        for policy in self._policies:
            if policy.source not in seen:
                seen.add(policy.source)
                yield Source(kind=SourceKind.APP, app=policy.source, mark=policy.source_tag), allowed[policy.source]
        if self._ingress_tag is not None:
            yield Source(kind=SourceKind.ROUTER, mark=self._ingress_tag), self._ingress
        for mark in self._marks:
            owners = senders.owners(mark)
            for app in owners:
                if app not in seen:
                    seen.add(app)
                    yield Source(kind=SourceKind.APP, app=app, mark=mark), NOTHING
            if senders.carried(mark) and not owners and mark not in (0, self._ingress_tag):
                yield Source(kind=SourceKind.MARK, mark=mark), NOTHING
        yield UNMARKED, NOTHING
        yield Source(kind=SourceKind.STRANGER, mark=self._strange_mark()), NOTHING

    def _strange_mark(self) -> int:
        """The mark of all senders that no rule names. Where rules compare single bits, they are not all alike."""
        return self._senders.strange(self._conditions.marks) if self._conditions.whole_marks else UNNAMED

    def _from_elsewhere(self, source: Source, intended: FlowSet) -> Row:
        return row_of(source, intended, (self._disposition(source.mark or 0), self._sender.answers))

    def _from_here(self, sender: Sender, start: int | None, intended: FlowSet) -> Row:
        there = self._disposition(start or 0, sender, alone=start is None)
        return row_of(
            Source(kind=SourceKind.CONTAINER, app=sender.container.app, container=sender.container),
            intended,
            (there, sender.replies),
        )

    def _disposition(self, mark: int, sender: Sender | None = None, *, alone: bool = False) -> Disposition:
        """What becomes of one source's flows.

        Two sources that no rule tells apart are one, and so are two marks that no rule asks for.
        """
        overlay, conditions = self._senders.overlay, self._conditions
        packet = None
        if sender is not None and (alone or conditions.others):
            packet = overlay.local(sender.container, self._container, mark)
        elif conditions.others:
            packet = overlay.arriving(self._container, mark)
        key = DispositionKey(
            mark if not conditions.whole_marks or mark in conditions.marks else None,
            tuple(end_conditions(rule, packet) for rule in conditions.others) if packet is not None else (),
            self._own(sender) if sender is not None and alone else None,
        )
        found = self._dispositions.get(key) or self._known.get(key)
        if found is None:
            # Where no rule tells sources apart any source's packet will do, and a stranger's meets the fewest rules.
            found = self._way.disposition(packet if packet is not None else overlay.arriving(self._container, mark))
        self._dispositions[key] = found
        return found


def _elsewhere(
    senders: Senders, of: Mapping[str, tuple[Policy, ...]], here: frozenset[str], declared: frozenset[r.Rule]
) -> Iterator[DestinationFlows]:
    """Apps that run on other cells only, as far as this cell decides: packets must leave with their source's mark."""
    rows: dict[str, list[Row]] = {}
    for sender in senders.all:
        policies = of.get(sender.container.app, ())
        if not policies:
            continue
        right = sender.egress.marks.get(policies[-1].source_tag, NOTHING)
        sure, perhaps = both(sender.egress.passes, right), both(sender.egress.may_pass, right)
        back, back_perhaps = sender.replies.answered
        for app, intended in intent.by_destination(policies).items():
            if app in here:
                continue
            passes = both(intended, both(sure, back))
            possible = both(intended, both(union(sure, perhaps), union(back, back_perhaps)))
            source = Source(kind=SourceKind.CONTAINER, app=sender.container.app, container=sender.container)
            row = Row(
                source=source,
                intended=intended,
                passes=passes,
                may_pass=without(possible, passes),
                dispositions=(sender.egress, sender.replies),
            )
            rows.setdefault(app, []).append(row.with_declared(declared))
    for app, found in sorted(rows.items()):
        yield DestinationFlows.of(app, None, tuple(found))


def _total(reached: Iterable[DestinationFlows], unlisted: int) -> dict[tuple[Passage, Passage], int]:
    """All counts; ``unlisted`` pairs of ends have no row: no policy allows anything there, and nothing passes."""
    counts = dict.fromkeys(((intended, actual) for intended in (Passage.ALLOW, Passage.DENY) for actual in Passage), 0)
    counts[Passage.DENY, Passage.DENY] = unlisted
    for to in reached:
        for key, count in to.flows.items():
            counts[key] += count
    return counts
