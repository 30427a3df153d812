"""``netin--H`` in nat and mangle: a container's mapped ports.

Host ports are garden's choice and stand nowhere on the cell but in these rules. So what can be said is what they
promise each other: each port that nat translates to the container is marked in mangle, so that the container's default
deny lets it in. Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netin.go, lib/rules/rules.go
(``NewPortForwardingRule``, ``NewIngressMarkRule``).
"""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.netfilter import canonical


@frozen(kw_only=True)
class Mapping:
    """One mapped port: packets to ``host`` (an address as integer) and ``host_port`` go to the container's ``port``."""

    host: int
    host_port: int
    port: int


def forwarding_rule(container: Container, mapping: Mapping) -> r.Rule:
    """nat: to the container's address and port."""
    address = int(container.address)
    return r.Rule(
        destination=r.AddressMatch(value=mapping.host),
        protocol=canonical.protocol(r.TCP),
        matches=(canonical.transport(r.TCP, mapping.host_port, mapping.host_port),),
        target=r.Dnat(addresses=(address, address), ports=(mapping.port, mapping.port)),
    )


def marking_rule(mapping: Mapping, interface: str, tag: int) -> r.Rule:
    """mangle: packets that come in on the underlay for this port get the ingress ``tag``.

    Every container's overlay chain accepts that mark.
    """
    return r.Rule(
        destination=r.AddressMatch(value=mapping.host),
        in_interface=r.InterfaceMatch(name=interface),
        protocol=canonical.protocol(r.TCP),
        matches=(canonical.transport(r.TCP, mapping.host_port, mapping.host_port),),
        target=canonical.set_mark(tag),
    )


def mapping_of(container: Container, rule: r.Rule) -> Mapping | None:
    """The mapping that a nat rule says, if it is exactly such a rule for this container."""
    target = rule.target
    if not isinstance(target, r.Dnat) or target.ports is None or rule.destination is None or not rule.matches:
        return None
    ports = rule.matches[0]
    if not isinstance(ports, r.TransportMatch) or ports.destination is None:
        return None
    mapping = Mapping(host=rule.destination.value, host_port=ports.destination.first, port=target.ports[0])
    return mapping if rule == forwarding_rule(container, mapping) else None


def marked_port(rule: r.Rule, tag: int) -> tuple[int, int, str] | None:
    """Host, port and interface whose packets a mangle rule marks with ``tag``, if it is exactly such a rule."""
    if rule.destination is None or rule.in_interface is None or not rule.matches:
        return None
    ports = rule.matches[0]
    if not isinstance(ports, r.TransportMatch) or ports.destination is None:
        return None
    mapping = Mapping(host=rule.destination.value, host_port=ports.destination.first, port=0)
    return (
        (mapping.host, mapping.host_port, rule.in_interface.name)
        if rule == marking_rule(mapping, rule.in_interface.name, tag)
        else None
    )
