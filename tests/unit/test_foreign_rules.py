"""Rules of others in FORWARD and INPUT: their target, addresses and place decide what they can do."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

import pytest
from attrs import evolve

from c2c_auditor.audit.checks.foreign_rules import Reach, foreign_rules, touches
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter import canonical
from support.mutations import with_rules
from support.recordings import recording

CELL = recording("pair")
OVERLAY = IPv4Network("10.255.0.0/16")
FORWARD = CELL.ruleset.chains("filter")["FORWARD"].rules
INPUT = CELL.ruleset.chains("filter")["INPUT"].rules


def _found(chain: str, rules: Sequence[r.Rule], *others: r.Chain) -> list[Finding]:
    """What is said of the cell with these rules in one built-in chain, and with ``others`` beside silk's chains."""
    ruleset = with_rules(CELL.ruleset, chain, tuple(rules))
    chains = {**ruleset.chains("filter"), **{other.name: other for other in others}}
    ruleset = evolve(ruleset, tables={**ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    return list(foreign_rules(Inputs.of(CELL.facts, ruleset, None)))


def _kinds(findings: Sequence[Finding]) -> list[tuple[Kind, Effect]]:
    return [(finding.kind, finding.effect) for finding in findings]


def test_a_cell_as_silk_writes_it_has_none() -> None:
    """Jumps into silk's chains are silk's, whatever stands in them."""
    assert _found("FORWARD", FORWARD) == []


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (r.ACCEPT, Kind.FOREIGN_ACCEPT),
        (r.RETURN, Kind.FOREIGN_ACCEPT),
        (r.SetMark(value=1), Kind.FOREIGN_ACCEPT),
        (r.DROP, Kind.FOREIGN_DROP),
        (r.REJECT, Kind.FOREIGN_DROP),
        (r.Log(prefix="x "), Kind.FOREIGN_RULE),
        (r.NO_TARGET, Kind.FOREIGN_RULE),
        (r.OpaqueTarget(name="TCPMSS"), Kind.FOREIGN_RULE),
        (r.OpaqueTarget(name="CONNMARK", arguments=("--save-mark",)), Kind.FOREIGN_RULE),
        (r.OpaqueTarget(name="CONNMARK", arguments=("--restore-mark",)), Kind.FOREIGN_ACCEPT),
    ],
)
def test_before_silks_last_jump_a_rule_can_do_what_its_target_does(target: r.Target, kind: Kind) -> None:
    """The containers' own chains end in REJECT, so what comes before them decides."""
    (found,) = _found("FORWARD", (r.Rule(target=target), *FORWARD))
    assert (found.kind, found.effect) == (kind, kind.effect)
    assert found.place is not None
    assert (found.place.chain, found.place.position) == ("FORWARD", 1)


@pytest.mark.parametrize("target", [r.ACCEPT, r.DROP])
def test_behind_silks_last_jump_it_decides_nothing(target: r.Target) -> None:
    """In FORWARD it is worth a look, in INPUT it is not even that."""
    assert _kinds(_found("FORWARD", (*FORWARD, r.Rule(target=target)))) == [(Kind.FOREIGN_RULE, Effect.ADVICE)]
    assert _found("INPUT", (*INPUT, r.Rule(target=target))) == []


def test_in_input_only_a_container_as_the_source_counts() -> None:
    """What comes from elsewhere to the cell itself is not the overlay's matter."""
    other = r.AddressMatch(value=0x0A000001)
    assert _found("INPUT", (r.Rule(source=other, target=r.ACCEPT), *INPUT)) == []
    assert _kinds(_found("INPUT", (r.Rule(destination=other, target=r.ACCEPT), *INPUT))) == [
        (Kind.FOREIGN_ACCEPT, Effect.BREACH)
    ]


def test_a_policy_of_drop_is_named_by_its_chain() -> None:
    """Silk leaves packets to the policy, and expects ACCEPT."""
    chains = dict(CELL.ruleset.chains("filter"))
    chains["FORWARD"] = evolve(chains["FORWARD"], policy="DROP")
    ruleset = evolve(CELL.ruleset, tables={**CELL.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    (found,) = foreign_rules(Inputs.of(CELL.facts, ruleset, None))
    assert (found.kind, found.subject) == (Kind.FOREIGN_RULE, ("FORWARD", "policy"))


def test_a_jump_into_a_strangers_chain_can_do_what_stands_there() -> None:
    """Through any number of chains; a chain that jumps to itself may do anything."""
    accepts = r.Chain(name="accepts", rules=(r.Rule(target=r.ACCEPT),))
    outer = r.Chain(name="outer", rules=(r.Rule(target=r.Jump(chain="accepts")), r.Rule(target=r.RETURN)))
    logs = r.Chain(name="logs", rules=(r.Rule(target=r.Log(prefix="x ")),))
    loop = r.Chain(name="loop", rules=(r.Rule(target=r.Jump(chain="loop")),))
    chains = {chain.name: chain for chain in (accepts, outer, logs, loop)}
    reach = Reach(chains)
    able = {name: reach.of(r.Rule(target=r.Jump(chain=name))) for name in (*chains, "gone")}
    assert able == {
        "accepts": (True, False),
        "outer": (True, False),
        "logs": (False, False),
        "loop": (True, True),
        "gone": (False, False),
    }
    jump = r.Rule(target=r.Jump(chain="outer"))
    assert _kinds(_found("FORWARD", (jump, *FORWARD), accepts, outer)) == [(Kind.FOREIGN_ACCEPT, Effect.BREACH)]


def test_a_target_that_is_not_understood_may_do_anything() -> None:
    """It is counted as the worse of the two."""
    assert Reach({}).of(r.Rule(target=r.OpaqueTarget(name="NFQUEUE"))) == (True, True)


@pytest.mark.parametrize(
    ("source", "destination", "met"),
    [
        (None, None, True),
        ("10.255.3.0/24", None, True),
        ("10.0.0.0/8", "10.0.0.0/8", True),
        ("192.168.0.0/16", "10.255.3.4/32", True),
        ("192.168.0.0/16", "192.168.0.0/16", False),
        ("172.17.0.0/16", "10.254.0.0/16", False),
    ],
)
def test_a_rule_is_met_by_the_overlay_if_one_of_its_addresses_can_be_there(
    source: str | None, destination: str | None, *, met: bool
) -> None:
    """A packet of the overlay has one end there, not necessarily both."""
    rule = r.Rule(
        source=canonical.network(IPv4Network(source)) if source else None,
        destination=canonical.network(IPv4Network(destination)) if destination else None,
        target=r.ACCEPT,
    )
    assert touches(rule, (OVERLAY,), source_only=False) is met


@pytest.mark.parametrize(("network", "met"), [("10.255.0.0/16", False), ("10.0.0.0/8", False), ("10.255.3.0/24", True)])
def test_all_but_a_network_is_met_unless_that_holds_the_whole_overlay(network: str, *, met: bool) -> None:
    """``! -s 10.0.0.0/8`` names no container; ``! -s 10.255.3.0/24`` names most."""
    match = canonical.network(IPv4Network(network))
    assert match is not None
    rule = r.Rule(source=evolve(match, negated=True), target=r.ACCEPT)
    assert touches(rule, (OVERLAY,), source_only=True) is met
