"""``netout--H`` and its log chains: what a container may send to the outside.

Source: silk-release src/code.cloudfoundry.org/cni-wrapper-plugin/netrules/netout.go and netout_chain.go,
lib/rules/rules.go (``NewNetOut…``); vxlan-policy-agent/enforcer/enforcer.go (``EnforceOnChain``).
"""

from __future__ import annotations

import math
from ipaddress import IPv4Network, IPv6Network

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.cni import CniConfig, DenyNetworks, OutboundConnections
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ChainFamily, ContainerChains
from c2c_auditor.silk.remembered import remembered
from c2c_auditor.silk.shapes import (
    ESTABLISHED,
    NEW_CONNECTIONS,
    ChainPlan,
    family_of_address,
    limited,
    logged,
    reject,
)

RUNNING = ("app", "task")
STAGING = "staging"


@remembered
def synced_netout_plan(container: Container, to: tuple[str, ...]) -> ChainPlan:
    """``netout--H`` of a container whose security groups VPA writes: ``to`` their chains, then reject.

    There is one such chain, and a second one while VPA swaps them. VPA deletes what the CNI plugin wrote there, its log
    rule too (lib/rules/locked_iptables.go, ``DeleteAfterRuleNumKeepReject``).
    """
    return ChainPlan(
        family=ChainFamily.NETOUT,
        table="filter",
        name=ContainerChains.of(container.handle).netout,
        container=container,
        head=(*(r.Rule(target=r.Jump(chain=name)) for name in to), r.Rule(target=reject(container))),
    )


@remembered
def netout_plan(container: Container, cni: CniConfig, *, garden: bool, frame: bool) -> ChainPlan:
    """``netout--H`` as the CNI plugin writes it, where VPA does not sync security groups to it.

    ``garden``: the rules that garden was given stand in the middle, and nothing on the cell tells them; silk inserts
    them, its own rules and deny networks before the end. ``frame``: what stands before them is known.
    """
    of = ContainerChains.of(container.handle)
    end: tuple[r.Rule, ...] = (r.Rule(target=reject(container)),)
    if cni.asg_logging:
        end = (denied_log(container.handle, cni.denied_logs_per_second), *end)
    before: tuple[r.Rule, ...] = ()
    if garden and frame:
        before = before_allowed(container, cni)
    return ChainPlan(
        family=ChainFamily.NETOUT,
        table="filter",
        name=of.netout,
        container=container,
        head=before,
        tail=end,
        middle=garden,
    )


def before_allowed(container: Container, cni: CniConfig) -> tuple[r.Rule, ...]:
    """What a packet meets before the rules that allow: answers, invalid packets, the connection limit, denied networks.

    Silk makes the list the other way round and writes it in reverse (netout_chain.go, ``IPTablesRules``).
    """
    rules = [
        r.Rule(matches=(ESTABLISHED,), target=r.ACCEPT),
        r.Rule(
            protocol=canonical.protocol(r.TCP),
            matches=(canonical.states(frozenset({"INVALID"})),),
            target=r.DROP,
        ),
    ]
    limit, refused = cni.outbound_connections, reject(container)
    if limit.limit or limit.dry_run:
        rules.append(_rate_limit(container, limit))
    denied = _denied(container, cni.deny_networks)
    return (*rules, *(r.Rule(destination=canonical.network(net), target=refused) for net in reversed(denied)))


def _denied(container: Container, deny: DenyNetworks) -> tuple[IPv4Network | IPv6Network, ...]:
    networks = deny.always
    if container.workload in RUNNING:
        networks += deny.running
    elif container.workload == STAGING:
        networks += deny.staging
    return tuple(net for net in networks if net.version == container.address.version)


def _rate_limit(container: Container, connections: OutboundConnections) -> r.Rule:
    """New connections to one destination and port beyond the rate."""
    handle = container.handle
    expire = math.ceil(connections.burst / connections.rate_per_second) * 1000
    limit = r.HashLimitMatch(
        name=handle,
        period=canonical.limit_period(connections.rate_per_second, 1, 1_000_000),
        burst=connections.burst,
        above=True,
        mode=("dstip", "dstport"),
        expire=expire,
        family=family_of_address(container),
    )
    log_chain = ContainerChains.of(handle).netout_rate_limit_log
    return r.Rule(
        protocol=canonical.protocol(r.TCP),
        matches=(canonical.states(frozenset({"NEW"})), limit),
        target=r.Jump(chain=log_chain) if connections.logging or connections.dry_run else reject(container),
    )


def denied_log(handle: str, per_second: int) -> r.Rule:
    """What is about to be rejected is logged (``iptables_asg_logging``)."""
    return r.Rule(matches=(limited(per_second),), target=r.Log(prefix=logged("DENY_", handle)))


@remembered
def netout_log_plan(container: Container, cni: CniConfig) -> ChainPlan:
    """``netout--H--log``: reached by goto from rules that log; logs and accepts."""
    prefix = logged("OK_", container.handle)
    rate = cni.accepted_udp_logs_per_second
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
        family=ChainFamily.NETOUT_LOG,
        table="filter",
        name=ContainerChains.of(container.handle).netout_log,
        container=container,
        head=rules,
    )


def has_rate_limit_log(connections: OutboundConnections) -> bool:
    """Whether the CNI plugin makes ``netout--H--rl-log`` (netout.go, ``defaultNetOutRules``)."""
    return (connections.limit and connections.logging) or bool(connections.dry_run)


@remembered
def netout_rate_limit_log_plan(container: Container, cni: CniConfig) -> ChainPlan:
    """``netout--H--rl-log``: what goes beyond the rate limit is logged and rejected; with ``dry_run`` logged only."""
    log = r.Rule(
        matches=(limited(cni.denied_logs_per_second),),
        target=r.Log(prefix=logged("DENY_ORL_", container.handle)),
    )
    return ChainPlan(
        family=ChainFamily.RATE_LIMIT_LOG,
        table="filter",
        name=ContainerChains.of(container.handle).netout_rate_limit_log,
        container=container,
        head=(log,) if cni.outbound_connections.dry_run else (log, r.Rule(target=reject(container))),
    )
