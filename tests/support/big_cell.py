"""A generated cell: as many containers, policies and rules as asked, the same for the same numbers."""

from __future__ import annotations

import random
import uuid
from ipaddress import IPv4Address

from attrs import frozen

from c2c_auditor.model.cell import CellFacts, Container, Names, Policy, PolicySet, Store, VpaConfig
from c2c_auditor.model.rule import ACCEPT, IpRangeMatch, Jump, PortRange, Rule
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk import chain_names
from c2c_auditor.silk.input import input_plan
from c2c_auditor.silk.jumps import jump_plans
from c2c_auditor.silk.netout import netout_log_plan, netout_plan
from c2c_auditor.silk.overlay import overlay_plan
from c2c_auditor.silk.policy import plan_policy_chain
from c2c_auditor.silk.settings import as_cni
from c2c_auditor.silk.shapes import ChainPlan

CHAIN = "vpa--1795397987815968"


@frozen(kw_only=True)
class BigCell:
    """The facts, and the filter table that silk would have written for them."""

    facts: CellFacts
    save: str


def big_cell(*, containers: int = 250, rules: int = 20_000, asg_rules: int = 0, seed: int = 7) -> BigCell:
    """``rules`` accepts for ``containers`` of half as many apps.

    ``asg_rules`` in each container's security group chain.
    """
    random_ = random.Random(seed)
    apps = [str(uuid.UUID(int=random_.getrandbits(128))) for _ in range(containers // 2)]
    remote = [str(uuid.UUID(int=random_.getrandbits(128))) for _ in range(150)]
    tags = {app: tag for tag, app in enumerate((*apps, *remote), 1)}
    store = Store(
        containers=tuple(
            sorted((_container(n, apps[n % len(apps)], random_) for n in range(containers)), key=lambda one: one.handle)
        )
    )
    policies: dict[Policy, None] = {}
    while len(policies) < rules // 2:
        source, destination = random_.choice((*apps, *remote)), random_.choice(apps)
        first = random_.randrange(8000, 9000)
        ports = PortRange(first=first, last=first + random_.choice((5, 5, 20)))
        policies[
            Policy(
                source=source,
                source_tag=tags[source],
                destination=destination,
                destination_tag=tags[destination],
                protocol=random_.choice(("tcp", "tcp", "udp")),
                ports=ports,
            )
        ] = None
    facts = CellFacts(
        store=store, policies=PolicySet(policies=tuple(policies)), config=VpaConfig(), underlay_interfaces=("eth0",)
    )
    return BigCell(facts=facts, save=_save(facts, asg_rules))


def _container(number: int, app: str, random_: random.Random) -> Container:
    handle = str(uuid.UUID(int=random_.getrandbits(128)))[:28]
    address = IPv4Address("10.255.0.10") + number
    return Container(
        handle=handle,
        address=address,
        app=app,
        ports=tuple(range(8000, 9000, 5)),
        names=Names(app=f"app-{number}", space="dev", org="acme"),
    )


def _save(facts: CellFacts, asg_rules: int) -> str:
    """The filter table, whole: a cell that audits clean, but for security groups when there are none to expect."""
    assert facts.store is not None
    assert facts.policies is not None
    assert facts.config is not None
    planned = plan_policy_chain(facts.store, facts.policies, facts.config, None)
    chains = {"FORWARD": [Rule(target=Jump(chain=CHAIN))], "INPUT": [], CHAIN: [plan.rule for plan in planned]}
    for container in facts.store.containers:
        for plan in _plans(container, facts.config):
            chains[plan.name] = [*plan.head, *plan.tail]
        for jump in jump_plans(container, facts.underlay_interfaces):
            if jump.table == "filter":
                chains[jump.chain].append(jump.rule)
        if asg_rules:
            chains[chain_names.asg(container.handle)] = [_asg_rule(n) for n in range(asg_rules)]
    head = [f":{name} {'ACCEPT' if name in ('FORWARD', 'INPUT') else '-'} [0:0]" for name in chains]
    lines = [render_rule(rule, name) for name, rules in chains.items() for rule in rules]
    return "\n".join(["*filter", *head, *lines, "COMMIT", ""])


def _plans(container: Container, config: VpaConfig) -> tuple[ChainPlan, ...]:
    cni = as_cni(config)
    netout = netout_plan(container, cni, garden=True, frame=False)
    return overlay_plan(container, cni), netout, netout_log_plan(container, cni), input_plan(container, ())


def _asg_rule(number: int) -> Rule:
    first = (11 << 24) + (number << 8)
    return Rule(matches=(IpRangeMatch(destination=(first, first + 99, False)),), target=ACCEPT)
