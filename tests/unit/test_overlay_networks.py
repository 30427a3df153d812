"""Several overlay networks: each counts as the overlay everywhere."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.lookup import Where, find
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.chain_names import asg
from c2c_auditor.silk.policy import open_rules
from support.mutations import with_rules
from support.recordings import recording

CELL = recording("pair-policy-disabled")
NETWORKS = (IPv4Network("10.255.0.0/16"), IPv4Network("10.253.0.0/16"), IPv4Network("10.251.0.0/16"))
TWO = NETWORKS[:2]
PAIRS = open_rules(TWO)


def _facts(networks: tuple[IPv4Network, ...], *, disabled: bool = True) -> CellFacts:
    assert CELL.facts.config is not None
    config = evolve(CELL.facts.config, overlay_networks=networks, policy_disabled=disabled)
    return evolve(CELL.facts, config=config)


def _opened(pairs: tuple[r.Rule, ...]) -> r.Ruleset:
    """The recorded cell, whose one open rule of each chain is replaced by ``pairs``."""
    store = CELL.facts.store
    assert store is not None
    ruleset = CELL.ruleset
    for chain in (CELL.policy_chain, *(asg(container.handle) for container in store.containers)):
        rules = ruleset.chains("filter")[chain].rules
        assert rules[0] == open_rules(TWO[:1])[0]
        ruleset = with_rules(ruleset, chain, (*pairs, *rules[1:]))
    return ruleset


@pytest.mark.parametrize("networks", [NETWORKS[:1], TWO, NETWORKS])
@pytest.mark.parametrize("order", [1, -1])
def test_with_policy_disabled_everything_passes_from_each_network_to_each(
    networks: tuple[IPv4Network, ...], order: int
) -> None:
    """In whatever order silk writes the pairs."""
    pairs = open_rules(networks)
    assert len(set(pairs)) == len(networks) ** 2
    found = judge(_facts(networks), _opened(pairs[::order]), None).findings
    assert [one.kind for one in found] == [Kind.ENFORCEMENT_DISABLED]


def test_a_pair_that_is_missing_is_found() -> None:
    """In the policy chain and in each security group chain, where packets to the overlay never come."""
    found = judge(_facts(TWO), _opened(PAIRS[:-1]), None).findings
    assert {one.effect for one in found if one.kind is Kind.ASG_MISSING} == {Effect.RESIDUE}
    assert {one.kind for one in found} == {Kind.ENFORCEMENT_DISABLED, Kind.ACCEPT_MISSING, Kind.ASG_MISSING}
    assert {one.expected for one in found if one.expected is not None} == {PAIRS[-1]}


def test_open_rules_that_no_configuration_asks_for_are_each_named() -> None:
    """With one network the whole overlay is open, with several the way from one to another."""
    store = CELL.facts.store
    assert store is not None
    found = judge(_facts(TWO, disabled=False), _opened(PAIRS), None).findings
    named = [one for one in found if one.kind is Kind.ENFORCEMENT_DISABLED]
    assert {one.found for one in named} == set(PAIRS)
    assert {one.effect for one in named} == {Effect.BREACH}
    assert any("from 10.255.0.0/16 to 10.253.0.0/16" in one.summary for one in named)
    (whole,) = [
        one
        for one in judge(_facts(TWO[:1], disabled=False), CELL.ruleset, None).findings
        if one.kind is Kind.ENFORCEMENT_DISABLED
    ]
    assert "every container reaches every other" in whole.summary


def test_a_foreign_rule_for_any_of_the_networks_is_seen() -> None:
    """A DROP within the second network before silk's rules."""
    cell = recording("pair")
    assert cell.facts.config is not None
    second = r.AddressMatch(value=0x0AFD0000, mask=0xFFFF0000)
    drop = r.Rule(source=second, destination=second, target=r.DROP)
    ruleset = with_rules(cell.ruleset, "FORWARD", (drop, *cell.ruleset.chains("filter")["FORWARD"].rules))
    assert judge(cell.facts, ruleset, None).findings == ()
    both = evolve(cell.facts, config=evolve(cell.facts.config, overlay_networks=TWO))
    assert [one.kind for one in judge(both, ruleset, None).findings] == [Kind.FOREIGN_DROP]


def test_an_address_of_any_of_the_networks_can_be_asked_for() -> None:
    """And one of none of them is outside."""
    cells = (Cell.of(Inputs.of(_facts(TWO), CELL.ruleset, None)),)
    assert find("10.253.4.4", cells).where is Where.OVERLAY
    assert find("10.252.4.4", cells).where is Where.OUTSIDE
