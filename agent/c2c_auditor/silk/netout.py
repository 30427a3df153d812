"""``netout--H`` and its log chains: what a container may send to the outside.

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netout.go and netout_chain.go,
lib/rules/rules.go (``NewNetOut…``).
"""

from __future__ import annotations

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, VpaConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ContainerChains
from c2c_auditor.silk.shapes import NEW_CONNECTIONS, ChainPlan, limited, logged, remembered


@remembered
def netout_plan(container: Container, config: VpaConfig, *, has_asg: bool) -> ChainPlan:
    """``netout--H``: to the security groups, then reject.

    Without syncing of security groups it holds what garden was given, which nobody can foretell.
    """
    of = ContainerChains.of(container.handle)
    reject = r.Rule(target=r.REJECT)
    if not config.asg_syncing:
        return ChainPlan(table="filter", name=of.netout, container=container, head=(), tail=(reject,), middle=True)
    head = (r.Rule(target=r.Jump(chain=of.asg)), reject) if has_asg else (reject,)
    return ChainPlan(table="filter", name=of.netout, container=container, head=head)


@remembered
def netout_log_plan(container: Container, config: VpaConfig) -> ChainPlan:
    """``netout--H--log``: reached by goto from rules that log; logs and accepts."""
    prefix = logged("OK_", container.handle)
    rate = config.accepted_udp_logs_per_second
    rules = (
        r.Rule(
            protocol=r.ProtocolMatch(number=r.UDP, negated=True),
            matches=(NEW_CONNECTIONS,),
            target=r.Log(prefix=prefix),
        ),
        r.Rule(protocol=canonical.protocol(r.UDP), matches=(limited(rate),), target=r.Log(prefix=prefix)),
        r.Rule(target=r.ACCEPT),
    )
    return ChainPlan(
        table="filter", name=ContainerChains.of(container.handle).netout_log, container=container, head=rules
    )


@remembered
def netout_rate_limit_log_plan(container: Container, config: VpaConfig) -> ChainPlan:
    """``netout--H--rl-log``: what goes beyond the rate limit is logged and rejected."""
    rules = (
        r.Rule(
            matches=(limited(config.denied_logs_per_second),),
            target=r.Log(prefix=logged("DENY_ORL_", container.handle)),
        ),
        r.Rule(target=r.REJECT),
    )
    return ChainPlan(
        table="filter", name=ContainerChains.of(container.handle).netout_rate_limit_log, container=container, head=rules
    )
