"""Strategies for whole filter tables, of few values, so that packets meet rules.

Packets are made of the same values (`support.packets`).

Every match and target is drawn that the evaluator judges, and with ``doubt`` those too of which it only says *may*.
"""

from __future__ import annotations

from functools import cache

from attrs import frozen
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from support.hosts import CLIENTS, INTERFACES, MARKS, OWN, SERVERS

Chains = dict[str, r.Chain]

BUILT_IN = ("FORWARD", "INPUT")
USER_CHAINS = ("one", "two", "three")
PORTS = (0, 1, 2, 52, 53, 54, 79, 80, 81, 8079, 8080, 8081, 65534, 65535)
ICMP_TYPES = (0, 3, 5, 8, 11, 13, 42)
ICMP_CODES = (0, 1, 2, 3)
TCP_OPTIONS = (2, 3, 8, 30)
# Flags as they occur, and as they do not: SYN, SYN ACK, ACK, FIN ACK, RST, RST ACK, PSH ACK, SYN URG, FIN PSH URG,
# none, all.
TCP_FLAGS = (0x02, 0x12, 0x10, 0x11, 0x04, 0x14, 0x18, 0x22, 0x29, 0x00, 0x3F)
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
WITH_PORTS = (r.TCP, r.UDP, r.SCTP, r.DCCP, r.UDPLITE)
# The last two a rule can only name; those of which there is most to ask stand more than once.
PROTOCOLS = (r.TCP, r.TCP, r.TCP, r.UDP, r.UDP, r.ICMP, r.ICMP, r.SCTP, r.DCCP, r.UDPLITE, 47, 253)

_ADDRESSES = (*CLIENTS, *SERVERS, *OWN)
# Prefixes, and masks that are none: the kernel takes any.
_MASKS = (
    *((r.ALL_BITS << (32 - length)) & r.ALL_BITS for length in (32, 31, 30, 29, 24, 17, 8)),
    0x1,
    0xFFFF0003,
    0xFF00FF05,
    0xFFFFFFFA,
)
_NAMES = (*INTERFACES, "s-+", "s+", "silk-vte+", "silk-vtep+", "silk-vtep0", "eth0", "+")
_BITS = (r.ALL_BITS, 0x1, 0x3, 0xFFFF, 0xFFFF0000, 0x80000000, 0)
_ANSWERS = ("icmp-port-unreachable", "icmp-net-prohibited", "icmp-admin-prohibited")
_SOMETIMES = st.sampled_from((False, False, True))
_THIRD = st.sampled_from((False, False, True))
_RARELY = st.sampled_from((*(False,) * 24, True))


@frozen(kw_only=True)
class World:
    """What may be drawn.

    ``doubt``: matches and targets that the evaluator is not sure of. ``tracking``: conntrack runs, so rules may ask for
    states, and fragments are put together before any rule sees them.
    """

    doubt: bool = True
    tracking: bool = True


def _masked(drawn: tuple[int, int, bool]) -> r.AddressMatch:
    value, mask, negated = drawn
    return r.AddressMatch(value=value & mask, mask=mask, negated=negated)


def _pairs(values: tuple[int, ...]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.sampled_from(values), st.sampled_from(values)).map(lambda pair: (min(pair), max(pair)))


# All ports negated is no port at all: iptables-nft 1.8.9 loads it as a rule without that condition.
_PORTS = (
    st.tuples(_pairs(PORTS), _SOMETIMES)
    .filter(lambda drawn: drawn != ((0, 65535), True))
    .map(lambda drawn: canonical.ports(*drawn[0], negated=drawn[1]))
)
_END = st.none() | st.tuples(_pairs(_ADDRESSES), _SOMETIMES).map(lambda drawn: (*drawn[0], drawn[1]))
_CODES = st.sampled_from((*((code, code) for code in ICMP_CODES), (0, 255)))


def _kinds(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(names), min_size=1, max_size=2).map(lambda drawn: tuple(sorted(drawn)))


# Of a rule's own fields; a protocol brings its own matches along.
_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "source": st.tuples(st.sampled_from(_ADDRESSES), st.sampled_from(_MASKS), _SOMETIMES).map(_masked),
    "in_interface": st.builds(r.InterfaceMatch, name=st.sampled_from(_NAMES), negated=_SOMETIMES),
    "protocol": st.builds(r.ProtocolMatch, number=st.sampled_from(PROTOCOLS), negated=_SOMETIMES),
    "fragment": st.booleans(),
}
_FIELDS["destination"], _FIELDS["out_interface"] = _FIELDS["source"], _FIELDS["in_interface"]

_MATCHES: dict[str, st.SearchStrategy[r.Match]] = {
    "mark": st.builds(
        r.MarkMatch, value=st.sampled_from(MARKS), mask=st.sampled_from((*_BITS, *_BITS[:1] * 4)), negated=_SOMETIMES
    ),
    "comment": st.builds(canonical.comment, st.sampled_from(("src:35bf992d", "a b"))),
    "iprange": st.builds(r.IpRangeMatch, source=_END, destination=_END).filter(
        lambda match: match.source or match.destination
    ),
    # Types of the destination, of the source, of both.
    "destination type": st.builds(
        r.AddressTypeMatch,
        destination=_kinds("LOCAL", "UNICAST", "BROADCAST", "MULTICAST"),
        destination_negated=_SOMETIMES,
    ),
    "source type": st.builds(
        r.AddressTypeMatch, source=_kinds("UNICAST", "BROADCAST", "LOCAL"), source_negated=_SOMETIMES
    ),
    "types": st.builds(
        r.AddressTypeMatch,
        source=_kinds("UNICAST", "BROADCAST"),
        destination=_kinds("LOCAL", "UNICAST"),
        source_negated=_SOMETIMES,
    ),
    "state": st.builds(
        canonical.states, st.frozensets(st.sampled_from(STATES), min_size=1, max_size=3), negated=_SOMETIMES
    ),
    "doubt": st.one_of(
        st.builds(r.LimitMatch, period=st.sampled_from((100, 600_000)), burst=st.integers(1, 6)),
        st.builds(
            r.HashLimitMatch,
            name=st.sampled_from(("a", "b")),
            period=st.just(1_000_000),
            burst=st.just(3),
            mode=st.just(("srcip",)),
        ),
        st.sampled_from(
            (
                r.OpaqueMatch(module="length", arguments=("--length", "0:48")),
                r.OpaqueMatch(module="ttl", arguments=("--ttl-gt", "3")),
                r.OpaqueMatch(module="physdev", arguments=("!", "--physdev-in", "eth0")),
                r.OpaqueMatch(module="statistic", arguments=("--mode", "nth", "--every", "2", "--packet", "0")),
                r.AddressTypeMatch(destination=("LOCAL",), limit="in"),
            )
        ),
    ),
    "state and more": st.just(canonical.states(frozenset({"DNAT", "NEW"}))),
}
_MULTIPORTS: st.SearchStrategy[r.Match] = st.builds(
    r.MultiportMatch,
    side=st.sampled_from(("sports", "dports", "ports")),
    ranges=st.lists(_pairs(PORTS), min_size=1, max_size=4).map(tuple),
    negated=_SOMETIMES,
)
_ICMPS: st.SearchStrategy[r.Match] = st.builds(
    r.IcmpMatch, type=st.sampled_from(ICMP_TYPES), code=_CODES, negated=_SOMETIMES
) | st.builds(r.IcmpMatch, type=st.just(255), negated=_SOMETIMES)


@st.composite
def _transports(draw: st.DrawFn, number: int) -> r.TransportMatch | None:
    given = {"source": _PORTS, "destination": _PORTS, "tcp_flags": _FLAGS, "tcp_option": _OPTIONS}
    names = draw(st.sets(st.sampled_from(tuple(given)[: 4 if number == r.TCP else 2]), min_size=1, max_size=3))
    fields = {name: draw(given[name]) for name in sorted(names)}
    return r.TransportMatch(protocol=number, **fields) if any(fields.values()) else None  # type: ignore[arg-type]  # each name's own strategy


_FLAGS = st.tuples(st.sampled_from((0x17, 0x3F, 0x01, 0x12, 0x28)), st.sampled_from(TCP_FLAGS), st.booleans()).map(
    lambda drawn: (drawn[0], drawn[0] & drawn[1], drawn[2])
)
_OPTIONS = st.tuples(st.sampled_from(TCP_OPTIONS), st.booleans())


@cache
def _of_protocol(number: int) -> st.SearchStrategy[r.Match | None]:
    """Matches that ask for what only this protocol has."""
    if number == r.ICMP:
        return _ICMPS
    if number == r.UDPLITE:  # iptables has no `-m udplite`
        return _MULTIPORTS
    return _transports(number) | _MULTIPORTS if number in WITH_PORTS else st.none()


@cache
def _conditions(world: World, chain: str) -> st.SearchStrategy[list[str]]:
    names = [
        "source",
        "destination",
        "in_interface",
        *["protocol"] * 6,
        "mark",
        "mark",
        "comment",
        "iprange",
        "iprange",
    ]
    names += ["destination type", "source type", "types", *(["state"] * 3 if world.tracking else ["fragment"])]
    if chain != "INPUT":  # iptables refuses it there
        names.append("out_interface")
    if world.doubt:
        names += ["doubt", "state and more"] if world.tracking else ["doubt"]
    return st.lists(st.sampled_from(names), max_size=3)


_MARKING = st.builds(r.SetMark, value=st.sampled_from(MARKS), mask=st.sampled_from(_BITS))
_PASSING = st.sampled_from(
    (
        r.NO_TARGET,
        r.Log(prefix="a ", level=6),
        r.OpaqueTarget(name="NFLOG", arguments=("--nflog-group", "5")),
        r.OpaqueTarget(name="AUDIT", arguments=("--type", "accept")),
    )
)


@cache
def _targets(chain: str, *, tcp: bool) -> st.SearchStrategy[r.Target]:
    deeper = USER_CHAINS if chain in BUILT_IN else USER_CHAINS[USER_CHAINS.index(chain) + 1 :]
    answers = [r.Reject(answer=answer) for answer in (*_ANSWERS, "tcp-reset")[: None if tcp else -1]]
    ends = st.sampled_from([r.ACCEPT, r.ACCEPT, r.DROP, r.RETURN, *answers[:1], answers[-1]])
    called: list[r.Target] = [
        target for name in deeper for target in (r.Jump(chain=name), r.Jump(chain=name), r.Goto(chain=name))
    ]
    calls = st.sampled_from(called or [r.RETURN])
    return st.one_of(ends, _PASSING, _MARKING, calls)


@cache
def _doubtful_targets(world: World) -> st.SearchStrategy[r.Target]:
    found = [
        r.OpaqueTarget(name="NFQUEUE", arguments=("--queue-num", "3")),
        r.OpaqueTarget(name="NFQUEUE", arguments=("--queue-num", "3", "--queue-bypass")),
        r.OpaqueTarget(
            name="HMARK", arguments=("--hmark-tuple", "src", "--hmark-rnd", "0x00000001", "--hmark-mod", "4")
        ),
    ]
    if world.tracking:  # it would set conntrack to work
        found.append(
            r.OpaqueTarget(
                name="CONNMARK", arguments=("--restore-mark", "--nfmask", "0xffffffff", "--ctmask", "0xffffffff")
            )
        )
    return st.sampled_from(found)


@st.composite
def rules(draw: st.DrawFn, world: World, chain: str, *, counting: bool = False) -> r.Rule:
    """A rule for ``chain``, as the kernel takes it.

    It calls only chains that stand behind ``chain``, so that there is no loop.

    A ``counting`` one lets every packet go on.
    """
    fields: dict[str, object] = {}
    matches: list[r.Match] = []
    for name in draw(_conditions(world, chain)):
        if name in _FIELDS:
            fields[name] = draw(_FIELDS[name])
        else:
            matches.append(draw(_MATCHES[name]))
    protocol = fields.get("protocol")
    named = protocol.number if isinstance(protocol, r.ProtocolMatch) and not protocol.negated else 0
    if named and not draw(_SOMETIMES) and (match := draw(_of_protocol(named))) is not None:
        matches.append(match)
    if counting:
        target = draw(_PASSING | _MARKING)
    else:
        doubtful = world.doubt and draw(_RARELY)
        target = draw(_doubtful_targets(world) if doubtful else _targets(chain, tcp=named == r.TCP))
    return r.Rule(matches=canonical.matches_in_order(matches), target=target, **fields)  # type: ignore[arg-type]  # each name's own strategy


@cache
def _lists(world: World, chain: str, *, counting: bool) -> st.SearchStrategy[list[r.Rule]]:
    if counting and chain in BUILT_IN:  # every packet meets every rule
        return st.lists(rules(world, chain, counting=True), min_size=16, max_size=28)
    return st.lists(rules(world, chain), min_size=2 if chain in BUILT_IN else 1, max_size=5)


@st.composite
def tables(draw: st.DrawFn, world: World) -> Chains:
    """A filter table: INPUT, FORWARD, and user chains that call each other.

    In one of three every packet meets every rule.
    """
    counting = draw(_THIRD)
    return {
        name: r.Chain(
            name=name,
            policy=draw(st.sampled_from(("ACCEPT", "DROP"))) if name in BUILT_IN else None,
            rules=tuple(draw(_lists(world, name, counting=counting))),
        )
        for name in (*BUILT_IN, *(() if counting else USER_CHAINS))
    }
