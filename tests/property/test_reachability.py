"""Reachability against brute force, packet by packet.

Every source, every destination, every range of ports that the rules distinguish.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.ends import LARGEST_TAG, SourceKind
from c2c_auditor.audit.traffic.reachability import Reachability, reachability
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Container, PolicySet
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.evaluate import evaluate
from c2c_auditor.netfilter.flows import ALL, Piece, both, matching, pieces
from c2c_auditor.netfilter.packet import Certainty, Packet
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk import chain_names
from support.mutations import with_rules
from support.recordings import recording

CELLS = ("pair", "bare-containers", "limits-and-denies", "pair-overlay-ingress", "pair-c2c-logging")
# Those that rules here name, and one that none does.
INGRESS_TAG = 0x7
_PROTOCOLS = (r.TCP, r.UDP, r.ICMP, 47)
YES, NO, MAY = Certainty.YES, Certainty.NO, Certainty.MAY


@frozen(kw_only=True, repr=False)
class Damaged:
    """A recorded cell and what became of its rules."""

    cell: str
    edits: tuple[str, ...]
    ruleset: r.Ruleset

    def __repr__(self) -> str:
        """What was done; the ruleset is far too long."""
        return f"{self.cell}: {self.edits}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401, FBT001 - what hypothesis asks for
        del cycle
        printer.text(repr(self))


@st.composite
def foreign(draw: st.DrawFn, name: str) -> r.Rule:
    """A rule that somebody else, or a mistake, might write in the recorded cell ``name``."""
    cell = recording(name)
    hosts = st.sampled_from([r.AddressMatch(value=int(address), negated=False) for address in cell.addresses])
    anybody = st.none() | hosts | st.just(r.AddressMatch(value=0x0AFF0000, mask=0xFFFF0000))
    port = draw(st.sampled_from((53, 8080, 61001)))
    asked: tuple[tuple[r.ProtocolMatch | None, tuple[r.Match, ...]], ...] = (
        (None, ()),
        (r.ProtocolMatch(number=r.TCP), (canonical.transport(r.TCP, port, port + draw(st.integers(0, 9))),)),
        (r.ProtocolMatch(number=r.UDP), ()),
        (r.ProtocolMatch(number=r.ICMP), (r.IcmpMatch(type=8),)),
        (None, (r.MarkMatch(value=1, negated=draw(st.booleans())),)),
        (None, (r.MarkMatch(value=0x4, mask=0x4),)),
        (None, (r.OpaqueMatch(module="set"),)),
        (None, (canonical.states(frozenset({"ESTABLISHED"})),)),
    )
    protocol, matches = draw(st.sampled_from(asked))
    chains = [name for name in cell.ruleset.chains("filter") if name.startswith("overlay--")]
    targets: list[r.Target] = [
        r.ACCEPT,
        r.DROP,
        r.REJECT,
        r.RETURN,
        r.SetMark(value=1),
        r.SetMark(value=4, mask=4),
        r.Goto(chain=chains[0]),
    ]
    return r.Rule(
        source=draw(anybody),
        destination=draw(anybody),
        in_interface=draw(st.none() | st.just(r.InterfaceMatch(name="silk-vtep"))),
        protocol=protocol,
        matches=canonical.matches_in_order([*matches]),
        target=draw(st.sampled_from(targets)),
    )


@st.composite
def damaged(draw: st.DrawFn, cells: tuple[str, ...] = CELLS) -> Damaged:
    """A recorded cell whose rules were deleted, repeated, moved or joined by others, up to four times."""
    cell = recording(draw(st.sampled_from(cells)))
    ruleset = cell.ruleset
    edits = []
    for _ in range(draw(st.integers(0, 4))):
        chains = ruleset.chains("filter")
        name = draw(
            st.sampled_from([name for name in chains if name == "FORWARD" or name.startswith(("vpa--", "overlay--"))])
        )
        rules = list(chains[name].rules)
        at = draw(st.integers(0, len(rules)))
        what = draw(st.sampled_from(("delete", "move", "insert", "insert")))
        if what == "insert" or not rules:
            rule = draw(foreign(cell.name))
            # no chain goes to itself, or to one that leads back
            rule = rule if name == "FORWARD" or not isinstance(rule.target, r.Goto) else evolve(rule, target=r.ACCEPT)
            rules.insert(at, rule)
            edits.append(f"-I {name} {at + 1} {render_rule(rule)}")
        else:
            taken = rules.pop(at % len(rules))
            edits.append(f"{what} {name}: {render_rule(taken)}")
            if what == "move":
                to = draw(st.integers(0, len(rules)))
                rules.insert(to, taken)
                edits[-1] += f" to {to + 1}"
        ruleset = with_rules(ruleset, name, tuple(rules))
    return Damaged(cell=cell.name, edits=tuple(edits), ruleset=ruleset)


@frozen(kw_only=True, repr=False)
class Change:
    """One cell at two moments."""

    before: Damaged
    after: Damaged
    facts: CellFacts

    def __repr__(self) -> str:
        """What was done; the facts are far too long."""
        return f"{self.before} then {self.after}, {self.facts.policies}, {self.facts.store}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401, FBT001 - what hypothesis asks for
        del cycle
        printer.text(repr(self))


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Rules, policies and containers come and go."""
    before = draw(damaged())
    after = draw(damaged((before.cell,))) if draw(st.booleans()) else before
    facts = recording(before.cell).facts
    assert facts.policies is not None
    assert facts.store is not None
    kept = draw(st.lists(st.booleans(), min_size=len(facts.policies.policies), max_size=len(facts.policies.policies)))
    policies = tuple(policy for policy, keep in zip(facts.policies.policies, kept, strict=True) if keep)
    containers = facts.store.containers[draw(st.integers(0, 1)) :]
    if draw(st.booleans()):  # each has another's address
        addresses = [container.address for container in containers]
        containers = tuple(
            evolve(container, address=address)
            for container, address in zip(containers, addresses[1:] + addresses[:1], strict=True)
        )
    later = evolve(facts, policies=PolicySet(policies=policies), store=evolve(facts.store, containers=containers))
    assert facts.config is not None
    if draw(st.booleans()):  # other settings, the rules being what they are
        config = evolve(facts.config, overlay_ingress=not facts.config.overlay_ingress)
        later = evolve(later, config=config, ingress_tag=INGRESS_TAG)
    return Change(before=before, after=after, facts=later)


def _stretches(ruleset: r.Ruleset) -> list[Piece]:
    """One flow of each stretch that all rules of the table treat alike."""
    bounds = {0}
    nobody = Packet(source=0, destination=0, protocol=0)
    for name, chain in ruleset.chains("filter").items():
        if name == "FORWARD" or name.startswith(("vpa--", "overlay--")):
            for rule in chain.rules:
                for flows in matching(rule, nobody):
                    bounds |= {point for first, last in flows for point in (first, last + 1)}
    starts = {first for number in _PROTOCOLS for first, _ in _protocol(number)}
    points = [((point, point),) for point in sorted(bounds | starts) if point <= ALL[-1][1]]
    return [piece for point in points for piece in pieces(point) if piece.protocol in _PROTOCOLS]


def _protocol(number: int) -> tuple[tuple[int, int], ...]:
    return matching(r.Rule(protocol=r.ProtocolMatch(number=number)), Packet(source=0, destination=0, protocol=0))[0]


def _passes(ruleset: r.Ruleset, packet: Packet, piece: Piece) -> Certainty:
    return evaluate(ruleset.chains("filter"), "FORWARD", piece.packet(packet)).passes


def _answered(ruleset: r.Ruleset, packet: Packet, stretches: list[Piece]) -> dict[int, Certainty]:
    """Whether answers pass, by protocol: to whatever port the client chose."""
    back = evolve(packet, state="ESTABLISHED", tcp_flags=None)
    found: dict[int, set[Certainty]] = {}
    for piece in stretches:
        found.setdefault(piece.protocol, set()).add(_passes(ruleset, back, piece))
    return {protocol: answers.pop() if len(answers) == 1 else MAY for protocol, answers in found.items()}


def _both(first: Certainty, second: Certainty) -> Certainty:
    if NO in (first, second):
        return NO
    return YES if first is second is YES else MAY


def _said(row: Row | None, piece: Piece) -> Certainty:
    if row is None:
        return NO
    return YES if both(row.passes, piece.flows) else MAY if both(row.may_pass, piece.flows) else NO


def _sources(reach: Reachability, inputs: Inputs, to: Container) -> Iterator[tuple[tuple[object, ...], Packet, Packet]]:
    """Every source: how its row is known, its first packet, and the answer to it."""
    store, policies = inputs.facts.store, inputs.facts.policies
    assert store is not None
    assert policies is not None
    overlay = reach.senders.overlay
    for container in store.containers:
        if container.handle != to.handle:
            yield (
                (SourceKind.CONTAINER, container.handle),
                overlay.local(container, to, 0),
                overlay.arriving(container, 0),
            )
    tags = {policy.source: policy.source_tag for policy in policies.policies}
    asked = {match.value for match in _matches(inputs.ruleset) if isinstance(match, r.MarkMatch)}
    for app, tag in tags.items():
        yield (SourceKind.APP, app), overlay.arriving(to, tag), overlay.leaving(to)
    known = {*tags.values(), inputs.ingress_tag, 0}
    for mark in sorted(mark for mark in asked - known if mark <= LARGEST_TAG):
        yield (SourceKind.MARK, mark), overlay.arriving(to, mark), overlay.leaving(to)
    yield (SourceKind.UNMARKED, ""), overlay.arriving(to, 0), overlay.leaving(to)


def _matches(ruleset: r.Ruleset) -> Iterator[r.Match]:
    return (match for chain in ruleset.chains("filter").values() for rule in chain.rules for match in rule.matches)


def _compares_bits(ruleset: r.Ruleset) -> bool:
    """Whether a rule matches or sets single bits of the mark."""
    targets = (rule.target for chain in ruleset.chains("filter").values() for rule in chain.rules)
    masks = [match.mask for match in _matches(ruleset) if isinstance(match, r.MarkMatch)]
    masks += [target.mask for target in targets if isinstance(target, r.SetMark)]
    return any(mask != r.ALL_BITS for mask in masks)


def _key(row: Row) -> tuple[object, ...]:
    source = row.source
    if source.container is not None:
        return SourceKind.CONTAINER, source.container.handle
    return source.kind, source.mark if source.kind is SourceKind.MARK else source.app


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawn=damaged())
def test_every_row_and_every_absence_of_one_is_what_packets_say(drawn: Damaged) -> None:
    """First packets and answers of every source, in every stretch."""
    ruleset = drawn.ruleset
    inputs = Inputs.of(recording(drawn.cell).facts, ruleset, None)
    reach = reachability(inputs)
    assert reach is not None
    stretches = _stretches(ruleset)
    bits = _compares_bits(ruleset)
    for reached, found in reach.rows():
        if reached.container is None:
            continue
        rows = {_key(row): row for row in found}
        for key, there, back in _sources(reach, inputs, reached.container):
            # One row speaks for all that come from elsewhere and that no policy and no rule on the way names.
            named = key in rows or key[0] not in (SourceKind.APP, SourceKind.MARK)
            row = rows.get(key) if named else rows.get((SourceKind.STRANGER, ""))
            answers = _answered(ruleset, back, stretches)
            for piece in stretches:
                expected = _both(_passes(ruleset, there, piece), answers[piece.protocol])
                # Where rules compare single bits, the senders that none names are not all alike.
                assert _said(row, piece) in ({expected} if named or not bits else {expected, MAY}), (key, str(piece))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=changes())
def test_what_is_taken_over_is_never_stale(drawn: Change) -> None:
    """After any change of rules, policies or containers the answer is the one that would be worked out afresh.

    Back and forth: what did not change is the same objects again. Afresh means of other objects, of which nothing is
    remembered.
    """
    facts = evolve(recording(drawn.before.cell).facts, ingress_tag=INGRESS_TAG)
    before, after = drawn.before.ruleset, drawn.after.ruleset
    judged: Judgement | None = None
    for now, ruleset in ((facts, before), (drawn.facts, after), (drawn.facts, before), (drawn.facts, after)):
        judged = judge(now, ruleset, None, previous=judged)
        others = pickle.loads(pickle.dumps((now, ruleset)))  # noqa: S301 - of this test
        afresh = judge(others[0], others[1], None)
        assert judged == afresh
        assert _reached(judged) == _reached(afresh)


def _reached(judgement: Judgement) -> tuple[object, ...]:
    reach = judgement.reach
    assert reach is not None
    return (reach.reached, reach.flows, *reach.rows())


def test_senders_that_single_bits_tell_apart_are_in_doubt_together() -> None:
    """One row speaks for all apps elsewhere that no rule names: with this rule some of them pass and others do not."""
    cell = recording("pair")
    rule = r.Rule(matches=(r.MarkMatch(value=0x4, mask=0x4),), target=r.ACCEPT)
    forward = cell.ruleset.chains("filter")["FORWARD"].rules
    reach = reachability(Inputs.of(cell.facts, with_rules(cell.ruleset, "FORWARD", (rule, *forward)), None))
    assert reach is not None
    for _, rows in reach.rows():
        (row,) = [row for row in rows if row.source.kind is SourceKind.STRANGER]
        assert (row.passes, bool(row.may_pass)) == ((), True)


def test_what_one_source_may_by_a_rule_of_its_own_is_not_taken_over() -> None:
    """A source that is walked by itself, because its MARK comes late, gets an ACCEPT of its own in front of all."""
    cell = recording("pair-overlay-ingress")
    forward, policies = cell.ruleset.chains("filter")["FORWARD"].rules, cell.ruleset.chains("filter")[cell.policy_chain]
    marking, *others = policies.rules
    late = with_rules(cell.ruleset, cell.policy_chain, (others[0], marking, *others[1:]))
    late = with_rules(late, "FORWARD", tuple(rule for rule in forward if rule.source is None))
    opened = with_rules(cell.ruleset, "FORWARD", (r.Rule(source=marking.source, target=r.ACCEPT), *forward))
    facts = evolve(cell.facts, policies=PolicySet(policies=()))
    for before in (late, with_rules(opened, "FORWARD", (*forward, r.Rule(source=marking.source, target=r.ACCEPT)))):
        inputs = Inputs.of(facts, opened, None)
        first = reachability(Inputs.of(facts, before, None))
        after, afresh = reachability(inputs, first), reachability(inputs)
        assert after is not None
        assert afresh is not None
        assert (after.reached, after.flows, *after.rows()) == (afresh.reached, afresh.flows, *afresh.rows())


@pytest.mark.parametrize("name", ["fleet-12-nft", "pair-overlay-ingress"])
@pytest.mark.parametrize("fewer", [0, 1])
def test_senders_with_other_marks_are_taken_out_and_put_back(
    monkeypatch: pytest.MonkeyPatch, name: str, fewer: int
) -> None:
    """Each MARK of a cell gone, its value another app's, and as before again: rows are as if worked out afresh."""
    taken: list[int] = []
    instead = DestinationFlows.instead

    def counted(
        self: DestinationFlows, gone: tuple[Row, ...], come: tuple[Row, ...], places: Mapping[str, int]
    ) -> DestinationFlows:
        taken.append(len(come))
        return instead(self, gone, come, places)

    monkeypatch.setattr(DestinationFlows, "instead", counted)
    cell = recording(name)
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    rules = rules[: len(rules) - fewer]  # without the last ACCEPT there are differences that no mark makes
    marks = [at for at, rule in enumerate(rules) if isinstance(rule.target, r.SetMark)]
    values = [rule.target.value for rule in rules if isinstance(rule.target, r.SetMark)]
    assert cell.facts.store is not None
    handles = {int(container.address): container.handle for container in cell.facts.store.containers}
    previous = None
    for at, other in zip(marks, (*values[1:], values[0]), strict=True):
        wrong, source = evolve(rules[at], target=canonical.set_mark(other)), rules[at].source
        assert source is not None
        answers = chain_names.overlay(handles[source.value])
        unmarked = (*rules[:at], *rules[at + 1 :])
        unanswered = with_rules(cell.ruleset, answers, cell.ruleset.chains("filter")[answers].rules[-1:])
        for whole, now in (
            *((cell.ruleset, some) for some in (rules, unmarked, rules, (*rules[:at], wrong, *rules[at + 1 :]))),
            *((unanswered, unmarked), (cell.ruleset, rules)),
        ):
            inputs = Inputs.of(cell.facts, with_rules(whole, cell.policy_chain, now), None)
            previous, afresh = reachability(inputs, previous), reachability(inputs)
            assert previous is not None
            assert afresh is not None
            assert (previous.reached, previous.flows, *previous.rows()) == (
                *(afresh.reached, afresh.flows),
                *afresh.rows(),
            )
    assert len(taken) >= len(marks)
