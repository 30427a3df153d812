"""What each expression of nf_tables does in a `Walk`: one function for each that is understood.

Source: Linux include/uapi/linux/netfilter/nf_tables.h; net/netfilter/nft_NAME.c.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.extensions import decode_match, decode_target
from c2c_auditor.netfilter.native import loads, statements
from c2c_auditor.netfilter.native.attributes import attributes, number, text
from c2c_auditor.netfilter.native.loads import EQUAL, UNEQUAL, WITHIN, WITHOUT, Load
from c2c_auditor.netfilter.native.statements import Values
from c2c_auditor.netfilter.native.walk import End, Never, Walk

_COMPARISONS = (EQUAL, UNEQUAL, loads.LESS, loads.AT_MOST, loads.MORE, loads.AT_LEAST)
_RANGES = (WITHIN, WITHOUT)
_VALUE, _VERDICT = 1, 2
_PAYLOAD_DREG, _PAYLOAD_SREG = 1, 5
_DREG, _SREG = 1, 3
_CT_SREG = 4
_LIMIT_UNIT, _LIMIT_BURST, _LIMIT_TYPE, _LIMIT_FLAGS = 2, 3, 4, 5
_OBJECT_SET = 4
_COUNTER_OBJECT = 1

# What some expressions do that say nothing of a packet's way, in the words that iptables has for it.
_META_SET = {2: "CLASSIFY", 12: "TRACE", 14: "SECMARK"}
_OBJECTS = {3: "CT", 7: "CT", 8: "SECMARK", 9: "CT", 10: "SYNPROXY"}


def hexadecimal(values: Values) -> Iterator[str]:
    """Attributes that have no word, by number."""
    return (f"{attribute}=0x{value.hex()}" for attribute, value in values.items())


def _data(value: bytes) -> bytes:
    """The bytes of ``struct nlattr`` NFTA_DATA_VALUE."""
    return attributes(value).get(_VALUE, b"")


def _payload(walk: Walk, values: Values) -> None:
    if _PAYLOAD_SREG in values:
        changed = (*hexadecimal(values), walk.words(values[_PAYLOAD_SREG]))
        walk.act(r.OpaqueTarget(name="nft", arguments=("payload set", *changed)))
        return
    base, offset, length = (number(values.get(at, b"")) for at in (2, 3, 4))
    walk.load(values.get(_PAYLOAD_DREG), Load(kind="payload", key=(base, offset), length=length))


def _meta(walk: Walk, values: Values) -> None:
    key = number(values.get(2, b""))
    if _SREG not in values:
        walk.load(values.get(_DREG), Load(kind="meta", key=(key, 0), length=loads.META_LENGTHS.get(key, 4)))
    elif key == loads.META_MARK:
        walk.act(_new_mark(walk, values[_SREG]))
    else:
        name = _META_SET.get(key, "nft")
        walk.act(r.OpaqueTarget(name=name, arguments=("meta set", str(key), walk.words(values[_SREG]))))


def _new_mark(walk: Walk, register: bytes) -> r.Target:
    """A fixed mark, the packet's own with some bits changed, or the connection's; HMARK stands for any other."""
    fixed, load = walk.constant(register), walk.loaded(register)
    if fixed is not None and len(fixed) == 4:  # noqa: PLR2004 - a mark's bytes
        return canonical.set_mark(_native(fixed))
    if load.kind == "meta" and load.key[0] == loads.META_MARK and load.mask is not None and load.flip is not None:
        return canonical.set_mark(_native(load.flip), ~_native(load.mask) & r.ALL_BITS)
    if load.kind == "ct" and load.key[0] == loads.CT_MARK:
        return r.OpaqueTarget(name="CONNMARK", arguments=("--restore-mark",))
    return r.OpaqueTarget(name="HMARK", arguments=("nft",))


def _native(value: bytes) -> int:
    """A number in the machine's own order."""
    return int.from_bytes(value, sys.byteorder)


def _ct(walk: Walk, values: Values) -> None:
    key = number(values.get(2, b""))
    if _CT_SREG not in values:
        walk.load(values.get(_DREG), Load(kind="ct", key=(key, number(values.get(3, b"")))))
    elif key == loads.CT_MARK:
        walk.act(r.OpaqueTarget(name="CONNMARK", arguments=("--set-mark",)))
    else:
        walk.act(r.OpaqueTarget(name="CT", arguments=("nft", "ct set", str(key), walk.words(values[_CT_SREG]))))


def _fib(walk: Walk, values: Values) -> None:
    walk.load(values.get(_DREG), Load(kind="fib", key=(number(values.get(2, b"")), number(values.get(3, b"")))))


def _bitwise(walk: Walk, values: Values) -> None:
    """Of one that was not changed yet, AND and XOR are followed; what shifts and registers do is not."""
    load, mask, flip = walk.loaded(values.get(1)), _data(values.get(4, b"")), _data(values.get(5, b""))
    plain = number(values.get(6, b"")) == 0 and load.mask is None and load.flip is None
    if plain and len(mask) == len(flip) == load.length:
        changed = evolve(load, mask=None if mask == b"\xff" * len(mask) and not any(flip) else mask, flip=flip)
    else:
        changed = Load(kind="bitwise", length=len(mask) or 4)
    walk.load(values.get(2), changed)


def _made(kind: str, destination: int, source: int | None = None) -> Callable[[Walk, Values], None]:
    """An expression that makes a value that has no word, from that of a register or from nothing."""

    def step(walk: Walk, values: Values) -> None:
        of = () if source is None or source not in values else (walk.loaded(values[source]).words,)
        walk.load(values.get(destination), Load(kind=" ".join((kind, *hexadecimal(values), *of))))

    return step


def _option(walk: Walk, values: Values) -> None:
    """An option or extension header: asked for, changed, or taken out."""
    if 1 in values:  # NFTA_EXTHDR_DREG
        walk.load(values[1], Load(kind="exthdr " + " ".join(hexadecimal(values))))
    else:
        walk.act(r.OpaqueTarget(name="TCPOPTSTRIP", arguments=("nft", *hexadecimal(values))))


def _compare(walk: Walk, values: Values) -> None:
    _asked(walk, values, _COMPARISONS, (_data(values.get(3, b"")),))


def _range(walk: Walk, values: Values) -> None:
    _asked(walk, values, _RANGES, (_data(values.get(3, b"")), _data(values.get(4, b""))))


def _asked(walk: Walk, values: Values, known: tuple[str, ...], given: tuple[bytes, ...]) -> None:
    """A comparison with what is ``given``: values of one length."""
    load, how = walk.loaded(values.get(1)), number(values.get(2, b""))
    if how < len(known) and given[0] and len(given[-1]) == len(given[0]):
        walk.ask(load, known[how], *given)
    else:
        walk.match(r.OpaqueMatch(module="nft", arguments=(load.words, *hexadecimal(values))))


def _lookup(walk: Walk, values: Values) -> None:
    """A set decides whether the rule matches, a map gives a value, a verdict map a verdict: by name alone."""
    name, words = f"@{text(values.get(1, b''))}", walk.loaded(values.get(2)).words
    how = "!=" if number(values.get(5, b"")) & 1 else "=="
    walk.match(r.OpaqueMatch(module="nft", arguments=(words, how, name)))
    if 3 not in values:  # noqa: PLR2004 - NFTA_LOOKUP_DREG
        return
    if number(values[3]) == 0:
        walk.act(r.OpaqueTarget(name="nft", arguments=("vmap", words, name)))
    else:
        walk.load(values[3], Load(kind=f"map {name}"))


def _immediate(walk: Walk, values: Values) -> None:
    given = attributes(values.get(2, b""))
    if _VERDICT not in given:
        walk.load(values.get(1), given.get(_VALUE, b""))
        return
    verdict = statements.verdict(given[_VERDICT])
    if not isinstance(verdict, int):
        walk.act(verdict)
    if verdict != statements.CONTINUE:
        walk.effects.append(End())


def _match(walk: Walk, values: Values) -> None:
    match = decode_match(walk.family, *_extension(values))
    if match is not None:
        walk.match(match)


def _target(walk: Walk, values: Values) -> None:
    walk.act(decode_target(walk.family, *_extension(values)))


def _extension(values: Values) -> tuple[str, int, bytes]:
    return text(values.get(1, b"")), number(values.get(2, b"")), values.get(3, b"")


def _limit(walk: Walk, values: Values) -> None:
    rate, unit, burst = number(values.get(1, b"")), number(values.get(_LIMIT_UNIT, b"")), values.get(_LIMIT_BURST, b"")
    simple = not number(values.get(_LIMIT_TYPE, b"")) and not number(values.get(_LIMIT_FLAGS, b""))
    period = canonical.limit_period(rate, unit, 10_000) if rate and simple else 0
    if period:
        walk.match(canonical.shared(r.LimitMatch(period=period, burst=number(burst))))
    else:
        walk.match(r.OpaqueMatch(module="nft", arguments=("limit", *hexadecimal(values))))


def _statement(name: str) -> Callable[[Walk, Values], None]:
    """An expression that does what iptables' target ``name`` does, as far as can be told without its operands."""

    def step(walk: Walk, values: Values) -> None:
        walk.act(r.OpaqueTarget(name=name, arguments=("nft", *hexadecimal(values), *walk.holding())))

    return step


def _redirect(walk: Walk, values: Values) -> None:
    walk.act(statements.redirect(values, {at: walk.constant(values[at]) for at in (1, 2) if at in values}))


def _nat(walk: Walk, values: Values) -> None:
    constants = {at: walk.constant(values[at]) for at in (3, 4, 5, 6) if at in values}
    target = statements.nat(walk.family, values, constants, walk.holding())
    if target is None:
        walk.effects.append(Never())
    else:
        walk.act(target)


def _masquerade(walk: Walk, values: Values) -> None:
    ports = {at: walk.constant(values[at]) for at in (2, 3) if at in values}
    walk.act(statements.masquerade(values, ports))


def _object(walk: Walk, values: Values) -> None:
    """A counter counts; quotas and limits may stop the rule; the rest notes something about the packet."""
    kind = number(values.get(1, b""))
    if _OBJECT_SET not in values and kind == _COUNTER_OBJECT:
        return
    if _OBJECT_SET not in values and kind in _OBJECTS:
        walk.act(r.OpaqueTarget(name=_OBJECTS[kind], arguments=("nft", text(values.get(2, b"")))))
    else:
        name = text(values.get(2, b"")) or f"@{text(values.get(_OBJECT_SET, b''))}"
        walk.match(r.OpaqueMatch(module="nft", arguments=("object", str(kind), name)))


def _condition(name: str) -> Callable[[Walk, Values], None]:
    """An expression that does nothing but decide whether the rule matches."""

    def step(walk: Walk, values: Values) -> None:
        walk.match(r.OpaqueMatch(module="nft", arguments=(name, *hexadecimal(values))))

    return step


STEPS: dict[str, Callable[[Walk, Values], None]] = {
    "payload": _payload,
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "bitwise": _bitwise,
    "byteorder": _made("byteorder", 2, 1),
    "hash": _made("hash", 2, 1),
    "numgen": _made("numgen", 1),
    "rt": _made("rt", 1),
    "socket": _made("socket", 2),
    "xfrm": _made("xfrm", 1),
    "osf": _made("osf", 1),
    "tunnel": _made("tunnel", 2),
    "cmp": _compare,
    "range": _range,
    "lookup": _lookup,
    "immediate": _immediate,
    "match": _match,
    "target": _target,
    "limit": _limit,
    "exthdr": _option,
    "quota": _condition("quota"),
    "dynset": _condition("dynset"),
    "connlimit": _condition("connlimit"),
    "log": lambda walk, values: walk.act(statements.log(values)),
    "reject": lambda walk, values: walk.act(statements.reject(walk.family, values)),
    "nat": _nat,
    "masq": _masquerade,
    "objref": _object,
    "redir": _redirect,
    "notrack": _statement("NOTRACK"),
    "queue": _statement("NFQUEUE"),
    "tproxy": _statement("TPROXY"),
    "dup": _statement("TEE"),
    "synproxy": _statement("SYNPROXY"),
    "flow_offload": _statement("FLOWOFFLOAD"),
    "fwd": _statement("FORWARD"),
}
"""The expressions that are understood."""
LOADS = {
    "payload": 1,
    "meta": 1,
    "ct": 1,
    "fib": 1,
    "immediate": 1,
    "exthdr": 1,
    "bitwise": 2,
    "byteorder": 2,
    "hash": 2,
    "numgen": 1,
    "rt": 1,
    "socket": 2,
    "xfrm": 1,
    "osf": 1,
    "tunnel": 2,
}
"""The attribute that names the register which an expression fills."""
