"""The tables of iptables and the hooks that they hang on, as data.

Sources: Linux include/uapi/linux/netfilter_ipv4.h (``enum nf_ip_hook_priorities``; IPv6 has the same numbers in
netfilter_ipv6.h) and the ``valid_hooks`` of net/ipv4/netfilter/iptable_NAME.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import frozen


class Hook(str, Enum):
    """Where on its way a packet meets a table; the value is also the name of the built-in chain there."""

    PREROUTING = "PREROUTING"
    INPUT = "INPUT"
    FORWARD = "FORWARD"
    OUTPUT = "OUTPUT"
    POSTROUTING = "POSTROUTING"


@frozen(kw_only=True)
class TableSpec:
    """A table of the kernel's: its hooks, each with the priority that orders tables on one hook, the smallest first.

    ``nft_priority`` is that of all its hooks where iptables-nft hangs it in another place (iptables/nft.c,
    ``xtables_ipv4``).
    """

    name: str
    hooks: Mapping[Hook, int]
    nft_priority: int | None = None

    def priority(self, hook: Hook, *, nft: bool) -> int:
        """The priority on one of its hooks."""
        return self.nft_priority if nft and self.nft_priority is not None else self.hooks[hook]


RAW = TableSpec(name="raw", hooks=dict.fromkeys((Hook.PREROUTING, Hook.OUTPUT), -300))
MANGLE = TableSpec(name="mangle", hooks=dict.fromkeys(Hook, -150))
NAT = TableSpec(name="nat", hooks={Hook.PREROUTING: -100, Hook.OUTPUT: -100, Hook.INPUT: 100, Hook.POSTROUTING: 100})
FILTER = TableSpec(name="filter", hooks=dict.fromkeys((Hook.INPUT, Hook.FORWARD, Hook.OUTPUT), 0))
SECURITY = TableSpec(
    name="security", hooks=dict.fromkeys((Hook.INPUT, Hook.FORWARD, Hook.OUTPUT), 50), nft_priority=150
)

TABLES = (RAW, MANGLE, NAT, FILTER, SECURITY)
"""Every table that iptables knows."""

READ_TABLES = (FILTER, NAT, MANGLE, RAW, SECURITY)
"""The tables that the readers read, in this order."""

BUILT_IN_CHAINS = frozenset(hook.value for hook in Hook)

TABLE_OF_CHAINS = {frozenset(hook.value for hook in table.hooks): table.name for table in (NAT, MANGLE, RAW)}
"""The table that has exactly these built-in chains; security has filter's, and is not told from it."""
