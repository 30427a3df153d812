"""What differences do to traffic, worked out from the rules as they stand."""

from __future__ import annotations

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.flows import shown
from c2c_auditor.netfilter.parse import RuleParser
from support.mutations import with_rules
from support.recordings import CELL_NAMES, Recording, recording
from support.strangers import STRANGERS

PAIR = "pair"
DEST = r.AddressMatch(value=0x0AFF0207)
OVERLAY = "overlay--35bf992d-c9e9-4616-"


def _rules(cell: Recording, chain: str) -> list[r.Rule]:
    return list(cell.ruleset.chains("filter")[chain].rules)


def _judged(cell: Recording, **chains: list[r.Rule]) -> Judgement:
    """The cell with some of its chains replaced.

    Underscores of the names stand for dashes, ``vpa`` for the policy chain.
    """
    ruleset = cell.ruleset
    for name, rules in chains.items():
        chain = {"vpa": cell.policy_chain, "overlay": OVERLAY}.get(name, name)
        ruleset = with_rules(ruleset, chain, tuple(rules))
    return judge(cell.facts, ruleset, None)


def _only(judgement: Judgement, kind: Kind) -> Finding:
    """The one finding of ``kind``; nothing beside it says the same thing again."""
    (found,) = (finding for finding in judgement.findings if finding.kind is kind)
    assert not [finding.kind for finding in judgement.findings if finding.kind in (Kind.FLOW_BLOCKED, Kind.FLOW_OPEN)]
    return found


def test_a_drop_above_an_accept_is_an_outage_and_says_whose() -> None:
    """Every rule of silk's is present."""
    cell = recording(PAIR)
    drop = r.Rule(destination=DEST, protocol=r.ProtocolMatch(number=r.TCP), target=r.DROP)
    judgement = _judged(cell, FORWARD=[drop, *_rules(cell, "FORWARD")])
    found = _only(judgement, Kind.FOREIGN_DROP)
    assert found.effect is Effect.OUTAGE
    said = (
        'cannot reach "dest-app" (acme/dev) at 10.255.2.7 on tcp 8080, tcp 61001, although a policy allows it: '
        "rule 1 of FORWARD stops it."
    )
    assert any(
        detail.startswith('"source-app" (acme/dev) at 10.255.1.4') and detail.endswith(said) for detail in found.details
    )
    assert judgement.tally.flows is not None
    assert judgement.tally.flows[Passage.ALLOW, Passage.DENY] == 4


def test_an_accept_with_another_apps_mark_is_a_breach_and_an_outage() -> None:
    """It lets that app in and stops the one that a policy allows; the worse of the two is the finding's effect."""
    cell = recording(PAIR)
    mark, accept, other = _rules(cell, cell.policy_chain)
    slip = evolve(accept, matches=(accept.matches[0], r.MarkMatch(value=0x4), *accept.matches[2:]))
    found = _only(_judged(cell, vpa=[mark, slip, other]), Kind.ACCEPT_CHANGED)
    assert (found.effect, found.effects) == (Effect.BREACH, frozenset({Effect.BREACH, Effect.OUTAGE}))
    assert any("mark 0x4 can reach" in detail for detail in found.details)
    assert any("cannot reach" in detail for detail in found.details)


def test_a_mark_below_its_accepts_is_an_outage() -> None:
    """The source is marked too late; other cells' containers are not concerned."""
    cell = recording(PAIR)
    mark, *accepts = _rules(cell, cell.policy_chain)
    judgement = _judged(cell, vpa=[*accepts, mark])
    assert _only(judgement, Kind.RULE_MISPLACED).effect is Effect.OUTAGE
    assert all("10.255.1.4" in text for text in judgement.statements)


def test_a_policy_chain_that_comes_too_late_is_an_outage() -> None:
    """Behind the default deny nothing of it is met."""
    cell = recording(PAIR)
    jump, *rest = _rules(cell, "FORWARD")
    assert _only(_judged(cell, FORWARD=[*rest, jump]), Kind.JUMP_MISPLACED).effect is Effect.OUTAGE


def test_a_reject_before_what_it_should_come_after_is_an_outage() -> None:
    """In a container's own chain: its mapped ports, and answers to what it asks elsewhere."""
    cell = recording(PAIR)
    rules = _rules(cell, OVERLAY)
    found = _judged(cell, overlay=[rules[-1], *rules[:-1]]).findings
    assert {finding.effect for finding in found} == {Effect.OUTAGE}


def test_a_stale_accept_is_a_breach_until_no_packet_can_use_it() -> None:
    """Some sender may carry its mark; behind a rule that stops everything before it, no packet gets there.

    No packet brings a mark beyond VXLAN's 16 bits.
    """
    cell = recording(PAIR)
    rules = _rules(cell, cell.policy_chain)
    stale = evolve(
        rules[1],
        matches=(r.TransportMatch(protocol=r.TCP, destination=r.PortRange(first=99, last=99)), *rules[1].matches[1:]),
    )
    assert _only(_judged(cell, vpa=[*rules, stale]), Kind.ACCEPT_STALE).effect is Effect.BREACH
    port = r.TransportMatch(protocol=r.TCP, destination=r.PortRange(first=99, last=99))
    stop = r.Rule(destination=DEST, protocol=r.ProtocolMatch(number=r.TCP), matches=(port,), target=r.DROP)
    shadowed = [
        finding for finding in _judged(cell, vpa=[stop, *rules, stale]).findings if finding.kind is Kind.ACCEPT_STALE
    ]
    assert [finding.effect for finding in shadowed] == [Effect.RESIDUE]
    far = evolve(stale, matches=(stale.matches[0], r.MarkMatch(value=0x70000), stale.matches[2]))
    assert _only(_judged(cell, vpa=[*rules, far]), Kind.ACCEPT_STALE).effect is Effect.RESIDUE


def test_a_log_rule_that_decides_is_judged_by_what_it_does_to_traffic() -> None:
    """Turned into a DROP it stops its policy's flows, and the finding says whose.

    Turned into an ACCEPT it opens nothing.
    """
    cell = recording("pair-c2c-logging")
    rules = _rules(cell, cell.policy_chain)
    at = next(index for index, rule in enumerate(rules) if isinstance(rule.target, r.Log))
    effects = {}
    for target in (r.DROP, r.ACCEPT):
        found = _judged(cell, vpa=[*rules[:at], evolve(rules[at], target=target), *rules[at + 1 :]]).findings
        (finding,) = (finding for finding in found if finding.kind is Kind.LOG_RULE_MISSING)
        effects[target] = finding.effect, bool(finding.details)
    assert effects == {r.DROP: (Effect.OUTAGE, True), r.ACCEPT: (Effect.RESIDUE, False)}


def test_a_missing_accept_that_another_rule_covers_is_residue() -> None:
    """Nothing is refused because of it."""
    cell = recording("pair-policy-disabled")
    rules = _rules(cell, cell.policy_chain)
    lost = [rule for rule in rules if rule.destination != DEST]
    effects = {finding.effect for finding in _judged(cell, vpa=lost).findings if finding.kind is Kind.ACCEPT_MISSING}
    assert effects == {Effect.RESIDUE}


def test_a_lost_egress_accept_is_an_outage_where_nothing_else_lets_packets_leave() -> None:
    """With FORWARD's policy ACCEPT they leave all the same; with DROP a marked source reaches no other cell."""
    cell = recording("bare-containers")
    source = next(name for name in cell.ruleset.chains("filter") if name.startswith("overlay--9531985d"))
    rules = _rules(cell, source)
    assert rules[0].out_interface is not None
    lost = with_rules(cell.ruleset, source, tuple(rules[1:]))
    policies = cell.facts.policies
    assert policies is not None
    away = evolve(policies, policies=(*policies.policies, evolve(policies.policies[0], destination="an-app-elsewhere")))
    facts = evolve(cell.facts, policies=away)

    def effect(ruleset: r.Ruleset) -> Effect:
        (found,) = (
            finding for finding in judge(facts, ruleset, None).findings if finding.kind is Kind.CONTAINER_RULE_MISSING
        )
        return found.effect

    assert effect(lost) is Effect.RESIDUE
    chains = dict(lost.chains("filter"))
    chains["FORWARD"] = evolve(chains["FORWARD"], policy="DROP")
    assert (
        effect(evolve(lost, tables={**lost.tables, "filter": r.Table(name="filter", chains=chains)})) is Effect.OUTAGE
    )


def test_a_lost_default_deny_is_a_breach_that_names_everybody() -> None:
    """Without its last rule a container is open."""
    cell = recording(PAIR)
    judgement = _judged(cell, overlay=_rules(cell, OVERLAY)[:-1])
    assert _only(judgement, Kind.DEFAULT_DENY_MISSING).effect is Effect.BREACH
    assert any(
        text.startswith('any app without policies on other cells can reach "dest-app"') for text in judgement.statements
    )


def test_what_no_finding_explains_is_a_finding_itself() -> None:
    """A policy of DROP is no rule: answers to other cells, which carry no mark, do not leave."""
    cell = recording(PAIR)
    chains = dict(cell.ruleset.chains("filter"))
    chains["FORWARD"] = evolve(chains["FORWARD"], policy="DROP")
    ruleset = evolve(cell.ruleset, tables={**cell.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    found = {finding.kind: finding for finding in judge(cell.facts, ruleset, None).findings}
    assert found[Kind.FLOW_BLOCKED].effect is Effect.OUTAGE
    assert "the policy DROP of FORWARD" in found[Kind.FLOW_BLOCKED].summary


def test_where_facts_are_missing_nothing_is_said_of_traffic() -> None:
    """And the report says why, or the kinds that need it are unknown."""
    cell = recording(PAIR)
    judgement = judge(evolve(cell.facts, policies=None), cell.ruleset, None)
    assert judgement.tally.flows is None
    assert {Kind.FLOW_OPEN, Kind.FLOW_BLOCKED} <= judgement.unknown


def test_every_recorded_cells_matrix_is_what_its_policies_say() -> None:
    """Worked out from policies and containers alone.

    Where enforcement is off everything is open, and that is a breach.
    """
    for name in CELL_NAMES:
        cell = recording(name)
        judgement = judge(cell.facts, cell.ruleset, None)
        assert cell.facts.policies is not None
        assert judgement.reach is not None
        if name == "pair-policy-disabled":
            assert {finding.effect for finding in judgement.findings} == {Effect.BREACH}
            assert all(shown(row.passes) == "everything" for _, rows in judgement.reach.rows() for row in rows)
            continue
        assert judgement.statements == ()
        for to, rows in judgement.reach.rows():
            for row in rows:
                allowed: dict[str, set[int]] = {"tcp": set(), "udp": set()}
                for policy in cell.facts.policies.policies:
                    if (policy.source, policy.destination) == (row.source.app, to.app):
                        allowed[policy.protocol].update(range(policy.ports.first, policy.ports.last + 1))
                if not row.source.app and to.container is not None:
                    allowed["tcp"].update(to.container.ports)  # the ingress router
                points = {point for first, last in row.passes for point in range(first, last + 1)}
                assert points == allowed["tcp"] | {65536 + port for port in allowed["udp"]}, (name, row.source)


@pytest.mark.parametrize("typed", STRANGERS)
def test_a_strangers_rule_is_judged_by_the_flows_that_it_changes(typed: str) -> None:
    """Between containers as reachability shows; towards the outside, where it does not, by what the target can do."""
    cell = recording(PAIR)
    rule = RuleParser().rule(typed)
    judgement = _judged(cell, FORWARD=[rule, *_rules(cell, "FORWARD")])
    assert [finding.effect for finding in judgement.findings] == [STRANGERS[typed]]


def test_a_strangers_chain_is_judged_by_the_rules_that_it_leads_to() -> None:
    """A jump decides nothing itself; the rule behind it does, and its finding is the jump's."""
    cell = recording(PAIR)
    for typed, effect in (("-i docker0 -j ACCEPT", Effect.ADVICE), ("-d 10.255.2.7 -j DROP", Effect.OUTAGE)):
        chains = dict(cell.ruleset.chains("filter"))
        chains["DOCKER-USER"] = r.Chain(name="DOCKER-USER", rules=(RuleParser().rule(typed),))
        jump = r.Rule(target=r.Jump(chain="DOCKER-USER"))
        chains["FORWARD"] = evolve(chains["FORWARD"], rules=(jump, *chains["FORWARD"].rules))
        tables = {**cell.ruleset.tables, "filter": r.Table(name="filter", chains=chains)}
        judgement = judge(cell.facts, evolve(cell.ruleset, tables=tables), None)
        assert [finding.effect for finding in judgement.findings] == [effect]
