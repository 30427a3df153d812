"""Who reaches whom: for every container of this cell and every source, the exact flows that pass, beside those that the policies allow.

Exact, not sampled: `netfilter.paths` carries whole sets of flows through the rules. Sources whose packets the rules cannot tell apart are walked once. What
was worked out for a container is kept as long as the rules, the policies and the senders that concern it are the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve, field, frozen

from c2c_auditor.audit import intent
from c2c_auditor.audit.ends import UNMARKED, Source, Who
from c2c_auditor.audit.inputs import Inputs
from c2c_auditor.audit.senders import Sender, Senders
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowSet, both, touched, union, whole, without
from c2c_auditor.netfilter.packet import Certainty, Packet, aside
from c2c_auditor.netfilter.paths import Paths, Spread


@frozen(kw_only=True)
class Row:
    """One source's flows to one destination. ``intended`` by policy; ``passes`` for sure; ``may_pass`` for some packets, or nobody can say.

    ``walked`` are the ways of packets that decide: there, and of their answers back.
    """

    source: Source
    intended: FlowSet
    passes: FlowSet
    may_pass: FlowSet
    walked: tuple[Spread, ...] = field(eq=False)

    @property
    def blocked(self) -> FlowSet:
        """Allowed by policy, and stopped."""
        return without(self.intended, union(self.passes, self.may_pass))

    @property
    def doubtful(self) -> FlowSet:
        """Allowed by policy, and not sure to pass."""
        return both(self.intended, self.may_pass)

    @property
    def open(self) -> FlowSet:
        """Not allowed by any policy, and passing, or passing now and then."""
        return without(union(self.passes, self.may_pass), self.intended)

    def deciding(self, flows: FlowSet) -> list[r.Rule | None]:
        """The rules that decide ``flows``, each once; None is the chain's policy."""
        return list(dict.fromkeys(rule for spread in self.walked for rule in spread.deciding(flows)))


@frozen(kw_only=True)
class Reached:
    """One destination: a container here, or an app elsewhere as far as this cell decides.

    Sources that no policy names and that reach nothing have no row.
    """

    app: str
    container: Container | None
    rows: tuple[Row, ...]


@frozen(kw_only=True)
class _Remembered:
    """What a container's rows were worked out from."""

    outline: tuple[object, ...]
    key: tuple[object, ...]
    spreads: dict[tuple[object, ...], Spread]
    reached: Reached
    named: int


@frozen(kw_only=True)
class Reachability:
    """All of one reading. ``flows`` counts, for each pair of ends, the stretches of ports on which policies and rules agree, or do not.

    ``memory`` is for the next reading only.
    """

    reached: tuple[Reached, ...]
    flows: Mapping[tuple[Passage, Passage], int]
    senders: Senders = field(eq=False)
    memory: Mapping[str, _Remembered] = field(eq=False, repr=False)

    def differences(self) -> Iterator[tuple[Reached, Row]]:
        """Where the two differ."""
        return ((to, row) for to in self.reached for row in to.rows if row.blocked or row.open or row.doubtful)


def reachability(inputs: Inputs, previous: Reachability | None = None) -> Reachability | None:
    """Work out who reaches whom; None where containers, policies or rules are not known.

    Raises EvaluationError for rules that no kernel would hold.
    """
    store, policies = inputs.facts.store, inputs.facts.policies
    chains = inputs.ruleset.chains("filter")
    if store is None or policies is None or "FORWARD" not in chains:
        return None
    paths = Paths(chains, "FORWARD")
    to, of = intent.grouped(policies.policies)
    senders = Senders.of(inputs, paths, frozenset(of), previous.senders if previous is not None else None)
    memory: dict[str, _Remembered] = {}
    for container in store.containers:
        work = _Destination(inputs, paths, senders, container=container, policies=to.get(container.app, ()))
        old = previous.memory.get(container.handle) if previous is not None else None
        memory[container.handle] = work.remembered(old)
    here = [found.reached for found in memory.values()]
    away = list(_elsewhere(senders, of, frozenset(container.app for container in store.containers)))
    quiet = sum(senders.count - 1 - found.named for found in memory.values())
    return Reachability(reached=(*here, *away), flows=_counted((*here, *away), quiet), senders=senders, memory=memory)


class _Destination:
    """One container and everybody who may send to it."""

    def __init__(self, inputs: Inputs, paths: Paths, senders: Senders, *, container: Container, policies: tuple[Policy, ...]) -> None:
        self._paths = paths
        self._senders = senders
        self._container = container
        self._address = int(container.address)
        self._policies = policies
        self._ingress = intent.ingress(container, inputs.config)
        self._ingress_tag = inputs.ingress_tag
        self._outline = paths.outline(self._address)
        rules = [part for part in self._outline if isinstance(part, r.Rule)]
        self._marks, self._by_mark = _marks_asked(rules)
        self._telling = [rule for rule in rules if _tells_sources_apart(rule)]
        self._spreads: dict[tuple[object, ...], Spread] = {}

    def remembered(self, old: _Remembered | None) -> _Remembered:
        """The rows, taken over from ``old`` where nothing that concerns them changed."""
        locals_ = self._locals()
        owners = tuple(self._senders.owners(mark) for mark in self._marks)
        key = (
            self._container,
            self._policies,
            self._ingress,
            self._ingress_tag,
            owners,
            self._senders.overlay.stranger,
            tuple((sender.key, start) for sender, start in locals_),
            self._senders.sender(self._container).key,
        )
        if old is not None and old.outline == self._outline:
            if old.key == key:
                return evolve(old, outline=self._outline)
            self._spreads = old.spreads
        rows, named = self._rows(locals_)
        reached = Reached(app=self._container.app, container=self._container, rows=rows)
        return _Remembered(outline=self._outline, key=key, spreads=self._spreads, reached=reached, named=named)

    def _locals(self) -> list[tuple[Sender, int | None]]:
        """The containers here that need a row of their own or may, each with the mark it can be taken to start with."""
        senders = self._senders
        apps = {policy.source for policy in self._policies}
        everybody = bool(self._telling) or not self._by_mark or senders.unusual(self._address)
        some = senders.all if everybody else senders.that(apps=apps, marks=self._marks)
        return [(sender, senders.start(sender, self._address)) for sender in some if sender.container.handle != self._container.handle]

    def _rows(self, locals_: list[tuple[Sender, int | None]]) -> tuple[tuple[Row, ...], int]:
        """All rows that say something, and how many of the sources were looked at one by one."""
        allowed = intent.by_source(self._policies)
        found = [self._from_here(sender, start, allowed.get(sender.container.app, NOTHING)) for sender, start in locals_]
        away = list(self._away(allowed))
        found += [self._from_elsewhere(source, intended) for source, intended in away]
        counted = sum(source.who is Who.APP for source, _ in away)
        return tuple(row for row in found if row.intended or row.passes or row.may_pass), len(locals_) + counted

    def _away(self, allowed: Mapping[str, FlowSet]) -> Iterator[tuple[Source, FlowSet]]:
        """Senders on other cells: each that a policy or a rule names, one for all others with a mark, one for all without."""
        senders = self._senders
        seen: set[str] = set()
        for policy in self._policies:
            if policy.source not in seen:
                seen.add(policy.source)
                yield Source(who=Who.APP, app=policy.source, mark=policy.source_tag), allowed[policy.source]
        if self._ingress_tag is not None:
            yield Source(who=Who.ROUTER, mark=self._ingress_tag), self._ingress
        for mark in self._marks:
            owners = senders.owners(mark)
            for app in owners:
                if app not in seen:
                    seen.add(app)
                    yield Source(who=Who.APP, app=app, mark=mark), NOTHING
            if senders.carried(mark) and not owners and mark not in (0, self._ingress_tag):
                yield Source(who=Who.MARK, mark=mark), NOTHING
        yield UNMARKED, NOTHING
        yield Source(who=Who.STRANGER, mark=senders.strange(self._marks)), NOTHING

    def _from_elsewhere(self, source: Source, intended: FlowSet) -> Row:
        packet = self._senders.overlay.arriving(self._container, source.mark or 0)
        there = self._spread(packet, ("vtep", packet.mark, self._told(packet)))
        return _row(source, intended, (there, self._senders.sender(self._container).answers))

    def _from_here(self, sender: Sender, start: int | None, intended: FlowSet) -> Row:
        packet = self._senders.overlay.local(sender.container.address, self._container, start or 0)
        # A mark that no rule asks for is like any other.
        mark = packet.mark if not self._by_mark or packet.mark in self._marks else -1
        alone = sender.container.address if start is None else None
        there = self._spread(packet, ("veth", mark, self._told(packet), alone))
        return _row(Source(who=Who.CONTAINER, app=sender.container.app, container=sender.container), intended, (there, sender.replies))

    def _told(self, packet: Packet) -> tuple[Certainty, ...]:
        return tuple(aside(rule, packet) for rule in self._telling)

    def _spread(self, packet: Packet, key: tuple[object, ...]) -> Spread:
        found = self._spreads.get(key)
        if found is None:
            found = self._spreads[key] = self._paths.spread(packet)
        return found


def _row(source: Source, intended: FlowSet, walked: tuple[Spread, ...]) -> Row:
    """A flow passes if its packets pass and the answers to them do."""
    passes, possible = ALL, ALL
    for index, spread in enumerate(walked):
        sure, perhaps = (spread.passes, spread.may_pass) if index == 0 else answered(spread)
        possible = both(possible, union(sure, perhaps))
        passes = both(passes, sure)
    return Row(source=source, intended=intended, passes=passes, may_pass=without(possible, passes), walked=walked)


def answered(spread: Spread) -> tuple[FlowSet, FlowSet]:
    """The flows whose answers pass for sure, and those whose answers may: an answer goes to whatever port the client chose."""
    if spread.passes == ALL:
        return ALL, NOTHING
    sure = whole(spread.passes)
    some = touched(union(spread.passes, spread.may_pass))
    return sure, without(some, sure)


def _elsewhere(senders: Senders, of: Mapping[str, tuple[Policy, ...]], here: frozenset[str]) -> Iterator[Reached]:
    """Apps that run on other cells only, as far as this cell decides: packets to them leave with the mark that stands for their source."""
    rows: dict[str, list[Row]] = {}
    for sender in senders.all:
        policies = of.get(sender.container.app, ())
        if not policies:
            continue
        right = sender.egress.marks.get(policies[-1].source_tag, NOTHING)
        sure, perhaps = both(sender.egress.passes, right), both(sender.egress.may_pass, right)
        back, back_perhaps = answered(sender.replies)
        for app, intended in intent.by_destination(policies).items():
            if app in here:
                continue
            passes = both(intended, both(sure, back))
            possible = both(intended, both(union(sure, perhaps), union(back, back_perhaps)))
            source = Source(who=Who.CONTAINER, app=sender.container.app, container=sender.container)
            row = Row(
                source=source, intended=intended, passes=passes, may_pass=without(possible, passes), walked=(sender.egress, sender.replies)
            )
            rows.setdefault(app, []).append(row)
    for app, found in sorted(rows.items()):
        yield Reached(app=app, container=None, rows=tuple(found))


def _counted(reached: Iterable[Reached], quiet: int) -> dict[tuple[Passage, Passage], int]:
    allow, deny, may = Passage.ALLOW, Passage.DENY, Passage.MAY
    counts = dict.fromkeys(((intended, actual) for intended in (allow, deny) for actual in (allow, deny, may)), 0)
    counts[deny, deny] = quiet
    for to in reached:
        for row in to.rows:
            unasked = without(ALL, row.intended)
            counts[allow, allow] += len(both(row.intended, row.passes))
            counts[allow, may] += len(row.doubtful)
            counts[allow, deny] += len(row.blocked)
            counts[deny, allow] += len(both(row.passes, unasked))
            counts[deny, may] += len(both(row.may_pass, unasked))
            counts[deny, deny] += bool(without(unasked, union(row.passes, row.may_pass))) and to.container is not None
    return counts


def _marks_asked(rules: Iterable[r.Rule]) -> tuple[tuple[int, ...], bool]:
    """The marks that ``rules`` ask for, and whether all other marks are alike to them: masks make no two marks alike."""
    marks: dict[int, None] = {}
    alike = True
    for rule in rules:
        if isinstance(rule.target, r.SetMark):
            alike = alike and rule.target.mask == r.ALL_BITS
        for match in rule.matches:
            if isinstance(match, r.MarkMatch):
                marks[match.value] = None
                alike = alike and match.mask == r.ALL_BITS
    return tuple(marks), alike


def _tells_sources_apart(rule: r.Rule) -> bool:
    if rule.source is not None or rule.in_interface is not None:
        return True
    return any((isinstance(match, r.IpRangeMatch | r.AddressTypeMatch) and match.source) for match in rule.matches)
