"""What an expression of nf_tables does with a packet, as a target of `model.rule`.

Sources: Linux include/uapi/linux/netfilter/nf_tables.h (``enum nft_verdicts``, ``nft_reject_attributes``, …),
nf_nat.h, nf_log.h.
"""

from __future__ import annotations

from collections.abc import Mapping

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.native.attributes import attributes, number, text
from c2c_auditor.netfilter.render_target import render_address_range, render_ports

Values = Mapping[int, bytes]

_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_JUMP, _GOTO = -3, -4
_VERDICTS = {0: r.DROP, 1: r.ACCEPT, -5: r.RETURN}
_QUEUE, _QUEUE_BITS = 3, 0xFF
CONTINUE = -1
_TCP_RESET, _ICMPX = 1, 2
_ANSWERS = {
    r.AddressFamily.IPV4: {
        0: "icmp-net-unreachable",
        1: "icmp-host-unreachable",
        2: "icmp-proto-unreachable",
        3: "icmp-port-unreachable",
        9: "icmp-net-prohibited",
        10: "icmp-host-prohibited",
        13: "icmp-admin-prohibited",
    },
    r.AddressFamily.IPV6: {
        0: "icmp6-no-route",
        1: "icmp6-adm-prohibited",
        3: "icmp6-addr-unreachable",
        4: "icmp6-port-unreachable",
        5: "icmp6-policy-fail",
        6: "icmp6-reject-route",
    },
}
"""By the code of the ICMP message that is sent."""
_ICMPX_ANSWERS = {
    r.AddressFamily.IPV4: {0: 0, 1: 3, 2: 1, 3: 13},
    r.AddressFamily.IPV6: {0: 0, 1: 4, 2: 3, 3: 1},
}
_LOG_GROUP, _LOG_PREFIX, _LOG_LEVEL, _LOG_FLAGS = 1, 2, 5, 6
_WARNING, _AUDIT = 4, 8
_NAT_TYPE, _NAT_FAMILY, _NAT_FLAGS = 1, 2, 7
_DNAT = 1
_RANDOM, _PERSISTENT, _RANDOM_FULLY = 4, 8, 16
_NAT_OPTIONS = {_PERSISTENT: "--persistent", _RANDOM: "--random", _RANDOM_FULLY: "--random-fully"}
_NAT_FLAGS_THAT_FOLLOW = 1 | 2 | 32
"""Bits that the kernel sets because an address or port is given."""


def verdict(data: bytes) -> r.Target | int:
    """The verdict in an immediate's data; the number of one that is none in `model.rule` (`CONTINUE`, break)."""
    found = attributes(data)
    code = int.from_bytes(found.get(_VERDICT_CODE, b""), "big", signed=True)
    if code in (_JUMP, _GOTO):
        chain = text(found.get(_VERDICT_CHAIN, b""))
        return canonical.shared(r.Jump(chain=chain) if code == _JUMP else r.Goto(chain=chain))
    if code >= 0 and code & _QUEUE_BITS == _QUEUE:
        return r.Verdict(name="QUEUE")
    return _VERDICTS.get(code, code)


def reject(family: r.AddressFamily, values: Values) -> r.Target:
    """``reject``, with the answer in iptables' words."""
    kind, code = number(values.get(1, b"")), number(values.get(2, b""))
    if kind == _TCP_RESET:
        return canonical.shared(r.Reject(answer="tcp-reset"))
    if kind == _ICMPX:
        code = _ICMPX_ANSWERS[family].get(code, -1)
    answer = _ANSWERS[family].get(code)
    if answer is None:
        return r.OpaqueTarget(name="REJECT", arguments=("type", str(kind), "code", str(code)))
    return canonical.shared(r.Reject(answer=answer))


def log(values: Values) -> r.Target:
    """``log`` to the kernel's log, to a group of readers, or to the audit subsystem."""
    prefix = text(values.get(_LOG_PREFIX, b""))
    if _LOG_GROUP in values:
        given = ("--nflog-prefix", prefix) if prefix else ()
        group = number(values[_LOG_GROUP])
        return r.OpaqueTarget(name="NFLOG", arguments=(*given, *(("--nflog-group", str(group)) if group else ())))
    level = number(values[_LOG_LEVEL]) if _LOG_LEVEL in values else _WARNING
    if level == _AUDIT:
        return r.OpaqueTarget(name="AUDIT")
    return canonical.shared(r.Log(prefix=prefix, level=level, flags=number(values.get(_LOG_FLAGS, b""))))


def nat(
    family: r.AddressFamily, values: Values, constants: Mapping[int, bytes | None], operands: tuple[str, ...]
) -> r.Target | None:
    """``dnat`` or ``snat``; None if it is for the other family.

    ``constants`` are the values of its operands by attribute, None for one that is not fixed; ``operands`` tell people.
    """
    kind = "DNAT" if number(values.get(_NAT_TYPE, b"")) == _DNAT else "SNAT"
    if _NAT_FAMILY in values and number(values[_NAT_FAMILY]) != family.nfproto:
        return None
    addresses, ports = _pair(constants, 3), _pair(constants, 5)
    options = _options(number(values.get(_NAT_FLAGS, b"")))
    if any(value is None for value in constants.values()) or options is None or (addresses or ports) is None:
        return r.OpaqueTarget(name=kind, arguments=("nft", *operands))
    if kind == "DNAT":
        return canonical.shared(r.Dnat(family=family, addresses=addresses, ports=ports, options=options))
    address = "" if addresses is None else render_address_range(family, addresses)
    port = "" if ports is None else f":{render_ports(*ports, '-')}"
    return r.OpaqueTarget(name="SNAT", arguments=("--to-source", address + port, *options))


def masquerade(values: Values, constants: Mapping[int, bytes | None]) -> r.Target:
    """``masquerade``, with or without ports."""
    options = _options(number(values.get(1, b"")))
    if options is None or any(value is None for value in constants.values()):
        return r.OpaqueTarget(name="MASQUERADE", arguments=("nft",))
    return canonical.shared(r.Masquerade(ports=_pair(constants, 2), options=options))


def redirect(values: Values, constants: Mapping[int, bytes | None]) -> r.Target:
    """``redirect``, with or without ports."""
    ports, options = _pair(constants, 1), _options(number(values.get(3, b"")))
    if options is None or any(value is None for value in constants.values()):
        return r.OpaqueTarget(name="REDIRECT", arguments=("nft",))
    to = () if ports is None else ("--to-ports", render_ports(*ports, "-"))
    return r.OpaqueTarget(name="REDIRECT", arguments=(*to, *options))


def _pair(constants: Mapping[int, bytes | None], first: int) -> tuple[int, int] | None:
    """The lowest and highest of an operand that may be given as one or as two values."""
    low = constants.get(first)
    if low is None:
        return None
    high = constants.get(first + 1)
    return number(low), number(low if high is None else high)


def _options(flags: int) -> tuple[str, ...] | None:
    flags &= ~_NAT_FLAGS_THAT_FOLLOW
    if flags & ~sum(_NAT_OPTIONS):
        return None
    return tuple(sorted(name for bit, name in _NAT_OPTIONS.items() if flags & bit))
