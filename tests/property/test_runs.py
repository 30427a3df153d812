"""Rules in a row that are walked at once, and rules that no known packet can meet: neither changes any answer."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.evaluate import evaluate
from c2c_auditor.netfilter.flows import ALL, FlowSet, both
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.paths import Disposition, Paths
from property.test_paths import HOSTS, INTERFACES, alike, packets, rules, said, silks, tables

TARGETS: tuple[r.Target, ...] = (r.DROP, r.REJECT, r.ACCEPT, r.NO_TARGET)
PORTS = st.sampled_from((1, 79, 80, 81, 8080))
DOUBTS: st.SearchStrategy[r.Match] = st.sampled_from((r.OpaqueMatch(module="set"), r.LimitMatch(period=100)))
NETWORKS = st.sampled_from((0x0AFF0000, 0x0AFF0100, 0x0B000000))


@st.composite
def in_a_row(draw: st.DrawFn) -> list[r.Rule]:
    """Rules of a block list: the same ends, other ports; now and then in doubt, or of no consequence."""
    base = r.Rule(
        source=draw(st.none() | NETWORKS.map(lambda value: r.AddressMatch(value=value, mask=0xFFFFFF00))),
        in_interface=draw(st.none() | st.sampled_from(INTERFACES).map(lambda name: r.InterfaceMatch(name=name))),
    )

    def one() -> r.Rule:
        first = draw(PORTS)
        ports = r.PortRange(first=first, last=first + draw(st.sampled_from((0, 1, 9000))), negated=draw(st.booleans()))
        of_client = draw(st.integers(0, 5)) == 0
        matches: list[r.Match] = [
            r.TransportMatch(
                protocol=r.TCP, source=ports if of_client else None, destination=None if of_client else ports
            )
        ]
        matches += draw(st.lists(DOUBTS, max_size=1)) if draw(st.booleans()) else []
        return evolve(
            base,
            protocol=r.ProtocolMatch(number=r.TCP),
            matches=canonical.matches_in_order(matches),
            target=draw(st.sampled_from(TARGETS)),
        )

    return [one() for _ in range(draw(st.integers(2, 6)))]


@st.composite
def block_lists(draw: st.DrawFn) -> dict[str, r.Chain]:
    """FORWARD and a chain below it, of rows of rules with others between them."""
    parts = st.lists(in_a_row() | st.lists(rules(()) | silks(st.just(r.ACCEPT)), max_size=2), max_size=3)
    below = tuple(rule for part in draw(parts) for rule in part)
    jump = [r.Rule(target=r.Jump(chain="one"))]
    forward = tuple(rule for part in (*draw(parts), jump, *draw(parts)) for rule in part)
    policy = draw(st.sampled_from(("ACCEPT", "DROP")))
    return {"FORWARD": r.Chain(name="FORWARD", policy=policy, rules=forward), "one": r.Chain(name="one", rules=below)}


def _named(disposition: Disposition, flows: FlowSet) -> set[r.Rule | None]:
    """The rules that decide any of ``flows``."""
    return {rule for part in disposition.deciding(flows) for rule in part}


@settings(max_examples=300, deadline=None)
@given(table=block_lists(), packet=packets())
def test_rules_in_a_row_decide_what_each_of_them_does(table: dict[str, r.Chain], packet: Packet) -> None:
    """Verdicts, marks and the rules that decide are those of the packets one by one."""
    disposition = Paths(table, "FORWARD").disposition(packet)
    for piece in alike(table, packet):
        outcome = evaluate(table, "FORWARD", piece.packet(packet))
        assert outcome.passes is said(disposition, piece.flows), piece
        assert outcome.marks == {mark for mark, flows in disposition.marks.items() if both(flows, piece.flows)}
        steps = (*outcome.accepted, *(() if both(disposition.passes, piece.flows) else outcome.refused))
        assert _named(disposition, piece.flows) == {step.rule for step in steps}


@settings(max_examples=300, deadline=None)
@given(table=tables() | block_lists(), packet=packets())
def test_rules_that_no_known_packet_meets_change_nothing(table: dict[str, r.Chain], packet: Packet) -> None:
    """Whatever is forgotten for the ends that are known, their packets are decided as before."""
    whole, narrow = Paths(table, "FORWARD"), Paths(table, "FORWARD")
    interfaces = [name for name in (packet.in_interface, packet.out_interface) if name is not None]
    narrow.narrow(KnownEnds((packet.source, packet.destination), interfaces, packet.family))
    before, after = whole.disposition(packet), narrow.disposition(packet)
    assert (before.passes, before.may_pass) == (after.passes, after.may_pass)
    assert len(narrow.outline(packet.destination)) <= len(whole.outline(packet.destination))
    assert _named(before, ALL) == _named(after, ALL)


def test_a_rule_for_others_is_forgotten() -> None:
    """By address, by network, by interface, negated or not."""
    ends = KnownEnds(HOSTS, ("silk-vtep",), r.AddressFamily.IPV4)
    mine, others = r.AddressMatch(value=0x0AFF0100, mask=0xFFFFFF00), r.AddressMatch(value=0x0B000000, mask=0xFF000000)
    assert ends.can_meet(r.Rule(source=mine))
    assert not ends.can_meet(r.Rule(source=others))
    assert not ends.can_meet(r.Rule(destination=r.AddressMatch(value=0x0A000000, mask=0xFF000000, negated=True)))
    assert not ends.can_meet(r.Rule(in_interface=r.InterfaceMatch(name="br+")))
    assert ends.can_meet(r.Rule(in_interface=r.InterfaceMatch(name="br+", negated=True)))
    assert not ends.can_meet(r.Rule(out_interface=r.InterfaceMatch(name="silk-vtep", negated=True)))
    assert ends.can_meet(r.Rule(out_interface=r.InterfaceMatch(name="silk-+")))
