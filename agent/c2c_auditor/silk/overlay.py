"""``overlay--H``: what may reach a container, and its default deny.

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netout.go, lib/rules/rules.go
(``NewOverlay…``). Written once, when the container is created; nothing but recreating it brings a lost rule back.
"""

from __future__ import annotations

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.cni import CniConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ChainFamily, ContainerChains
from c2c_auditor.silk.remembered import remembered
from c2c_auditor.silk.shapes import ESTABLISHED, ChainPlan, family_of_address, limited, logged, reject


def default_deny(container: Container) -> r.Rule:
    """Whatever no rule before it accepted does not reach the container."""
    return r.Rule(destination=canonical.host(container.address), target=reject(container))


@remembered
def overlay_plan(container: Container, cni: CniConfig) -> ChainPlan:
    """``overlay--H``: accepts answers, mapped ports and marked packets to other cells, and rejects the rest.

    Over IPv6 only answers come in: it has neither overlay nor mapped ports (``getOverlayRules``, since 2025).
    """
    here = canonical.host(container.address)
    rules = [r.Rule(destination=here, matches=(ESTABLISHED,), target=r.ACCEPT)]
    if family_of_address(container) is r.AddressFamily.IPV4:
        vtep, marked = r.InterfaceMatch(name=cni.vtep_name), canonical.mark(0, negated=True)
        rules = [
            r.Rule(source=here, out_interface=vtep, matches=(marked,), target=r.ACCEPT),
            *rules,
            r.Rule(destination=here, matches=(canonical.mark(cni.ingress_tag),), target=r.ACCEPT),
        ]
    if cni.c2c_logging:
        limit = limited(cni.denied_logs_per_second)
        rules.append(
            r.Rule(destination=here, matches=(limit,), target=r.Log(prefix=logged("DENY_C2C_", container.handle)))
        )
    chain = ContainerChains.of(container.handle).overlay
    return ChainPlan(
        family=ChainFamily.OVERLAY,
        table="filter",
        name=chain,
        container=container,
        head=(*rules, default_deny(container)),
    )
