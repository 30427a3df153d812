"""The jumps that hang a container's chains into the built-in ones.

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netout.go, netin.go and masquerader.go.
"""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, VpaConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ContainerChains
from c2c_auditor.silk.shapes import VTEP, remembered


@frozen(kw_only=True)
class JumpPlan:
    """A jump into a container's chain.

    ``on_interface``: the rule holds one outgoing interface, and which is not known.
    """

    table: str
    chain: str
    rule: r.Rule
    container: Container
    on_interface: bool = False


@remembered
def jump_plans(container: Container, overlay: VpaConfig, underlay: tuple[str, ...] | None) -> tuple[JumpPlan, ...]:
    """The jumps that hang a container's chains into the built-in ones, and its address translation, which silk hangs there directly."""
    of = ContainerChains.of(container.handle)
    here = canonical.host(container.address)
    jumps = [
        JumpPlan(table="filter", chain="FORWARD", rule=r.Rule(target=r.Jump(chain=of.overlay)), container=container),
        JumpPlan(
            table="filter", chain="INPUT", rule=r.Rule(source=here, target=r.Jump(chain=of.input)), container=container
        ),
        JumpPlan(table="nat", chain="PREROUTING", rule=r.Rule(target=r.Jump(chain=of.netin)), container=container),
        JumpPlan(table="mangle", chain="PREROUTING", rule=r.Rule(target=r.Jump(chain=of.netin)), container=container),
        JumpPlan(table="nat", chain="POSTROUTING", rule=masquerade_rule(container, overlay), container=container),
    ]
    netout = r.Rule(source=here, target=r.Jump(chain=of.netout))
    if underlay is None:
        jumps.append(JumpPlan(table="filter", chain="FORWARD", rule=netout, container=container, on_interface=True))
    for name in underlay or ():
        rule = r.Rule(source=here, out_interface=r.InterfaceMatch(name=name), target=netout.target)
        jumps.append(JumpPlan(table="filter", chain="FORWARD", rule=rule, container=container))
    return tuple(jumps)


def masquerade_rule(container: Container, config: VpaConfig) -> r.Rule:
    """What leaves the overlay leaves with the cell's address."""
    network = canonical.network(config.overlay_network)
    inside = r.AddressMatch(value=network.value, mask=network.mask, negated=True) if network is not None else None
    return r.Rule(
        source=canonical.host(container.address),
        destination=inside,
        out_interface=r.InterfaceMatch(name=VTEP.name, negated=True),
        target=r.Masquerade(),
    )
