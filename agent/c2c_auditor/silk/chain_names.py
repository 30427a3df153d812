"""The names that silk gives to its chains. All are cut at 28 characters (lib/rules, ``maxChainLength``)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address

from attrs import frozen

_LENGTH = 28
_POLICY_CHAIN = re.compile(r"vpa--(\d{1,19})")
CONTAINER_INTERFACE_PREFIX = "s-"
_PREFIXES = ("overlay--", "netout--", "input--", "netin--", "casg-", "asg-")


def policy_chain_time(chain: str) -> float | None:
    """Seconds since the epoch at which a ``vpa--MICROSECONDS`` chain was made; None for any other name."""
    found = _POLICY_CHAIN.fullmatch(chain)
    return int(found[1]) / 1e6 if found else None


def overlay(handle: str) -> str:
    """The chain with a container's default deny."""
    return f"overlay--{handle}"[:_LENGTH]


def container_interface(address: IPv4Address) -> str:
    """The cell's end of a container's veth pair (silk's cni/config ``DeviceNameGenerator``): ``s-`` and the address, three digits an octet."""
    return CONTAINER_INTERFACE_PREFIX + "".join(f"{octet:03}" for octet in address.packed)


def netout(handle: str) -> str:
    """The chain of a container's egress towards the underlay."""
    return f"netout--{handle}"[:_LENGTH]


def netout_log(handle: str) -> str:
    """The chain that logs and accepts what a security group's rule allows."""
    return f"netout--{handle}"[: _LENGTH - len("--log")] + "--log"


def netout_rate_limit_log(handle: str) -> str:
    """The chain that logs and rejects connections beyond the rate limit."""
    return f"netout--{handle}"[: _LENGTH - len("--rl-log")] + "--rl-log"


def input_(handle: str) -> str:
    """The chain of what a container may reach on the cell itself."""
    return f"input--{handle}"[:_LENGTH]


def netin(handle: str) -> str:
    """The chain of a container's mapped ports, in nat and in mangle."""
    return f"netin--{handle}"[:_LENGTH]


def _asg_key(handle: str) -> str:
    return handle.removeprefix("check-").replace("-", "")[:20]


def asg(handle: str) -> str:
    """The chain of a container's security groups (vxlan-policy-agent/planner, ``ASGChainName``)."""
    return f"asg-{_asg_key(handle)}"


def is_container_chain(chain: str) -> bool:
    """Whether a chain's name is of the kind that belongs to one container."""
    return chain.startswith(_PREFIXES)


def author(chains: Iterable[str]) -> str:
    """Which of silk's programs writes to such chains: ``vpa``, ``cni``, or ``foreign`` for neither."""
    found = "foreign"
    for chain in chains:
        if policy_chain_time(chain) is not None or chain.startswith(("asg-", "casg-")):
            return "vpa"
        if is_container_chain(chain):
            found = "cni"
    return found


@frozen(kw_only=True)
class ContainerChains:
    """The names of all chains of one container."""

    overlay: str
    netout: str
    netout_log: str
    netout_rate_limit_log: str
    input: str
    netin: str
    asg: str

    @classmethod
    def of(cls, handle: str) -> ContainerChains:
        """The names that silk derives from ``handle``."""
        return cls(
            overlay=overlay(handle),
            netout=netout(handle),
            netout_log=netout_log(handle),
            netout_rate_limit_log=netout_rate_limit_log(handle),
            input=input_(handle),
            netin=netin(handle),
            asg=asg(handle),
        )
