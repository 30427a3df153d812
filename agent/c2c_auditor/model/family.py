"""The two address families of netfilter's tables: what differs between them, as one value.

Sources: Linux include/uapi/linux/netfilter.h (``NFPROTO_IPV4``, ``NFPROTO_IPV6``); iptables extensions/libipt_REJECT.c,
libip6t_REJECT.c, libipt_icmp.c and libip6t_icmp6.c.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address


class AddressFamily(Enum):
    """IPv4 or IPv6. The member's value is its name in configuration, metrics and texts for people."""

    width: int
    """Bits of an address."""
    all_bits: int
    """The mask of a single host."""
    icmp: int
    """IANA number of the family's ICMP."""
    icmp_match: str
    """The match on ICMP types, as ``-m`` names it, and its option."""
    icmp_option: str
    reject_answer: str
    """What REJECT answers when no ``--reject-with`` is given."""
    tool: str
    """iptables' program for the family."""
    nfproto: int
    """The family's number in netlink messages."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"

    def __init__(self, label: str) -> None:
        first = label == "ipv4"
        self.width = 32 if first else 128
        self.all_bits = (1 << self.width) - 1
        self.icmp = 1 if first else 58
        self.icmp_match = "icmp" if first else "icmp6"
        self.icmp_option = "--icmp-type" if first else "--icmpv6-type"
        self.reject_answer = "icmp-port-unreachable" if first else "icmp6-port-unreachable"
        self.tool = "iptables" if first else "ip6tables"
        self.nfproto = 2 if first else 10

    def address(self, number: int) -> Address:
        """The address with this number."""
        return IPv4Address(number) if self is AddressFamily.IPV4 else IPv6Address(number)

    def number(self, text: str) -> int:
        """The number of an address that is written in the family's notation. Raises ValueError for any other text."""
        if self is AddressFamily.IPV4:
            return int(IPv4Address(text))
        if "%" in text:  # a zone is no part of an address in a rule
            raise ValueError(text)
        return int(IPv6Address(text))

    def prefix_mask(self, length: int) -> int:
        """The mask whose first ``length`` bits are set."""
        return (self.all_bits << (self.width - length)) & self.all_bits

    @classmethod
    def of(cls, version: int) -> AddressFamily:
        """The family of `ipaddress` values, by their ``version``."""
        return cls.IPV4 if version == 4 else cls.IPV6  # noqa: PLR2004 - IP version 4
