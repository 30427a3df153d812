"""Decodes nf_tables' messages about tables and chains. Sources: Linux include/uapi/linux/netfilter/nf_tables.h."""

from __future__ import annotations

from attrs import field, frozen

from c2c_auditor.model.rule import Base
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.native.attributes import attributes, number, text

INET, IPV4, IPV6 = 1, 2, 10
FAMILY_NAMES = {INET: "inet", IPV4: "ip", 3: "arp", 5: "netdev", 7: "bridge", IPV6: "ip6"}
HEADER = 4
"""Bytes of ``struct nfgenmsg``, of which the first is the family."""
_HOOKS = (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING)
_POLICIES = {0: "DROP", 1: "ACCEPT"}
_DORMANT = 1


@frozen(kw_only=True)
class TableMessage:
    """A table of a family (`INET`, …). One that is ``dormant`` is there, and no packet meets it."""

    family: int
    name: str
    dormant: bool


@frozen(kw_only=True)
class ChainMessage:
    """A chain. ``handle`` stays when it is renamed.

    ``elsewhere`` is True for a base chain on a hook that iptables has none of (ingress); its ``base`` is None. ``uses``
    counts its rules and those that jump to it, when the message was made; it is no part of equality.
    """

    family: int
    table: str
    name: str
    handle: int
    base: Base | None
    policy: str | None
    elsewhere: bool
    uses: int = field(default=0, eq=False)


def table_message(payload: bytes) -> TableMessage:
    """NEWTABLE or DELTABLE."""
    found = attributes(payload, HEADER)
    return TableMessage(
        family=payload[0], name=text(found.get(1, b"")), dormant=bool(number(found.get(2, b"")) & _DORMANT)
    )


def chain_message(payload: bytes) -> ChainMessage:
    """NEWCHAIN or DELCHAIN."""
    found = attributes(payload, HEADER)
    hook = attributes(found[4]) if 4 in found else None  # noqa: PLR2004 - NFTA_CHAIN_HOOK
    base = None if hook is None else _base(hook, text(found.get(7, b"")))
    return ChainMessage(
        family=payload[0],
        table=text(found.get(1, b"")),
        name=text(found.get(3, b"")),
        handle=number(found.get(2, b"")),
        base=base,
        policy=_POLICIES.get(number(found[5])) if hook is not None and 5 in found else None,  # noqa: PLR2004 - NFTA_CHAIN_POLICY
        elsewhere=hook is not None and base is None,
        uses=number(found.get(6, b"")),
    )


def _base(hook: dict[int, bytes], kind: str) -> Base | None:
    at = number(hook.get(1, b""))
    if at >= len(_HOOKS):
        return None
    priority = int.from_bytes(hook.get(2, b""), "big", signed=True)
    return Base(hook=_HOOKS[at], priority=priority, kind=kind)
