"""The names that silk gives to its chains, and what a name says of its chain.

All are cut at 28 characters (lib/rules, ``maxChainLength``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from attrs import frozen

from c2c_auditor.model.cell import Container
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.netfilter.cached import cached

_LENGTH = 28
_POLICY_CHAIN = re.compile(r"vpa--(\d{1,19})")
CONTAINER_INTERFACE_PREFIX = "s-"


class ChainFamily(str, Enum):
    """What a chain of silk's is for. Every family but `POLICY` has one chain for each container."""

    POLICY = "policy"
    OVERLAY = "overlay"
    NETOUT = "netout"
    NETOUT_LOG = "netout log"
    RATE_LIMIT_LOG = "rate-limit log"
    INPUT = "input"
    NETIN = "netin"
    ASG = "asg"
    ASG_CANDIDATE = "casg candidate"


# A security group chain's next content, until VPA renames it (vxlan-policy-agent/enforcer, ``candidateChainName``).
_CANDIDATE = "c"
_LOG, _RATE_LIMIT_LOG = "--log", "--rl-log"
_PREFIXES = {
    "overlay--": ChainFamily.OVERLAY,
    "netout--": ChainFamily.NETOUT,
    "input--": ChainFamily.INPUT,
    "netin--": ChainFamily.NETIN,
    "asg-": ChainFamily.ASG,
    f"{_CANDIDATE}asg-": ChainFamily.ASG_CANDIDATE,
}
_WRITTEN_BY_VPA = (ChainFamily.POLICY, ChainFamily.ASG, ChainFamily.ASG_CANDIDATE)


@cached
def family_of(chain: str) -> ChainFamily | None:
    """The family that a chain's name shows, None for a name that silk does not give."""
    if policy_chain_time(chain) is not None:
        return ChainFamily.POLICY
    prefix = _prefix(chain)
    if prefix == "netout--" and chain.endswith(_RATE_LIMIT_LOG):
        return ChainFamily.RATE_LIMIT_LOG
    if prefix == "netout--" and chain.endswith(_LOG):
        return ChainFamily.NETOUT_LOG
    return _PREFIXES.get(prefix)


def handle_part(chain: str) -> str:
    """What a container chain's name keeps of the handle, without dashes; a log chain's suffix follows it."""
    return chain.removeprefix(_prefix(chain)).replace("-", "")


def _prefix(chain: str) -> str:
    return next((prefix for prefix in _PREFIXES if chain.startswith(prefix)), "")


def policy_chain_time(chain: str) -> float | None:
    """Seconds since the epoch at which a ``vpa--MICROSECONDS`` chain was made; None for any other name."""
    found = _POLICY_CHAIN.fullmatch(chain)
    return int(found[1]) / 1e6 if found else None


def policy_chain_name(seconds: float) -> str:
    """The policy chain that VPA would make at this time (vxlan-policy-agent/enforcer, ``uniqueTimestampedName``)."""
    return f"vpa--{round(seconds * 1e6)}"


def overlay(handle: str) -> str:
    """The chain with a container's default deny."""
    return f"overlay--{handle}"[:_LENGTH]


def container_interface(container: Container) -> str:
    """The cell's end of a container's veth pair: ``s-`` and its IPv4 address, three digits for each octet.

    Source: silk's cni/config ``DeviceNameGenerator``.
    """
    digits = "".join(f"{octet:03}" for octet in container.address.packed)
    return container.interface or CONTAINER_INTERFACE_PREFIX + digits


def netout(handle: str) -> str:
    """The chain of a container's egress towards the underlay."""
    return f"netout--{handle}"[:_LENGTH]


def netout_log(handle: str) -> str:
    """The chain that logs and accepts what a security group's rule allows."""
    return f"netout--{handle}"[: _LENGTH - len(_LOG)] + _LOG


def netout_rate_limit_log(handle: str) -> str:
    """The chain that logs and rejects connections beyond the rate limit."""
    return f"netout--{handle}"[: _LENGTH - len(_RATE_LIMIT_LOG)] + _RATE_LIMIT_LOG


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


def asg_candidate(handle: str) -> str:
    """The chain of a container's security groups while VPA replaces it."""
    return f"{_CANDIDATE}{asg(handle)}"


def is_container_chain(chain: str) -> bool:
    """Whether a chain's name is of the kind that belongs to one container."""
    return family_of(chain) not in (None, ChainFamily.POLICY)


def silks(ruleset: Ruleset) -> list[str]:
    """The names of all of silk's chains, in alphabetical order."""
    names = (name for table in ruleset.tables.values() for name in table.chains)
    return sorted(name for name in names if family_of(name) is not None)


def author(chains: Iterable[str]) -> str:
    """Which of silk's programs writes to such chains: ``vpa``, ``cni``, or ``foreign`` for neither."""
    found = "foreign"
    for family in map(family_of, chains):
        if family in _WRITTEN_BY_VPA:
            return "vpa"
        if family is not None:
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
    asg_candidate: str

    @classmethod
    @cached
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
            asg_candidate=asg_candidate(handle),
        )
