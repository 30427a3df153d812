"""The chains that the CNI wrapper makes for one container, but for its security groups (`asg`) and its mapped ports (`netin`).

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules (``netout.go``, ``netout_chain.go``, ``input.go``) and lib/rules/rules.go
(``NewOverlay…``, ``NewNetOut…``, ``NewInput…``). Written once, when the container is created; nothing but recreating it brings a lost rule back.
"""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, VpaConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.names import ContainerChains

# Containers and settings change seldom, audits are many: a plan is made once. A cell holds some 250 containers.
_remembered = lru_cache(maxsize=4096)

CNI_INGRESS_TAG = 0xFFFF0000  # property of the silk-cni job; not the policy server's tag of the ingress router
_LOG_PREFIX = 28
_VTEP = r.InterfaceMatch(name="silk-vtep")
_ESTABLISHED = canonical.states(frozenset({"RELATED", "ESTABLISHED"}))
_NEW_CONNECTIONS = canonical.states(frozenset({"INVALID", "NEW", "UNTRACKED"}))
_UDP_LOGS_PER_SECOND = 100


@frozen(kw_only=True)
class ChainPlan:
    """What one chain of a container should hold.

    ``middle`` is False where ``head`` and ``tail`` are all of it; where it is True, rules that nobody on the cell can foretell stand between them.
    """

    table: str
    name: str
    container: Container
    head: tuple[r.Rule, ...]
    tail: tuple[r.Rule, ...] = ()
    middle: bool = False


def logged(prefix: str, handle: str) -> str:
    """A log prefix as silk cuts it: 28 characters and a space."""
    return f"{prefix}{handle}"[:_LOG_PREFIX] + " "


def limited(per_second: int) -> r.LimitMatch:
    """``-m limit --limit N/s --limit-burst N``."""
    return r.LimitMatch(period=canonical.limit_period(per_second, 1, 10_000), burst=per_second)


def default_deny(container: Container) -> r.Rule:
    """Whatever no rule before it accepted does not reach the container."""
    return r.Rule(destination=canonical.host(container.address), target=r.REJECT)


@_remembered
def overlay_plan(container: Container, config: VpaConfig) -> ChainPlan:
    """``overlay--H``: marked packets may leave for other cells, answers and the cell's own router may come in, everything else is rejected."""
    here = canonical.host(container.address)
    rules = [
        r.Rule(source=here, out_interface=_VTEP, matches=(canonical.mark(0, negated=True),), target=r.ACCEPT),
        r.Rule(destination=here, matches=(_ESTABLISHED,), target=r.ACCEPT),
        r.Rule(destination=here, matches=(canonical.mark(CNI_INGRESS_TAG),), target=r.ACCEPT),
    ]
    if config.c2c_logging:
        limit = limited(config.denied_logs_per_second)
        rules.append(r.Rule(destination=here, matches=(limit,), target=r.Log(prefix=logged("DENY_C2C_", container.handle))))
    chain = ContainerChains.of(container.handle).overlay
    return ChainPlan(table="filter", name=chain, container=container, head=(*rules, default_deny(container)))


@_remembered
def netout_plan(container: Container, config: VpaConfig, *, has_asg: bool) -> ChainPlan:
    """``netout--H``: to the security groups, then reject. Without syncing of security groups it holds what garden was given, which nobody can foretell."""
    of = ContainerChains.of(container.handle)
    reject = r.Rule(target=r.REJECT)
    if not config.asg_syncing:
        return ChainPlan(table="filter", name=of.netout, container=container, head=(), tail=(reject,), middle=True)
    head = (r.Rule(target=r.Jump(chain=of.asg)), reject) if has_asg else (reject,)
    return ChainPlan(table="filter", name=of.netout, container=container, head=head)


@_remembered
def netout_log_plan(container: Container, config: VpaConfig) -> ChainPlan:
    """``netout--H--log``: reached by goto from rules that log; logs and accepts."""
    prefix = logged("OK_", container.handle)
    rate = config.accepted_udp_logs_per_second
    rules = (
        r.Rule(protocol=r.ProtocolMatch(number=r.UDP, negated=True), matches=(_NEW_CONNECTIONS,), target=r.Log(prefix=prefix)),
        r.Rule(protocol=canonical.protocol(r.UDP), matches=(limited(rate),), target=r.Log(prefix=prefix)),
        r.Rule(target=r.ACCEPT),
    )
    return ChainPlan(table="filter", name=ContainerChains.of(container.handle).netout_log, container=container, head=rules)


@_remembered
def netout_rate_limit_log_plan(container: Container, config: VpaConfig) -> ChainPlan:
    """``netout--H--rl-log``: what goes beyond the rate limit is logged and rejected."""
    rules = (
        r.Rule(matches=(limited(config.denied_logs_per_second),), target=r.Log(prefix=logged("DENY_ORL_", container.handle))),
        r.Rule(target=r.REJECT),
    )
    return ChainPlan(table="filter", name=ContainerChains.of(container.handle).netout_rate_limit_log, container=container, head=rules)


@_remembered
def input_plan(container: Container) -> ChainPlan:
    """``input--H``: answers, then DNS servers and host services (properties of silk-cni that VPA's configuration does not hold), then reject."""
    return ChainPlan(
        table="filter",
        name=ContainerChains.of(container.handle).input,
        container=container,
        head=(r.Rule(matches=(_ESTABLISHED,), target=r.ACCEPT),),
        tail=(r.Rule(target=r.REJECT),),
        middle=True,
    )


def host_service(rule: r.Rule) -> bool:
    """Whether a rule has the shape of those that ``input--H`` holds in its middle: one destination, one protocol, one port, accepted."""
    if rule.target != r.ACCEPT or rule.source is not None or rule.destination is None or rule.destination.host is None:
        return False
    if rule.in_interface is not None or rule.out_interface is not None or rule.protocol is None or len(rule.matches) != 1:
        return False
    (ports,) = rule.matches
    return isinstance(ports, r.TransportMatch) and ports.destination is not None and ports.source is None and ports.tcp_flags is None


@frozen(kw_only=True)
class JumpPlan:
    """A jump into a container's chain. ``on_interface``: the rule holds one outgoing interface, and which is not known."""

    table: str
    chain: str
    rule: r.Rule
    container: Container
    on_interface: bool = False


@_remembered
def jump_plans(container: Container, overlay: VpaConfig, underlay: tuple[str, ...] | None) -> tuple[JumpPlan, ...]:
    """The jumps that hang a container's chains into the built-in ones, and its address translation, which silk hangs there directly."""
    of = ContainerChains.of(container.handle)
    here = canonical.host(container.address)
    jumps = [
        JumpPlan(table="filter", chain="FORWARD", rule=r.Rule(target=r.Jump(chain=of.overlay)), container=container),
        JumpPlan(table="filter", chain="INPUT", rule=r.Rule(source=here, target=r.Jump(chain=of.input)), container=container),
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
        out_interface=r.InterfaceMatch(name=_VTEP.name, negated=True),
        target=r.Masquerade(),
    )
