"""Sets of flows against single packets, on their whole way: `way` and `evaluate_stages` say the same."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.evaluate import evaluate_stages
from c2c_auditor.netfilter.flows import both
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.stages import Stage, stages
from c2c_auditor.netfilter.way import Way
from property.test_paths import HOSTS, INTERFACES, alike, packets, said, tables

_CONNMARK = r.Rule(target=r.OpaqueTarget(name="CONNMARK", arguments=("--restore-mark",)))
_DNAT = r.Rule(
    protocol=r.ProtocolMatch(number=r.UDP), target=r.Dnat(addresses=(0x0A000009, 0x0A000009), ports=(53, 53))
)


@st.composite
def ways(draw: st.DrawFn) -> tuple[Stage, ...]:
    """What packets meet on three hooks; rules of a connection's mark and of another destination now and then."""
    mangle = draw(tables())
    first = tuple(draw(st.lists(st.sampled_from((_CONNMARK, *mangle["FORWARD"].rules)), max_size=4)))
    hooks = {
        "PREROUTING": r.Chain(name="PREROUTING", policy="ACCEPT", rules=first),
        "POSTROUTING": evolve(draw(tables())["FORWARD"], name="POSTROUTING", policy=draw(_POLICIES)),
    }
    nat = {"PREROUTING": r.Chain(name="PREROUTING", policy="ACCEPT", rules=(_DNAT,) * draw(st.integers(0, 1)))}
    found = {"mangle": {**mangle, **hooks}, "filter": draw(tables()), "nat": nat}
    beside = {"filter": draw(tables())} if draw(st.booleans()) else {}
    return stages(tuple(r.Ruleset(tables=_tables(one)) for one in (found, beside) if one))


_POLICIES = st.sampled_from(("ACCEPT", "DROP"))


def _tables(chains: dict[str, dict[str, r.Chain]]) -> dict[str, r.Table]:
    return {name: r.Table(name=name, chains=held) for name, held in chains.items()}


@settings(max_examples=250, deadline=None)
@given(way=ways(), packet=packets())
def test_every_flow_of_a_set_is_judged_as_its_packets_are_on_all_hooks(way: tuple[Stage, ...], packet: Packet) -> None:
    """With and without the stages that do nothing between known ends."""
    whole, narrowed = Way(way), Way(way)
    narrowed.narrow(KnownEnds(HOSTS, (*INTERFACES, "s-010255002004"), r.AddressFamily.IPV4))
    chains = {f"{number} {name}": chain for number, stage in enumerate(way) for name, chain in stage.chains.items()}
    found, again = whole.disposition(packet), narrowed.disposition(packet)
    for piece in alike(chains, packet):
        outcome = evaluate_stages(way, piece.packet(packet))
        assert outcome.passes is said(found, piece.flows) is said(again, piece.flows)
        assert outcome.marks == {mark for mark, flows in found.marks.items() if both(flows, piece.flows)}


@settings(max_examples=100, deadline=None)
@given(way=ways(), packet=packets())
def test_who_is_to_blame_stands_on_the_way(way: tuple[Stage, ...], packet: Packet) -> None:
    """What does not pass was refused by a rule of a stage, by its policy, or by FORWARD's own policy."""
    found = Way(way).disposition(packet)
    known = {rule for stage in way for chain in stage.chains.values() for rule in chain.rules}
    known |= {r.Rule(target=r.Policy(chain=stage.start, table=stage.table)) for stage in way}
    for piece in alike({"all": r.Chain(name="all", rules=tuple(known))}, packet):
        blamed = [rule for rules in found.deciding(piece.flows) for rule in rules]
        assert blamed
        assert {rule for rule in blamed if rule is not None} <= known


def test_a_chain_of_another_hook_is_no_part_of_the_way() -> None:
    """Output is the cell's own."""
    chains = {name: r.Chain(name=name, policy="DROP") for name in ("OUTPUT", "INPUT", "FORWARD")}
    ruleset = r.Ruleset(tables=_tables({"filter": chains}))
    assert [stage.hook for stage in stages((ruleset,))] == [Hook.FORWARD]
