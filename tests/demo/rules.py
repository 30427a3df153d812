"""Rules as silk's programs spell them when they hand them to iptables: text in, nothing read back.

Written on purpose without the auditor's own planner (`c2c_auditor.silk`): two writers that agree are a check on both.
Source: silk-release lib/rules/rules.go; names are cut at 28 characters there (lib/rules/chain_namer.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from demo.world import (
    HOST_SERVICE_PORT,
    INGRESS_TAG,
    LINK_LOCAL,
    UNDERLAY_ADDRESS,
    UNDERLAY_INTERFACE,
    VTEP,
    Group,
    Instance,
    NetworkPolicy,
    Record,
)

REJECT = "--jump REJECT --reject-with icmp-port-unreachable"
_RELATED = "-m state --state RELATED,ESTABLISHED --jump ACCEPT"
_INGRESS = f"0x{INGRESS_TAG}"
_NAME = 28


def chain(prefix: str, handle: str, suffix: str = "") -> str:
    """``prefix--handle`` and ``--suffix``, the handle's part cut so that all of it has 28 characters."""
    tail = f"--{suffix}" if suffix else ""
    return f"{prefix}--{handle}"[: _NAME - len(tail)] + tail


def asg_chain(handle: str) -> str:
    """The chain of a container's security groups."""
    return "asg-" + handle.replace("-", "")[:20]


def mark(address: str, app: str, tag: int) -> str:
    """Packets of one container are marked as its app's."""
    return f"--source {address} -m comment --comment src:{app} --jump MARK --set-xmark 0x{tag:x}"


def accept(address: str, policy: NetworkPolicy, tag: int) -> str:
    """Packets with the source's mark reach one container."""
    ports = f"--protocol {policy.protocol} --destination-port {policy.first}:{policy.last}"
    return (
        f"--destination {address} {ports} -m mark --mark 0x{tag:x}"
        f" -m comment --comment src:{policy.source}_dst:{policy.destination} --jump ACCEPT"
    )


def policy_rules(
    instances: Sequence[Instance], policies: Sequence[NetworkPolicy], tags: Mapping[str, int]
) -> list[str]:
    """The policy chain: all marks by address, then all accepts by address, ports, source and protocol (as texts).

    Two containers with one address: the higher handle has the mark, as VPA goes through handles downwards and takes an
    address once.
    """
    sources = {policy.source for policy in policies}
    marked = {
        one.address: one.app.guid for one in sorted(instances, key=lambda one: one.handle) if one.app.guid in sources
    }
    accepts = sorted(
        (
            one.address,
            f"{policy.first}:{policy.last}",
            policy.source,
            policy.protocol,
            accept(one.address, policy, tags[policy.source]),
        )
        for policy in policies
        for one in instances
        if one.app.guid == policy.destination
    )
    return [mark(address, app, tags[app]) for address, app in sorted(marked.items())] + [row[-1] for row in accepts]


def input_rules() -> list[str]:
    """What a container may reach on its cell: DNS and one host service."""
    services = (("tcp", 53), ("udp", 53), ("tcp", HOST_SERVICE_PORT))
    opened = [f"-d {LINK_LOCAL} -p {protocol} --destination-port {port} --jump ACCEPT" for protocol, port in services]
    return [_RELATED, *opened, REJECT]


def overlay_rules(address: str) -> list[str]:
    """Egress of marked packets, answers, the ingress router, and the default deny."""
    return [
        f"-s {address} -o {VTEP} -m mark ! --mark 0x0 --jump ACCEPT",
        f"-d {address} {_RELATED}",
        f"-d {address} -m mark --mark {_INGRESS} --jump ACCEPT",
        f"-d {address} {REJECT}",
    ]


def log_rules(handle: str) -> list[str]:
    """The chain that security groups with logging go to."""
    prefix = f'--jump LOG --log-prefix "OK_{handle[:25]} "'
    return [
        f"! -p udp -m conntrack --ctstate INVALID,NEW,UNTRACKED {prefix}",
        f"-p udp -m limit --limit 100/s --limit-burst 100 {prefix}",
        "--jump ACCEPT",
    ]


def dnat(instance: Instance, host_port: int, port: int) -> str:
    """A port of the cell leads to a port of the container."""
    return (
        f"-d {UNDERLAY_ADDRESS} -p tcp -m tcp --dport {host_port} --jump DNAT --to-destination "
        f"{instance.address}:{port}"
    )


def ingress_mark(host_port: int) -> str:
    """What comes through that port from outside carries the ingress mark."""
    return (
        f"-i {UNDERLAY_INTERFACE} -d {UNDERLAY_ADDRESS} -p tcp -m tcp --dport {host_port} --jump MARK --set-mark "
        f"{_INGRESS}"
    )


def masquerade(address: str, left_out: str) -> str:
    """What goes anywhere but to ``left_out`` leaves with the cell's own address.

    Source: silk-release cni-wrapper-plugin/netrules/masquerader.go, lib/rules/rules.go (``NewDefaultEgressRule``).
    """
    return f"--source {address} ! -o {VTEP} ! --destination {left_out} --jump MASQUERADE"


def asg_rules(groups: Sequence[Group], space: str) -> list[str]:
    """The security groups of a running container in ``space``.

    VPA appends its list in reverse, then rejects the rest.
    """
    bound = [group for group in groups if group.running_default or space in group.running_spaces]
    opened = [text for group in bound for rule in group.rules for text in _opened(rule)]
    opened += ["-p tcp -m state --state INVALID --jump DROP", _RELATED]
    return [*reversed(opened), REJECT]


def _opened(rule: Record) -> Iterator[str]:
    reach = f"-m iprange --dst-range {_range(rule['destination'])}"
    if rule["protocol"] == "all":
        yield f"{reach} --jump ACCEPT"
    for ports in filter(None, rule.get("ports", "").split(",")):
        yield (
            f"-p {rule['protocol']} {reach} -m {rule['protocol']} --destination-port {ports.replace('-', ':')} "
            "--jump ACCEPT"
        )


def _range(destination: str) -> str:
    if "-" in destination:
        return destination
    net = IPv4Network(destination)
    return f"{net.network_address}-{IPv4Address(int(net.broadcast_address))}"
