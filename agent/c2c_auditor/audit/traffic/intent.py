"""The flows that policies allow: to this cell's containers by source app, and from them to apps elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy, PolicySet, VpaConfig
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.netfilter.flows import NOTHING, FlowSet, ports, union

_PROTOCOLS = {"tcp": r.TCP, "udp": r.UDP}


def flows_of(policy: Policy) -> FlowSet:
    """What one policy allows."""
    return ports(_PROTOCOLS[policy.protocol], policy.ports.first, policy.ports.last)


def by_source(policies: Iterable[Policy]) -> dict[str, FlowSet]:
    """What ``policies``, which share their destination, allow each source app."""
    allowed: dict[str, FlowSet] = {}
    for policy in policies:
        allowed[policy.source] = union(allowed.get(policy.source, NOTHING), flows_of(policy))
    return allowed


def by_destination(policies: Iterable[Policy]) -> dict[str, FlowSet]:
    """What ``policies``, which share their source, allow towards each destination app."""
    allowed: dict[str, FlowSet] = {}
    for policy in policies:
        allowed[policy.destination] = union(allowed.get(policy.destination, NOTHING), flows_of(policy))
    return allowed


def ingress(container: Container, config: VpaConfig) -> FlowSet:
    """What the ingress router may reach: the container's own ports (``enable_overlay_ingress_rules``)."""
    if not config.overlay_ingress:
        return NOTHING
    return union(*(ports(r.TCP, port, port) for port in container.ports))


@derived
def grouped(policies: PolicySet) -> tuple[Mapping[str, tuple[Policy, ...]], Mapping[str, tuple[Policy, ...]]]:
    """``policies`` by destination app, and by source app."""
    to: dict[str, list[Policy]] = {}
    of: dict[str, list[Policy]] = {}
    for policy in policies.policies:
        to.setdefault(policy.destination, []).append(policy)
        of.setdefault(policy.source, []).append(policy)
    return {app: tuple(found) for app, found in to.items()}, {app: tuple(found) for app, found in of.items()}
