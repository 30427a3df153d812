"""Conditions of a rule.

All leaf values cache their hash, because a ruleset of 300,000 rules is compared through sets and dictionaries.
"""

from __future__ import annotations

from attrs import field, frozen

from c2c_auditor.model.family import Address, AddressFamily

ALL_BITS = 0xFFFFFFFF
"""All bits of a mark; an address's are its family's ``all_bits``."""
TCP, UDP, ICMP, ICMPV6, SCTP, DCCP, UDPLITE = 6, 17, 1, 58, 132, 33, 136


@frozen(kw_only=True, cache_hash=True)
class AddressMatch:
    """``-s`` or ``-d``: a packet's address AND ``mask`` equals ``value``.

    Masks need not be contiguous; the kernel allows that. The mask of a host is the default.
    """

    value: int
    family: AddressFamily = AddressFamily.IPV4
    mask: int = field()
    negated: bool = False

    @mask.default
    def _mask_of_a_host(self) -> int:
        return self.family.all_bits

    @property
    def is_host(self) -> bool:
        """Whether exactly one address matches."""
        return self.mask == self.family.all_bits and not self.negated

    @property
    def host(self) -> Address | None:
        """The one address that matches, or None if none or several do."""
        return self.family.address(self.value) if self.is_host else None


@frozen(kw_only=True, cache_hash=True)
class InterfaceMatch:
    """``-i`` or ``-o``; a trailing ``+`` in ``name`` is a wildcard."""

    name: str
    negated: bool = False


@frozen(kw_only=True, cache_hash=True)
class ProtocolMatch:
    """``-p`` by IANA number, 1 to 255; protocol 0 (all) is no match at all."""

    number: int
    negated: bool = False


@frozen(kw_only=True, cache_hash=True)
class PortRange:
    """Ports ``first`` to ``last``, both included, 0 to 65535."""

    first: int
    last: int
    negated: bool = False


@frozen(kw_only=True, cache_hash=True)
class TransportMatch:
    """``-m tcp``, ``udp``, ``sctp``, ``dccp``, ``udplite``: ports, and TCP's flags as (mask, set, negated).

    Never empty: an implied bare ``-m tcp`` is no match.
    """

    protocol: int
    source: PortRange | None = None
    destination: PortRange | None = None
    tcp_flags: tuple[int, int, bool] | None = None
    tcp_option: tuple[int, bool] | None = None


@frozen(kw_only=True, cache_hash=True)
class MultiportMatch:
    """``-m multiport``; ``side`` is ``sports``, ``dports`` or ``ports`` (either)."""

    side: str
    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@frozen(kw_only=True, cache_hash=True)
class MarkMatch:
    """``-m mark``: the packet's mark AND ``mask`` equals ``value``."""

    value: int
    mask: int = ALL_BITS
    negated: bool = False


@frozen(kw_only=True)
class CommentMatch:
    """``-m comment``: matches every packet; silk keeps a rule's identity here. At most 255 bytes, any characters."""

    text: str


@frozen(kw_only=True, cache_hash=True)
class StateMatch:
    """``-m state --state`` and ``-m conntrack --ctstate``, which the kernel treats alike: sorted state names."""

    states: tuple[str, ...]
    negated: bool = False


@frozen(kw_only=True, cache_hash=True)
class LimitMatch:
    """``-m limit``: ``period`` is the kernel's average, in 1/10,000 s between two packets; ``burst`` in packets."""

    period: int
    burst: int = 5


@frozen(kw_only=True, cache_hash=True)
class HashLimitMatch:
    """``-m hashlimit``: a rate for each group of packets that ``mode`` (sorted) makes.

    ``period`` is in 1/1,000,000 s between two packets, times are in ms, 0 where not given. Without a mask given, every
    address counts by itself: a mask of the family's whole width.
    """

    name: str
    period: int
    burst: int = 5
    above: bool = False
    mode: tuple[str, ...] = ()
    family: AddressFamily = AddressFamily.IPV4
    source_mask: int = field()
    destination_mask: int = field()
    expire: int = 0
    size: int = 0
    maximum: int = 0
    interval: int = 0

    @source_mask.default
    def _whole_source(self) -> int:
        return self.family.width

    @destination_mask.default
    def _whole_destination(self) -> int:
        return self.family.width


@frozen(kw_only=True, cache_hash=True)
class IpRangeMatch:
    """``-m iprange``: (first, last, negated) as integers for source and destination."""

    family: AddressFamily = AddressFamily.IPV4
    source: tuple[int, int, bool] | None = None
    destination: tuple[int, int, bool] | None = None


@frozen(kw_only=True, cache_hash=True)
class IcmpMatch:
    """``-m icmp`` or ``-m icmp6``: ``code`` is (lowest, highest). Type 255 is any type in IPv4 alone."""

    family: AddressFamily = AddressFamily.IPV4
    type: int
    code: tuple[int, int] = (0, 255)
    negated: bool = False


@frozen(kw_only=True, cache_hash=True)
class AddressTypeMatch:
    """``-m addrtype``: sorted names of ``source`` and ``destination`` types, each with its negation.

    ``limit`` is ``in``, ``out`` or empty.
    """

    source: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()
    source_negated: bool = False
    destination_negated: bool = False
    limit: str = ""


@frozen(kw_only=True, cache_hash=True)
class OpaqueMatch:
    """A match without a word of its own here: module and arguments as they were read. It *may* match."""

    module: str
    arguments: tuple[str, ...] = ()


Match = (
    TransportMatch
    | MultiportMatch
    | MarkMatch
    | CommentMatch
    | StateMatch
    | LimitMatch
    | HashLimitMatch
    | IpRangeMatch
    | IcmpMatch
    | AddressTypeMatch
    | OpaqueMatch
)
