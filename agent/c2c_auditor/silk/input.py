"""``input--H``: what a container may reach on the cell itself.

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netout.go, lib/rules/rules.go
(``NewInput…``).
"""

from __future__ import annotations

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.cni import HostService
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ChainFamily, ContainerChains
from c2c_auditor.silk.remembered import remembered
from c2c_auditor.silk.shapes import ESTABLISHED, ChainPlan, reject


@remembered
def input_plan(container: Container, services: tuple[r.Rule, ...]) -> ChainPlan:
    """``input--H``: answers, then ``services``, then reject.

    ``services`` are the rules of DNS servers and host services, in silk's order.
    """
    return ChainPlan(
        family=ChainFamily.INPUT,
        table="filter",
        name=ContainerChains.of(container.handle).input,
        container=container,
        head=(r.Rule(matches=(ESTABLISHED,), target=r.ACCEPT), *services, r.Rule(target=reject(container))),
    )


def host_service(rule: r.Rule) -> bool:
    """Whether a rule has the shape of a service's in ``input--H``.

    Such a rule accepts one destination, one protocol and one port.
    """
    if rule.target != r.ACCEPT or rule.source is not None or rule.destination is None or rule.destination.host is None:
        return False
    if (
        rule.in_interface is not None
        or rule.out_interface is not None
        or rule.protocol is None
        or len(rule.matches) != 1
    ):
        return False
    (ports,) = rule.matches
    return (
        isinstance(ports, r.TransportMatch)
        and ports.destination is not None
        and ports.source is None
        and ports.tcp_flags is None
    )


def service_rule(service: HostService) -> r.Rule:
    """The rule for one such service."""
    number = {"tcp": r.TCP, "udp": r.UDP}[service.protocol]
    return r.Rule(
        destination=canonical.host(service.address),
        protocol=canonical.protocol(number),
        matches=(canonical.transport(number, service.port, service.port),),
        target=r.ACCEPT,
    )
