"""Conditions of a rule.

All leaf values cache their hash, because a ruleset of 300,000 rules is compared through sets and dictionaries.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from attrs import frozen

ALL_BITS = 0xFFFFFFFF
TCP, UDP, ICMP, SCTP, DCCP, UDPLITE = 6, 17, 1, 132, 33, 136


@frozen(kw_only=True, cache_hash=True)
class AddressMatch:
    """``-s`` or ``-d``: a packet's address AND ``mask`` equals ``value``.

    Masks need not be contiguous; the kernel allows that.
    """

    value: int
    mask: int = ALL_BITS
    negated: bool = False

    @property
    def host(self) -> IPv4Address | None:
        """The one address this matches, or None if it matches none or several."""
        return IPv4Address(self.value) if self.mask == ALL_BITS and not self.negated else None


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


@frozen(kw_only=True, cache_hash=True)
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
    """``-m hashlimit``: ``period`` in 1/1,000,000 s between two packets, ``mode`` sorted, times in ms, 0 where not given."""

    name: str
    period: int
    burst: int = 5
    above: bool = False
    mode: tuple[str, ...] = ()
    source_mask: int = 32
    destination_mask: int = 32
    expire: int = 0
    size: int = 0
    maximum: int = 0
    interval: int = 0


@frozen(kw_only=True, cache_hash=True)
class IpRangeMatch:
    """``-m iprange``: (first, last, negated) as integers for source and destination."""

    source: tuple[int, int, bool] | None = None
    destination: tuple[int, int, bool] | None = None


@frozen(kw_only=True, cache_hash=True)
class IcmpMatch:
    """``-m icmp``: ``type`` 255 is any; ``code`` is (lowest, highest)."""

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
