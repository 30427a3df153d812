"""``asg-…``: a container's security groups as egress rules.

Source: silk-release vxlan-policy-agent/planner/planner_linux.go (``GetASGRulesAndChains``), cni-wrapper-plugin/netrules
(``security_group_rule.go``, ``rule_converter.go``, ``netout_chain.go``). The list is made forwards and written in
reverse, so what is added last is met first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, SecurityGroup, SecurityRule, VpaConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.cached import cached
from c2c_auditor.silk.chain_names import ChainFamily, ContainerChains
from c2c_auditor.silk.netout import RUNNING, STAGING, before_allowed, denied_log
from c2c_auditor.silk.policy import open_rules
from c2c_auditor.silk.remembered import remembered
from c2c_auditor.silk.settings import as_cni
from c2c_auditor.silk.shapes import ChainPlan, family_of_address, reject

_PROTOCOLS = {"tcp": r.TCP, "udp": r.UDP}
_ICMP, _ICMP_IPV6 = "icmp", "icmpv6"
_ANY = (-1, 255)


class Unconvertible(ValueError):  # noqa: N818 - says what it is: a rule for which silk drops the container's whole update
    """A security group rule that silk's own conversion refuses."""


def groups_of(container: Container, groups: Iterable[SecurityGroup]) -> tuple[SecurityGroup, ...]:
    """The groups that apply to a container: defaults of its kind of workload first, then those of its space.

    Each once.
    """
    defaults: list[SecurityGroup] = []
    bound: list[SecurityGroup] = []
    for group in groups:
        if container.workload == STAGING:
            default, spaces = group.staging_default, group.staging_spaces
        elif container.workload in RUNNING:
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
    return bool(container.space) and container.workload in (*RUNNING, STAGING)


def asg_plan(container: Container, groups: tuple[SecurityGroup, ...], config: VpaConfig) -> ChainPlan:
    """The chain in the order in which a packet meets it.

    Raises Unconvertible for a rule that makes silk leave the chain as it was.
    """
    return ChainPlan(
        family=ChainFamily.ASG,
        table="filter",
        name=ContainerChains.of(container.handle).asg,
        container=container,
        head=_rules(container, groups, config),
    )


@remembered
def _rules(container: Container, groups: tuple[SecurityGroup, ...], config: VpaConfig) -> tuple[r.Rule, ...]:
    of = ContainerChains.of(container.handle)
    logs = any(rule.log for group in groups for rule in group.rules) or config.asg_logging
    family = family_of_address(container)
    allowed = _allowed(groups, of.netout_log if logs else "", family, everything=config.asg_logging)
    end = [r.Rule(target=reject(container))]
    if config.asg_logging:
        end.insert(0, denied_log(container.handle, config.denied_logs_per_second))
    return (
        *(open_rules(config.overlay_networks) if config.policy_disabled else ()),
        *before_allowed(container, as_cni(config)),
        *reversed(allowed),
        *end,
    )


@cached
def _allowed(
    groups: tuple[SecurityGroup, ...], log_chain: str, family: r.AddressFamily, *, everything: bool
) -> tuple[r.Rule, ...]:
    """The groups' rules, forwards; each once. Remembered without the container, which most of them do not mention."""
    rules: dict[r.Rule, None] = {}
    for group in groups:
        if group.problem:
            raise Unconvertible(f"group {group.name}: {group.problem}")
        for rule in group.rules:
            target: r.Target = r.Goto(chain=log_chain) if rule.log or everything else r.ACCEPT
            rules.update(dict.fromkeys(_converted(rule, target, group.name, family)))
    return tuple(rules)


def mixes_families(group: SecurityGroup) -> bool:
    """Whether one rule of ``group`` names IPv4 and IPv6 destinations together: what silk makes of that was not seen."""
    return any(len({_is_ipv6(part) for part in rule.destination.split(",")}) > 1 for rule in group.rules)


def _converted(rule: SecurityRule, target: r.Target, group: str, family: r.AddressFamily) -> Iterator[r.Rule]:
    """One security group rule as none, one or several rules of ``family``.

    Silk skips what makes no sense to it and says so in its log only. What names IPv6 belongs to ip6tables
    (planner_linux.go, ``filterRulesByIPVersion``, since 2025).
    """
    ipv6 = family is r.AddressFamily.IPV6
    if rule.protocol == (_ICMP if ipv6 else _ICMP_IPV6):
        return
    ports = _ports(rule.ports)
    parts = [part for part in rule.destination.split(",") if _is_ipv6(part) == ipv6]
    for first, last in [_range_ipv6(part) if ipv6 else _range(part, group) for part in parts]:
        where = r.IpRangeMatch(destination=(first, last, False), family=family)
        if rule.protocol in _PROTOCOLS:
            number = _PROTOCOLS[rule.protocol]
            for low, high in ports:
                match = canonical.transport(number, low, high)
                yield r.Rule(
                    protocol=canonical.protocol(number),
                    matches=canonical.matches_in_order([match, where]),
                    target=target,
                )
        elif rule.protocol in (_ICMP, _ICMP_IPV6) and not ports:
            yield r.Rule(
                protocol=canonical.protocol(family.icmp),
                matches=canonical.matches_in_order([*_icmp(rule, family), where]),
                target=target,
            )
        elif rule.protocol == "all" and not ports:
            yield r.Rule(matches=(where,), target=target)


def _is_ipv6(text: str) -> bool:
    """Whether ``text`` is an IPv6 address, CIDR or ``a-b``."""
    if ":" not in text or "%" in text:  # Go's ParseIP takes no zone
        return False
    try:
        if "/" in text:
            IPv6Network(text, strict=False)
        else:
            for end in text.split("-", 1):
                IPv6Address(end)
    except ValueError:
        return False
    return True


def _icmp(rule: SecurityRule, family: r.AddressFamily) -> tuple[r.IcmpMatch, ...]:
    """-1 is any; without a type, CC's model says 0. ip6tables has no type for any, so a rule for all has no match."""
    if rule.type in _ANY:
        return (r.IcmpMatch(type=255),) if family is r.AddressFamily.IPV4 else ()
    code = (0, 255) if rule.code in _ANY else (rule.code, rule.code)
    return (r.IcmpMatch(type=rule.type, code=code, family=family),)


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


def _range_ipv6(text: str) -> tuple[int, int]:
    """The same for what `_is_ipv6` takes."""
    if "/" in text:
        net = IPv6Network(text, strict=False)
        return int(net.network_address), int(net.broadcast_address)
    first, _, last = text.partition("-")
    return int(IPv6Address(first)), int(IPv6Address(last or first))


def _address(text: str) -> IPv4Address:
    return IPv4Address(".".join(str(_whole(octet)) for octet in text.split(".")))


def _whole(text: str) -> int:
    """Digits only: Go's Atoi takes neither spaces nor underscores."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
