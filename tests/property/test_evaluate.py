"""Doubt is sound: what the evaluator says without all that could be known holds whatever the rest turns out to be."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.evaluate import Outcome, evaluate
from c2c_auditor.netfilter.packet import Certainty, Packet
from support.packets import aims, packets
from support.rulesets import STATES, Chains, World, tables

FIELDS = (
    "in_interface",
    "out_interface",
    "source_port",
    "destination_port",
    "icmp",
    "tcp_flags",
    "tcp_options",
    "mark",
    "state",
    "source_type",
    "destination_type",
)


@st.composite
def cases(draw: st.DrawFn, world: World) -> tuple[Chains, Packet]:
    """A table and a packet of which everything is known."""
    chains = draw(tables(world))
    return chains, draw(packets(world, aims(chains)))


def judged(chains: Chains, packet: Packet, like: Packet | None = None) -> Outcome:
    """What becomes of ``packet`` in the hook that ``like`` (else itself) goes through."""
    return evaluate(chains, "FORWARD" if (like or packet).out_interface else "INPUT", packet)


def assert_allows(doubtful: Outcome, known: Outcome) -> None:
    """``known`` is one of those that ``doubtful`` leaves open."""
    assert doubtful.passes in (known.passes, Certainty.MAY)
    assert None in doubtful.marks or known.marks <= doubtful.marks


@settings(deadline=None, max_examples=300)
@given(case=cases(World()), forgotten=st.sets(st.sampled_from(FIELDS), min_size=1))
def test_an_answer_holds_for_every_packet_that_it_may_be(case: tuple[Chains, Packet], forgotten: set[str]) -> None:
    """Fields forgotten, the answer is the same or may.

    Each rule that took the packet may have taken it, in the same order.
    """
    chains, packet = case
    known = judged(chains, packet)
    unknown: dict[str, Any] = dict.fromkeys(forgotten)
    partly = judged(chains, evolve(packet, **unknown), packet)
    assert_allows(partly, known)
    tried = [(step.chain, step.position) for step in partly.trace if step.matched is not Certainty.NO]
    rest = iter(tried)
    assert all(
        (step.chain, step.position) in rest
        for step in known.trace
        if step.matched is Certainty.YES and step.rule is not None
    )


@settings(deadline=None, max_examples=200)
@given(case=cases(World(doubt=False)))
def test_what_is_known_is_judged_without_doubt(case: tuple[Chains, Packet]) -> None:
    """One step decides, the last one; what passes has one mark."""
    outcome = judged(*case)
    assert outcome.passes is not Certainty.MAY
    assert (*outcome.accepted, *outcome.refused) == outcome.trace[-1:]
    assert len(outcome.marks) == (outcome.passes is Certainty.YES)
    assert Certainty.MAY not in {step.matched for step in outcome.trace}


def doubtful(match: r.Match) -> bool:
    """Whether it cannot be known if ``match`` holds."""
    if isinstance(match, r.StateMatch):
        return not set(STATES).issuperset(match.states)
    return isinstance(match, r.LimitMatch | r.HashLimitMatch | r.OpaqueMatch) or (
        isinstance(match, r.AddressTypeMatch) and bool(match.limit)
    )


def resolved(chain: r.Chain, holds: int) -> r.Chain:
    """``chain`` with each doubtful match either always or never met, by the bits of ``holds``."""
    rules = []
    for position, rule in enumerate(chain.rules):
        sure = tuple(match for match in rule.matches if not doubtful(match))
        if len(sure) == len(rule.matches) or holds >> position & 1:
            rules.append(evolve(rule, matches=sure))
    return evolve(chain, rules=tuple(rules))


@settings(deadline=None, max_examples=300)
@given(case=cases(World()), holds=st.integers(0, (1 << 32) - 1))
def test_an_answer_holds_whatever_an_opaque_match_is(case: tuple[Chains, Packet], holds: int) -> None:
    """Each met or not: both are among what was said to be possible."""
    chains, packet = case
    assert_allows(
        judged(chains, packet), judged({name: resolved(chain, holds) for name, chain in chains.items()}, packet)
    )
