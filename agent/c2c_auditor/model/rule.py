"""Rules of netfilter's ip tables as canonical values.

One kernel state has one spelling here, whichever reader brought it: addresses are integers with their masks, ports are ranges, marks are
value and mask, rates are the kernel's own periods. So two rules are the same rule exactly when they are equal, and text is never compared.
What this project has no word for is kept whole in `OpaqueMatch` and `OpaqueTarget`, which equal only themselves: nothing read is dropped.

All leaf values cache their hash, because a ruleset of 300,000 rules is compared through sets and dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address

from attrs import field, frozen

ALL_BITS = 0xFFFFFFFF
TCP, UDP, ICMP, SCTP, DCCP, UDPLITE = 6, 17, 1, 132, 33, 136


@frozen(kw_only=True, cache_hash=True)
class AddressMatch:
    """``-s`` or ``-d``: a packet's address AND ``mask`` equals ``value``. Masks need not be contiguous; the kernel allows that."""

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
    """``-m addrtype``: sorted names of ``source`` and ``destination`` types, each with its negation; ``limit`` is ``in``, ``out`` or empty."""

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


@frozen(kw_only=True, cache_hash=True)
class Verdict:
    """A target that decides or returns: ``ACCEPT``, ``DROP``, ``RETURN`` or ``QUEUE``."""

    name: str


@frozen(kw_only=True, cache_hash=True)
class Reject:
    """``-j REJECT``; ``answer`` is the ICMP error sent back."""

    answer: str = "icmp-port-unreachable"


@frozen(kw_only=True, cache_hash=True)
class SetMark:
    """``-j MARK --set-xmark``: mark = (mark AND NOT ``mask``) XOR ``value``; the other spellings are rewritten to this one."""

    value: int
    mask: int = ALL_BITS


@frozen(kw_only=True, cache_hash=True)
class Log:
    """``-j LOG``: syslog ``level``, ``prefix`` of at most 29 bytes, ``flags`` as the kernel's bits (1 tcp-seq, 2 tcp-opt, 4 ip-opt, 8 uid, 32 mac)."""

    prefix: str = ""
    level: int = 4
    flags: int = 0


@frozen(kw_only=True, cache_hash=True)
class Jump:
    """``-j CHAIN``: on, and back if nothing there decides."""

    chain: str


@frozen(kw_only=True, cache_hash=True)
class Goto:
    """``-g CHAIN``: on, and back to the caller of this chain."""

    chain: str


@frozen(kw_only=True, cache_hash=True)
class Dnat:
    """``-j DNAT --to-destination``: (first, last) address as integers, and ports or None."""

    addresses: tuple[int, int] | None
    ports: tuple[int, int] | None = None
    options: tuple[str, ...] = ()


@frozen(kw_only=True, cache_hash=True)
class Masquerade:
    """``-j MASQUERADE``."""

    ports: tuple[int, int] | None = None
    options: tuple[str, ...] = ()


@frozen(kw_only=True, cache_hash=True)
class NoTarget:
    """A rule that only counts."""


@frozen(kw_only=True, cache_hash=True)
class OpaqueTarget:
    """A target without a word of its own here. It *may* end the walk."""

    name: str
    arguments: tuple[str, ...] = ()


Target = Verdict | Reject | SetMark | Log | Jump | Goto | Dnat | Masquerade | NoTarget | OpaqueTarget

ACCEPT = Verdict(name="ACCEPT")
DROP = Verdict(name="DROP")
RETURN = Verdict(name="RETURN")
REJECT = Reject()
NO_TARGET = NoTarget()


@frozen(kw_only=True, eq=False)
class Rule:
    """One rule: all of its conditions must hold. ``matches`` stand in canonical order (`netfilter.canonical`).

    Equal by value. Written by hand, because tuples take equal parts that are the same object for equal without asking them.
    """

    source: AddressMatch | None = None
    destination: AddressMatch | None = None
    in_interface: InterfaceMatch | None = None
    out_interface: InterfaceMatch | None = None
    protocol: ProtocolMatch | None = None
    fragment: bool | None = None
    matches: tuple[Match, ...] = ()
    target: Target = NO_TARGET
    _hash: int = field(init=False, repr=False)

    @_hash.default
    def _hash_once(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[object, ...]:
        return (
            self.source,
            self.destination,
            self.in_interface,
            self.out_interface,
            self.protocol,
            self.fragment,
            self.matches,
            self.target,
        )

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rule):
            return NotImplemented
        return self._hash == other._hash and self._parts() == other._parts()

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuilt from its parts: a hash of strings is another one in another process."""
        return _rebuilt, self._parts()


def _rebuilt(*parts: object) -> Rule:
    names = ("source", "destination", "in_interface", "out_interface", "protocol", "fragment", "matches", "target")
    return Rule(**dict(zip(names, parts, strict=True)))  # type: ignore[arg-type]  # what `Rule.__reduce__` gave


class Backend(str, Enum):
    """Where a ruleset was read from; a label value of the metrics."""

    NFT = "nft"
    LEGACY = "legacy"
    TEXT = "text"


class Loss(str, Enum):
    """What a listing could not show, and an audit of it therefore cannot judge."""

    INTERFACES = "interfaces"
    OTHER_TABLES = "other_tables"
    CHAIN_NAMES = "chain_names"
    HASHLIMIT_NAMES = "hashlimit_names"


@frozen(kw_only=True)
class Chain:
    """Rules in order; ``policy`` is that of a built-in chain, else None. ``packets`` are counters in the same order, no part of equality."""

    name: str
    policy: str | None = None
    rules: tuple[Rule, ...] = ()
    packets: tuple[int, ...] | None = field(default=None, eq=False)


@frozen(kw_only=True)
class Table:
    """``filter``, ``nat`` or ``mangle``: chains by name."""

    name: str
    chains: Mapping[str, Chain]


@frozen(kw_only=True)
class Ruleset:
    """All that one backend holds, as far as it was read. ``origin`` says from where, ``warnings`` what the reader could not be sure of."""

    tables: Mapping[str, Table]
    backend: Backend = field(default=Backend.TEXT, eq=False)
    origin: str = field(default="", eq=False)
    lost: frozenset[Loss] = frozenset()
    warnings: tuple[str, ...] = field(default=(), eq=False)

    def chains(self, table: str) -> Mapping[str, Chain]:
        """The chains of ``table``; empty if the table is not there."""
        found = self.tables.get(table)
        return found.chains if found is not None else {}
