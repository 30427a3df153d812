"""The jumps that hang a container's chains into the built-in ones.

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netout.go and netin.go.
"""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ChainFamily, ContainerChains
from c2c_auditor.silk.remembered import remembered
from c2c_auditor.silk.shapes import family_of_address


@frozen(kw_only=True)
class JumpPlan:
    """A jump from the built-in ``chain`` of ``table`` into a container's chain of ``family``.

    ``on_interface``: the rule holds one outgoing interface, and which is not known.
    """

    family: ChainFamily
    table: str
    chain: str
    rule: r.Rule
    container: Container
    on_interface: bool = False


@remembered
def jump_plans(container: Container, underlay: tuple[str, ...] | None) -> tuple[JumpPlan, ...]:
    """The jumps into a container's chains.

    Its egress chain hangs from FORWARD once for each of the ``underlay`` interfaces; None where those are not known.
    Mapped ports are IPv4's only.
    """
    of = ContainerChains.of(container.handle)
    here = canonical.host(container.address)
    overlay, netin = r.Rule(target=r.Jump(chain=of.overlay)), r.Rule(target=r.Jump(chain=of.netin))
    from_container = r.Rule(source=here, target=r.Jump(chain=of.input))
    jumps = [
        (ChainFamily.OVERLAY, "filter", "FORWARD", overlay),
        (ChainFamily.INPUT, "filter", "INPUT", from_container),
    ]
    if family_of_address(container) is r.AddressFamily.IPV4:
        jumps += [(ChainFamily.NETIN, table, "PREROUTING", netin) for table in ("nat", "mangle")]
    for name in underlay if underlay is not None else ("",):
        out = r.InterfaceMatch(name=name) if name else None
        netout = r.Rule(source=here, out_interface=out, target=r.Jump(chain=of.netout))
        jumps.append((ChainFamily.NETOUT, "filter", "FORWARD", netout))
    return tuple(
        JumpPlan(
            family=family,
            table=table,
            chain=chain,
            rule=rule,
            container=container,
            on_interface=family is ChainFamily.NETOUT and underlay is None,
        )
        for family, table, chain, rule in jumps
    )
