"""``asg-…``: a container's security groups as egress rules.

Source: silk-release vxlan-policy-agent/planner/planner_linux.go (``GetASGRulesAndChains``), cni-wrapper-plugin/netrules
(``security_group_rule.go``, ``rule_converter.go``, ``netout_chain.go``). The list is made forwards and written in
reverse, so what is added last is met first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, SecurityGroup, SecurityRule, VpaConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ContainerChains
from c2c_auditor.silk.policy import open_rule
from c2c_auditor.silk.shapes import ChainPlan, limited, logged

_RUNNING = ("app", "task")
_PROTOCOLS = {"tcp": r.TCP, "udp": r.UDP}


class Unconvertible(ValueError):  # noqa: N818 - says what it is: a rule for which silk drops the container's whole update
    """A security group rule that silk's own conversion refuses."""


def groups_of(container: Container, groups: Iterable[SecurityGroup]) -> tuple[SecurityGroup, ...]:
    """The groups that apply to a container: defaults of its kind of workload first, then those of its space.

    Each once.
    """
    defaults: list[SecurityGroup] = []
    bound: list[SecurityGroup] = []
    for group in groups:
        if container.workload == "staging":
            default, spaces = group.staging_default, group.staging_spaces
        elif container.workload in _RUNNING:
            default, spaces = group.running_default, group.running_spaces
        else:
            continue
        if default:
            defaults.append(group)
        elif container.space in spaces:
            bound.append(group)
    return (*defaults, *bound)


def has_chain(container: Container) -> bool:
    """Whether silk makes a security group chain for this container: one with a space and a workload that it knows."""
    return bool(container.space) and container.workload in (*_RUNNING, "staging")


def asg_plan(container: Container, groups: tuple[SecurityGroup, ...], config: VpaConfig) -> ChainPlan:
    """The chain in the order in which a packet meets it.

    Raises Unconvertible for a rule that makes silk leave the chain as it was.
    """
    of = ContainerChains.of(container.handle)
    return ChainPlan(
        table="filter",
        name=of.asg,
        container=container,
        head=_rules(container.handle, container.workload, groups, config),
    )


@lru_cache(maxsize=2048)
def _rules(handle: str, workload: str, groups: tuple[SecurityGroup, ...], config: VpaConfig) -> tuple[r.Rule, ...]:
    of = ContainerChains.of(handle)
    forwards: list[r.Rule] = []
    logs = any(rule.log for group in groups for rule in group.rules) or config.asg_logging
    forwards += _allowed(groups, of.netout_log if logs else "", everything=config.asg_logging)
    forwards += [r.Rule(destination=canonical.network(net), target=r.REJECT) for net in _denied(workload, config)]
    if config.connection_limit:
        forwards.append(
            _rate_limit(handle, of.netout_rate_limit_log if config.connection_limit_logging else "", config)
        )
    invalid = canonical.states(frozenset({"INVALID"}))
    forwards.append(r.Rule(protocol=canonical.protocol(r.TCP), matches=(invalid,), target=r.DROP))
    forwards.append(r.Rule(matches=(canonical.states(frozenset({"RELATED", "ESTABLISHED"})),), target=r.ACCEPT))
    end = [r.Rule(target=r.REJECT)]
    if config.asg_logging:
        end.insert(
            0, r.Rule(matches=(limited(config.denied_logs_per_second),), target=r.Log(prefix=logged("DENY_", handle)))
        )
    start = [open_rule(config)] if config.policy_disabled else []
    return (*start, *reversed(forwards), *end)


def _denied(workload: str, config: VpaConfig) -> tuple[IPv4Network, ...]:
    if workload in _RUNNING:
        return (*config.deny_networks_always, *config.deny_networks_running)
    if workload == "staging":
        return (*config.deny_networks_always, *config.deny_networks_staging)
    return config.deny_networks_always


def _rate_limit(handle: str, log_chain: str, config: VpaConfig) -> r.Rule:
    """New connections to one destination and port beyond the rate."""
    expire = math.ceil(config.connection_burst / config.connection_rate_per_second) * 1000
    limit = r.HashLimitMatch(
        name=handle,
        period=canonical.limit_period(config.connection_rate_per_second, 1, 1_000_000),
        burst=config.connection_burst,
        above=True,
        mode=("dstip", "dstport"),
        expire=expire,
    )
    return r.Rule(
        protocol=canonical.protocol(r.TCP),
        matches=(canonical.states(frozenset({"NEW"})), limit),
        target=r.Jump(chain=log_chain) if log_chain else r.REJECT,
    )


@lru_cache(maxsize=256)
def _allowed(groups: tuple[SecurityGroup, ...], log_chain: str, *, everything: bool) -> tuple[r.Rule, ...]:
    """The groups' rules, forwards; each once. Remembered without the container, which most of them do not mention."""
    rules: dict[r.Rule, None] = {}
    for group in groups:
        if group.problem:
            raise Unconvertible(f"group {group.name}: {group.problem}")
        for rule in group.rules:
            target: r.Target = r.Goto(chain=log_chain) if rule.log or everything else r.ACCEPT
            rules.update(dict.fromkeys(_converted(rule, target, group.name)))
    return tuple(rules)


def _converted(rule: SecurityRule, target: r.Target, group: str) -> Iterator[r.Rule]:
    """One security group rule as none, one or several iptables rules: silk skips what makes no sense to it and says so in its log only."""
    ports = _ports(rule.ports)
    for first, last in [_range(part, group) for part in rule.destination.split(",")]:
        where = r.IpRangeMatch(destination=(first, last, False))
        if rule.protocol in _PROTOCOLS:
            number = _PROTOCOLS[rule.protocol]
            for low, high in ports:
                match = canonical.transport(number, low, high)
                yield r.Rule(
                    protocol=canonical.protocol(number),
                    matches=canonical.matches_in_order([match, where]),
                    target=target,
                )
        elif rule.protocol == "icmp" and not ports:
            yield r.Rule(
                protocol=canonical.protocol(r.ICMP),
                matches=canonical.matches_in_order([_icmp(rule), where]),
                target=target,
            )
        elif rule.protocol == "all" and not ports:
            yield r.Rule(matches=(where,), target=target)


def _icmp(rule: SecurityRule) -> r.IcmpMatch:
    """-1 is any; without a type, CC's model says 0."""
    if rule.type in (-1, 255):
        return r.IcmpMatch(type=255)
    return r.IcmpMatch(type=rule.type, code=(0, 255) if rule.code in (-1, 255) else (rule.code, rule.code))


def _ports(text: str) -> Sequence[tuple[int, int]]:
    """``443,8000-9000``.

    Silk skips parts that are no numbers, and keeps 16 bits of what is too large (``security_group_rule.go``,
    ``Ports``).
    """
    found = []
    for part in text.split(","):
        ends = part.split("-")
        try:
            numbers = [_whole(end.strip()) & 0xFFFF for end in ends]
        except ValueError:
            continue
        if len(numbers) <= 2:  # noqa: PLR2004 - one port or both ends
            found.append((numbers[0], numbers[-1]))
    return found


def _range(text: str, group: str) -> tuple[int, int]:
    """An address, a CIDR or ``a-b`` as first and last address; leading zeros are dropped, as silk does.

    Raises Unconvertible.
    """
    try:
        if "/" in text:
            address, _, length = text.partition("/")
            net = IPv4Network(f"{_address(address)}/{_whole(length)}", strict=False)
            return int(net.network_address), int(net.broadcast_address)
        first, dash, last = text.partition("-")
        low = _address(first)
        return int(low), int(_address(last)) if dash else int(low)
    except (ValueError, AddressValueError, NetmaskValueError) as error:
        message = f"group {group}: destination {text!r} is no address, CIDR or range"
        raise Unconvertible(message) from error


def _address(text: str) -> IPv4Address:
    return IPv4Address(".".join(str(_whole(octet)) for octet in text.split(".")))


def _whole(text: str) -> int:
    """Digits only: Go's Atoi takes neither spaces nor underscores."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
