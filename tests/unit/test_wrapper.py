"""With the CNI wrapper's configuration a container's own chains are known, else most containers' rules tell."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.cni import CniConfig, DenyNetworks, HostService, OutboundConnections
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk import chain_names
from c2c_auditor.silk.netout import netout_plan
from c2c_auditor.silk.settings import as_cni
from support.mutations import with_rules
from support.recordings import CELLS, Recording, recording

KNOWN = recording("pair-lease-nft")
CNI = KNOWN.facts.cni or CniConfig()


def _text(cell: Recording) -> str:
    return (CELLS / cell.name / "iptables-save.txt").read_text()


def _of(cell: Recording, facts: CellFacts, text: str) -> list[Finding]:
    return list(judge(facts, parse_save(text, where=cell.name), None).findings)


def _with(cni: CniConfig | None, cell: Recording = KNOWN) -> CellFacts:
    return evolve(cell.facts, cni=cni)


def test_nothing_is_inferred_where_the_configuration_is_known() -> None:
    """No note says that most containers were believed."""
    judgement = judge(KNOWN.facts, KNOWN.ruleset, None)
    assert judgement.findings == ()
    assert [note for note in judgement.notes if "most containers" in note or "not known" in note] == []
    inferred = judge(_with(None), KNOWN.ruleset, None)
    assert inferred.findings == ()
    assert any("DNS servers and host services are not configured" in note for note in inferred.notes)


def test_a_service_that_every_container_lacks_is_found() -> None:
    """Without the configuration, what none of them has cannot be missed."""
    text = "".join(
        line for line in _text(KNOWN).splitlines(keepends=True) if not ("-A input--" in line and "--dport 9001" in line)
    )
    found = _of(KNOWN, KNOWN.facts, text)
    assert [(one.kind, one.effect) for one in found] == [(Kind.CONTAINER_RULE_MISSING, Effect.OUTAGE)] * 2
    assert _of(KNOWN, _with(None), text) == []


def test_a_service_that_every_container_has_and_silk_does_not_write_is_found() -> None:
    """An ACCEPT of the same shape, for the cell's own ssh."""
    more = "-A input--{0} -d 10.0.0.101/32 -p tcp -m tcp --dport 22 -j ACCEPT\n-A input--{0} -j REJECT"
    text = _text(KNOWN)
    store = KNOWN.facts.store
    assert store is not None
    for container in store.containers:
        name = chain_names.input_(container.handle).removeprefix("input--")
        text = text.replace(
            f"[0:0] -A input--{name} -j REJECT", f"[0:0] {more.format(name)}".replace("\n-A", "\n[0:0] -A")
        )
    found = _of(KNOWN, KNOWN.facts, text)
    assert [(one.kind, one.effect) for one in found] == [(Kind.CONTAINER_RULE_STALE, Effect.BREACH)] * 2


def test_the_agents_own_settings_override_the_wrappers() -> None:
    """Host services and underlay interfaces that an operator gave the agent."""
    service = HostService(address=IPv4Address("169.254.0.2"), protocol="tcp", port=9001)
    found = judge(evolve(KNOWN.facts, host_services=(service,)), KNOWN.ruleset, None).findings
    assert {one.kind for one in found} == {Kind.CONTAINER_RULE_STALE}  # DNS
    named = evolve(CNI, underlay_interfaces=("eth7",))
    assert judge(_with(named), KNOWN.ruleset, None).findings == ()
    alone = judge(evolve(_with(named), underlay_interfaces=None), KNOWN.ruleset, None)
    assert Kind.JUMP_MISSING in {one.kind for one in alone.findings}


def test_the_ingress_tag_is_the_configured_one() -> None:
    """In every overlay chain, and in what mangle marks."""
    other = evolve(CNI, ingress_tag=0xFFAA0000)
    kinds = {one.kind for one in judge(_with(other), KNOWN.ruleset, None).findings}
    assert {Kind.CONTAINER_RULE_MISSING, Kind.NAT_RULE_STALE} <= kinds
    assert _of(KNOWN, _with(other), _text(KNOWN).replace("0xffff0000", "0xffaa0000")) == []


def test_mapped_ports_are_those_of_the_instances_own_address() -> None:
    """Silk maps ports of `instance_address` alone, whatever other addresses the cell has."""
    other = evolve(CNI, instance_address=IPv4Address("10.0.0.102"), underlay_addresses=())
    found = judge(_with(other), KNOWN.ruleset, None).findings
    assert {(one.kind, "no address of this cell" in one.summary) for one in found} == {(Kind.NAT_RULE_STALE, True)}


def test_logging_of_the_wrapper_and_of_vpa_are_two_things() -> None:
    """VPA's switch can be turned at run time and is about the policy chain; the overlay chains are the wrapper's."""
    cell = recording("pair-c2c-logging")
    config = cell.facts.config
    assert config is not None
    assert config.c2c_logging
    logs_only_policies = evolve(as_cni(config), c2c_logging=False)
    services = recording("pair-lease-nft").facts.cni
    assert services is not None
    facts = _with(evolve(logs_only_policies, host_services=services.host_services), cell)
    found = judge(facts, cell.ruleset, None).findings
    assert {one.kind for one in found} == {Kind.CONTAINER_RULE_STALE}
    assert {one.effect for one in found} == {Effect.ADVICE}


GARDEN = r.Rule(destination=r.AddressMatch(value=1), target=r.ACCEPT)
LIMITED = OutboundConnections(limit=True, logging=True, dry_run=False)
FRAMED = evolve(
    CNI,
    deny_networks=DenyNetworks(
        always=(IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.0/24")), running=(IPv4Network("203.0.113.0/24"),)
    ),
    outbound_connections=LIMITED,
    asg_logging=True,
)


def _unsynced() -> tuple[CellFacts, Mapping[str, tuple[r.Rule, ...]]]:
    """KNOWN without syncing of security groups, and silk's egress chains with one rule of garden's."""
    store, config = KNOWN.facts.store, KNOWN.facts.config
    assert store is not None
    assert config is not None
    plans = [netout_plan(container, FRAMED, garden=True, frame=True) for container in store.containers]
    facts = evolve(_with(FRAMED), config=evolve(config, asg_syncing=False), security_groups=None)
    return facts, {plan.name: (*plan.head, GARDEN, *plan.tail) for plan in plans}


def _egress(facts: CellFacts, chains: Mapping[str, tuple[r.Rule, ...]]) -> list[Finding]:
    """What is found about these egress chains."""
    ruleset = KNOWN.ruleset
    for name, rules in chains.items():
        ruleset = with_rules(ruleset, name, rules)
    return [one for one in judge(facts, ruleset, None).findings if one.subject[2:3] and one.subject[2] in chains]


def test_without_syncing_all_but_gardens_rules_are_known() -> None:
    """Answers, invalid packets, limit and denied networks come before garden's rules, log and REJECT after."""
    facts, chains = _unsynced()
    name, rules = next(iter(chains.items()))
    assert _egress(facts, chains) == []
    assert _egress(facts, {**chains, name: tuple(rule for rule in rules if rule != GARDEN)}) == []
    assert _egress(facts, {**chains, name: (*rules[:6], GARDEN, *rules[6:])}) == []
    for index, rule in enumerate(rules):
        if rule != GARDEN:
            found = _egress(facts, {**chains, name: (*rules[:index], *rules[index + 1 :])})
            assert [one.expected for one in found] == [rule]


def test_a_rule_among_the_first_ones_of_an_egress_chain_is_named() -> None:
    """It lets pass what the rules below it deny; garden's own rules stand behind those."""
    facts, chains = _unsynced()
    name, rules = next(iter(chains.items()))
    more = r.Rule(target=r.ACCEPT)
    (found,) = _egress(facts, {**chains, name: (more, *rules)})
    assert (found.kind, found.effect, found.found) == (Kind.CONTAINER_RULE_STALE, Effect.BREACH, more)
    early = (GARDEN, *(rule for rule in rules if rule != GARDEN))
    assert [one.found for one in _egress(facts, {**chains, name: early})] == [GARDEN]
    accept, drop, *rest = rules
    assert [one.kind for one in _egress(facts, {**chains, name: (drop, accept, *rest)})] == [
        Kind.CONTAINER_RULE_MISSING
    ]


DRY = "-m limit --limit 1/sec --limit-burst 1 -j LOG --log-prefix"


def _rate_limit_chains(text: str, *, reject: bool) -> str:
    """The chains for connections beyond the limit, added to the two containers of KNOWN."""
    for handle in ("35bf992d-c9e9-4616-a12e-7696", "78e51061-7311-48a3-82ce-6f44"):
        name = chain_names.netout_rate_limit_log(handle)
        lines = [f'[0:0] -A {name} {DRY} "DENY_ORL_{handle[:19]} "']
        lines += [f"[0:0] -A {name} -j REJECT --reject-with icmp-port-unreachable"] if reject else []
        head, _, tail = text.partition("*filter\n")
        chains, commit, rest = tail.partition("COMMIT\n")
        text = f"{head}*filter\n:{name} - [0:0]\n{chains}" + "".join(f"{line}\n" for line in lines) + commit + rest
    return text


@pytest.mark.parametrize("logging", [False, True])
def test_a_dry_run_that_is_configured_logs_and_refuses_nothing(*, logging: bool) -> None:
    """Its chain is there even where logging is off; a REJECT in it stops what should pass."""
    cell = recording("pair")
    dry = evolve(CNI, outbound_connections=OutboundConnections(limit=False, logging=logging, dry_run=True))
    dry = evolve(dry, no_masquerade=IPv4Network("10.255.0.0/16"))
    cell_text = _text(cell)
    facts = evolve(cell.facts, cni=dry)
    assert _of(cell, facts, _rate_limit_chains(cell_text, reject=False)) == []
    stopped = _of(cell, facts, _rate_limit_chains(cell_text, reject=True))
    assert [(one.kind, one.effect) for one in stopped] == [(Kind.CONTAINER_RULE_STALE, Effect.OUTAGE)] * 2
    assert {one.kind for one in _of(cell, facts, cell_text)} == {Kind.CONTAINER_CHAIN_MISSING}


def test_a_limit_that_is_no_dry_run_must_refuse() -> None:
    """Known from the configuration, however many chains lost their REJECT."""
    limited = evolve(CNI, outbound_connections=LIMITED, no_masquerade=IPv4Network("10.255.0.0/16"))
    cell = recording("pair")
    found = _of(cell, evolve(cell.facts, cni=limited), _rate_limit_chains(_text(cell), reject=False))
    assert [(one.kind, one.effect) for one in found] == [(Kind.CONTAINER_RULE_MISSING, Effect.BREACH)] * 2


def test_a_dry_run_is_inferred_from_most_chains_and_said_to_be() -> None:
    """One chain of four without its REJECT is a damage, all of them are a dry run."""
    cell = recording("limits-and-denies")
    text = _text(cell)
    reject = "--rl-log -j REJECT"
    lines = [line for line in text.splitlines() if reject not in line]
    dry = parse_save("\n".join(lines) + "\n", where="dry")
    judgement = judge(cell.facts, dry, None)
    assert judgement.findings == ()
    assert any("dry run" in note for note in judgement.notes)
    first = next(line for line in text.splitlines() if reject in line)
    (found,) = _of(cell, cell.facts, text.replace(f"{first}\n", ""))
    assert (found.kind, found.effect) == (Kind.CONTAINER_RULE_MISSING, Effect.BREACH)
