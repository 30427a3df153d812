"""Rules of netfilter's ip tables as canonical values.

One kernel state has one spelling here, whichever reader brought it: addresses are integers with their masks, ports are
ranges, marks are value and mask, rates are the kernel's own periods. So two rules are the same rule exactly when they
are equal, and text is never compared. What this project has no word for is kept whole in `OpaqueMatch` and
`OpaqueTarget`, which equal only themselves: nothing read is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from operator import attrgetter

from attrs import field, frozen

from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.match import (
    ALL_BITS,
    DCCP,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    AddressMatch,
    AddressTypeMatch,
    CommentMatch,
    HashLimitMatch,
    IcmpMatch,
    InterfaceMatch,
    IpRangeMatch,
    LimitMatch,
    MarkMatch,
    Match,
    MultiportMatch,
    OpaqueMatch,
    PortRange,
    ProtocolMatch,
    StateMatch,
    TransportMatch,
)
from c2c_auditor.model.table import Hook
from c2c_auditor.model.target import (
    ACCEPT,
    DROP,
    NO_TARGET,
    REJECT,
    REJECTS,
    RETURN,
    Dnat,
    Goto,
    Jump,
    Log,
    Masquerade,
    NoTarget,
    OpaqueTarget,
    Policy,
    Reject,
    SetMark,
    Target,
    Verdict,
)

__all__ = [
    "ACCEPT",
    "ALL_BITS",
    "DCCP",
    "DROP",
    "ICMP",
    "ICMPV6",
    "NO_TARGET",
    "REJECT",
    "REJECTS",
    "RETURN",
    "SCTP",
    "TCP",
    "UDP",
    "UDPLITE",
    "AddressFamily",
    "AddressMatch",
    "AddressTypeMatch",
    "Backend",
    "Base",
    "Chain",
    "CommentMatch",
    "Disagreement",
    "Dnat",
    "Goto",
    "HashLimitMatch",
    "IcmpMatch",
    "InterfaceMatch",
    "IpRangeMatch",
    "Jump",
    "LimitMatch",
    "Log",
    "Loss",
    "MarkMatch",
    "Masquerade",
    "Match",
    "MultiportMatch",
    "NoTarget",
    "OpaqueMatch",
    "OpaqueTarget",
    "Policy",
    "PortRange",
    "ProtocolMatch",
    "Reject",
    "Rule",
    "Ruleset",
    "SetMark",
    "StateMatch",
    "Table",
    "Target",
    "TransportMatch",
    "Verdict",
]


@frozen(kw_only=True, eq=False)
class Rule:
    """One rule: all of its conditions must hold. ``matches`` stand in canonical order (`netfilter.canonical`).

    Equal by value. Written by hand, because tuples take equal parts that are the same object for equal without asking
    them, and because tens of thousands are made at a time: an attrs class sets its fields by name, at twice the cost.
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

    def __init__(
        self,
        *,
        source: AddressMatch | None = None,
        destination: AddressMatch | None = None,
        in_interface: InterfaceMatch | None = None,
        out_interface: InterfaceMatch | None = None,
        protocol: ProtocolMatch | None = None,
        fragment: bool | None = None,
        matches: tuple[Match, ...] = (),
        target: Target = NO_TARGET,
    ) -> None:
        _set_source(self, source)
        _set_destination(self, destination)
        _set_in_interface(self, in_interface)
        _set_out_interface(self, out_interface)
        _set_protocol(self, protocol)
        _set_fragment(self, fragment)
        _set_matches(self, matches)
        _set_target(self, target)
        _set_hash(self, hash((source, destination, in_interface, out_interface, protocol, fragment, matches, target)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rule):
            return NotImplemented
        return self._hash == other._hash and _parts(self) == _parts(other)

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuilt from its parts: a hash of strings is another one in another process."""
        return _rebuilt, _parts(self)


_PARTS = ("source", "destination", "in_interface", "out_interface", "protocol", "fragment", "matches", "target")
_parts = attrgetter(*_PARTS)
(
    _set_source,
    _set_destination,
    _set_in_interface,
    _set_out_interface,
    _set_protocol,
    _set_fragment,
    _set_matches,
    _set_target,
    _set_hash,
) = (vars(Rule)[name].__set__ for name in (*_PARTS, "_hash"))
"""What sets a frozen rule's fields, once."""


def _rebuilt(*parts: object) -> Rule:
    return Rule(**dict(zip(_PARTS, parts, strict=True)))  # type: ignore[arg-type]  # what `Rule.__reduce__` gave


class Backend(str, Enum):
    """Where a ruleset was read from; a label value of the metrics."""

    NFT = "nft"
    LEGACY = "legacy"
    TEXT = "text"


class Loss(str, Enum):
    """What a listing could not show, and an audit of it therefore cannot judge.

    ``OTHER_CHAINS``: the text is a part of a table, so a chain or rule that it does not show may be there all the same.
    ``OTHER_BACKEND``: the kernel may hold rules of the other backend, which could not be read. ``NATIVE_TABLES``: it
    held tables of nftables' own, which the recording leaves out.
    """

    INTERFACES = "interfaces"
    OTHER_TABLES = "other_tables"
    CHAIN_NAMES = "chain_names"
    HASHLIMIT_NAMES = "hashlimit_names"
    NATIVE_EXPRESSIONS = "native_expressions"
    OTHER_CHAINS = "other_chains"
    OTHER_BACKEND = "other_backend"
    NATIVE_TABLES = "native_tables"


@frozen(kw_only=True)
class Base:
    """Where a chain of a native table hangs. ``kind`` is nf_tables' chain type: ``filter``, ``nat`` or ``route``."""

    hook: Hook
    priority: int
    kind: str = "filter"


@frozen(kw_only=True)
class Chain:
    """Rules in order; ``policy`` is that of a built-in chain, else None.

    ``base`` is None for iptables' chains: where its built-in ones hang is data of their table (`model.table`), and no
    packet comes to the others but by a jump.

    ``packets`` are counters in the same order; ``whole`` is False where a text shows rules but not that they are all of
    the chain's. Neither is part of equality.
    """

    name: str
    policy: str | None = None
    rules: tuple[Rule, ...] = ()
    base: Base | None = None
    packets: tuple[int, ...] | None = field(default=None, eq=False)
    whole: bool = field(default=True, eq=False)


@frozen(kw_only=True)
class Table:
    """Chains by name: one of iptables' tables, or a native one, whose name has its family in front (``inet mine``)."""

    name: str
    chains: Mapping[str, Chain]


@frozen(kw_only=True)
class Disagreement:
    """A rule that two readers of one kernel read differently, as each would print it; empty for one that has none.

    ``position`` counts from 1. ``witness`` is the program that was the second reader.
    """

    table: str
    chain: str
    position: int
    read: str
    witnessed: str
    witness: str


@frozen(kw_only=True)
class Ruleset:
    """All that one backend holds of one address family, as far as it was read.

    ``origin`` says from where, ``reader`` which program's version read it (empty when that is not known), ``warnings``
    what the reader could not be sure of, ``disagreements`` where a second reader contradicted it. ``natives`` are
    nf_tables' other tables, those of family ``inet`` too, with the rules that packets of ``family`` can meet.
    """

    tables: Mapping[str, Table]
    natives: tuple[Table, ...] = ()
    family: AddressFamily = AddressFamily.IPV4
    backend: Backend = field(default=Backend.TEXT, eq=False)
    origin: str = field(default="", eq=False)
    reader: str = field(default="", eq=False)
    lost: frozenset[Loss] = frozenset()
    warnings: tuple[str, ...] = field(default=(), eq=False)
    disagreements: tuple[Disagreement, ...] = ()

    def chains(self, table: str) -> Mapping[str, Chain]:
        """The chains of ``table``; empty if the table is not there."""
        found = self.tables.get(table)
        return found.chains if found is not None else {}
