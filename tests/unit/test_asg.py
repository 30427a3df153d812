"""Security groups as silk converts them: what it skips, and what makes it leave a whole chain unchanged."""

from __future__ import annotations

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import SecurityGroup, SecurityRule
from c2c_auditor.model.kind import Effect, Family, Kind
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk import asg, chain_names
from c2c_auditor.silk.asg import Unconvertible
from support.mutations import with_rules
from support.recordings import CELL_NAMES, recording

CELL = recording("pair")
STORE = CELL.facts.store
assert STORE is not None
CONTAINER = STORE.containers[0]


def _allowed(*rules: SecurityRule) -> list[str]:
    """The rules between the head and the final REJECT of a container's chain, in silk's reversed order."""
    assert CELL.facts.config is not None
    plan = asg.asg_plan(CONTAINER, (SecurityGroup(guid="g", name="g", rules=rules),), CELL.facts.config)
    return [render_rule(rule) for rule in plan.head[2:-1]]


@pytest.mark.parametrize("name", CELL_NAMES)
def test_each_recorded_chain_is_planned_rule_by_rule(name: str) -> None:
    """Order included: logging, deny networks, rate limits, staging and running."""
    cell = recording(name)
    facts = cell.facts
    assert facts.store is not None
    assert facts.config is not None
    assert facts.security_groups is not None
    planned = [
        asg.asg_plan(one, asg.groups_of(one, facts.security_groups), facts.config)
        for one in facts.store.containers
        if asg.has_chain(one)
    ]
    written = {name: chain.rules for name, chain in cell.ruleset.chains("filter").items() if name.startswith("asg-")}
    assert {plan.name: plan.head for plan in planned} == written


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        (SecurityRule(protocol="tcp", destination="10.1.2.3", ports="443"), ["10.1.2.3-10.1.2.3"]),
        (
            SecurityRule(protocol="udp", destination="10.0.0.0/30", ports="53, 5353"),
            ["10.0.0.0-10.0.0.3", "10.0.0.0-10.0.0.3"],
        ),
        (SecurityRule(protocol="all", destination="1.1.1.1-1.1.1.9,2.2.2.2"), ["2.2.2.2-2.2.2.2", "1.1.1.1-1.1.1.9"]),
        (SecurityRule(protocol="all", destination="010.001.002.003"), ["10.1.2.3-10.1.2.3"]),
        (SecurityRule(protocol="all", destination="10.0.0.9-10.0.0.1"), ["10.0.0.9-10.0.0.1"]),
        (SecurityRule(protocol="icmp", destination="10.1.2.3", type=-1, code=-1), ["10.1.2.3-10.1.2.3"]),
        (SecurityRule(protocol="icmp", destination="10.1.2.3"), ["10.1.2.3-10.1.2.3"]),
        (SecurityRule(protocol="all", destination="10.1.2.3", ports="80"), []),
        (SecurityRule(protocol="icmp", destination="10.1.2.3", ports="80"), []),
        (SecurityRule(protocol="tcp", destination="10.1.2.3"), []),
        (SecurityRule(protocol="tcp", destination="10.1.2.3", ports="https"), []),
        (SecurityRule(protocol="gre", destination="10.1.2.3"), []),
    ],
)
def test_a_rule_becomes_what_silk_makes_of_it(rule: SecurityRule, written: list[str]) -> None:
    """None, one or several; ports on `all`, ICMP without a type and inverted ranges included."""
    assert [line.partition("--dst-range ")[2].split(" ")[0] for line in _allowed(rule)] == written


@pytest.mark.parametrize(
    "destination",
    [
        "",
        "10.0.0",
        "10.0.0.0/33",
        "10.0.0.0/x",
        "10.0.0.1-",
        "example.com",
        "fd00::/200",
        "fd00::1%eth0",
        "1.1.1.1, 2.2.2.2",
    ],
)
def test_a_malformed_destination_is_refused_with_the_groups_name(destination: str) -> None:
    """Silk drops the container's whole update for it."""
    with pytest.raises(Unconvertible, match="group g"):
        _allowed(SecurityRule(protocol="all", destination=destination))


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        (SecurityRule(protocol="all", destination="2000::/3"), []),
        (SecurityRule(protocol="all", destination="::/0"), []),
        (SecurityRule(protocol="tcp", destination="2001:db8::1", ports="443"), []),
        (SecurityRule(protocol="tcp", destination="2001:db8::1-2001:db8::9", ports="443"), []),
        (SecurityRule(protocol="icmpv6", destination="::/0", type=-1, code=-1), []),
        (SecurityRule(protocol="icmpv6", destination="::/0", ports="80"), []),
        (SecurityRule(protocol="icmpv6", destination="10.1.2.3"), []),
        (SecurityRule(protocol="icmp", destination="2000::/3", type=-1, code=-1), []),
        (SecurityRule(protocol="all", destination="::/0,0.0.0.0/0"), ["0.0.0.0-255.255.255.255"]),
        (
            SecurityRule(protocol="all", destination="10.1.2.3,2000::/3,10.1.2.9"),
            ["10.1.2.9-10.1.2.9", "10.1.2.3-10.1.2.3"],
        ),
    ],
)
def test_what_names_ipv6_belongs_to_ip6tables(rule: SecurityRule, written: list[str]) -> None:
    """The IPv4 destinations of the same rule and of its neighbours are written all the same."""
    assert [line.partition("--dst-range ")[2].split(" ")[0] for line in _allowed(rule)] == written
    neighbour = SecurityRule(protocol="all", destination="10.9.9.9")
    assert len(_allowed(rule, neighbour)) == len(written) + 1


def test_a_rule_of_both_families_is_said_to_be_uncertain() -> None:
    """By the group's name; a group that keeps them apart is not named."""
    assert CELL.facts.security_groups is not None
    apart = tuple(SecurityRule(protocol="all", destination=end) for end in ("2000::/3", "10.1.2.3"))
    mixed = (SecurityRule(protocol="all", destination="2000::/3,10.1.2.3"),)
    groups = [
        SecurityGroup(guid=name, name=name, rules=rules, running_default=True)
        for name, rules in (("apart", apart), ("mixed", mixed))
    ]
    facts = evolve(CELL.facts, security_groups=(*CELL.facts.security_groups, *groups))
    judgement = judge(facts, CELL.ruleset, None)
    (note,) = [note for note in judgement.notes if "IPv6" in note]
    assert "(mixed)" in note
    assert {(one.kind, one.effect) for one in judgement.findings} == {(Kind.ASG_MISSING, Effect.OUTAGE)}
    assert all("security_groups_last_updated" in one.remedy for one in judgement.findings)


def test_what_silk_cannot_convert_is_one_finding_for_all_its_containers() -> None:
    """And their chains, which silk left as they were, are not accused."""
    groups = (
        SecurityGroup(
            guid="g", name="typo", running_default=True, rules=(SecurityRule(protocol="all", destination="10.0.0"),)
        ),
    )
    judgement = judge(evolve(CELL.facts, security_groups=groups), CELL.ruleset, None)
    (found,) = judgement.findings
    assert (found.kind, found.effect, len(found.handles)) == (Kind.ASG_MISSING, Effect.OUTAGE, 2)
    assert "typo" in found.summary


def test_a_thousand_rules_and_a_thousand_destinations_are_planned() -> None:
    """Each once, however often it is said."""
    many = tuple(SecurityRule(protocol="all", destination=f"10.{n >> 8}.{n & 255}.1") for n in range(1000))
    wide = SecurityRule(protocol="all", destination=",".join(rule.destination for rule in many))
    assert len(_allowed(*many)) == len(_allowed(wide)) == len(_allowed(*many, wide)) == 1000


def test_a_chain_of_100000_rules_that_nobody_asked_for_is_told_and_not_choked_on() -> None:
    """One finding per rule would be one too many for a person, and the export cuts; none is lost."""
    chain = chain_names.asg(CONTAINER.handle)
    rules = CELL.ruleset.chains("filter")[chain].rules
    more = tuple(r.Rule(destination=r.AddressMatch(value=n + 1), target=r.ACCEPT) for n in range(100_000))
    found = judge(CELL.facts, with_rules(CELL.ruleset, chain, (*rules[:-1], *more, rules[-1])), None).findings
    assert len(found) == 100_000
    assert {one.kind for one in found} == {Kind.ASG_STALE}


def test_chains_whose_names_only_look_like_silks_are_told_apart() -> None:
    """`vpa--` without a time is not silk's; `overlay--` of nobody is an orphan."""
    chains = dict(CELL.ruleset.chains("filter"))
    for name in ("vpa--", "vpa--soon", "overlay--nobody", "netout--nobody", "asg"):
        chains[name] = r.Chain(name=name)
    ruleset = evolve(CELL.ruleset, tables={**CELL.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    (found,) = judge(CELL.facts, ruleset, None).findings
    assert (found.kind, found.details) == (
        Kind.CONTAINER_CHAIN_ORPHAN,
        ("filter netout--nobody", "filter overlay--nobody"),
    )


def test_without_security_groups_their_kinds_are_unknown() -> None:
    """Where silk syncs them; the rest is judged."""
    judgement = judge(evolve(CELL.facts, security_groups=None), CELL.ruleset, None)
    assert not judgement.findings
    assert judgement.unknown == frozenset(kind for kind in Kind if kind.family is Family.SECURITY_GROUP)


def test_without_syncing_the_report_says_what_was_not_judged() -> None:
    """Structure can be, content cannot."""
    config = CELL.facts.config
    assert config is not None
    judgement = judge(
        evolve(CELL.facts, config=evolve(config, asg_syncing=False), security_groups=None), CELL.ruleset, None
    )
    assert any("not synced" in note for note in judgement.notes)
    assert not {finding.kind for finding in judgement.findings} & {Kind.ASG_MISSING, Kind.ASG_STALE}
    assert not judgement.unknown
