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
from c2c_auditor.silk.shapes import ESTABLISHED, ChainPlan, limited, logged, remembered


def default_deny(container: Container) -> r.Rule:
    """Whatever no rule before it accepted does not reach the container."""
    return r.Rule(destination=canonical.host(container.address), target=r.REJECT)


@remembered
def overlay_plan(container: Container, cni: CniConfig) -> ChainPlan:
    """``overlay--H``: accepts answers, mapped ports and marked packets to other cells, and rejects the rest."""
    here = canonical.host(container.address)
    vtep = r.InterfaceMatch(name=cni.vtep_name)
    rules = [
        r.Rule(source=here, out_interface=vtep, matches=(canonical.mark(0, negated=True),), target=r.ACCEPT),
        r.Rule(destination=here, matches=(ESTABLISHED,), target=r.ACCEPT),
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
