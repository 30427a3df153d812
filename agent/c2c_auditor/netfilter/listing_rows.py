"""What ``iptables -L`` prints behind the addresses: one row per text, from the regular expression to the value.

Sources: the ``_print`` functions of iptables' extensions/libxt_*.c and libipt_*.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, names
from c2c_auditor.netfilter.grammar import number, rate, value_and_mask
from c2c_auditor.netfilter.targets import set_mark

Service = Callable[[str], "int | None"]
Found = "re.Match[str]"
_NUMBER = r"(?:0x[0-9a-f]+|\d+)"
_MASKED = rf"{_NUMBER}(?:/{_NUMBER})?"
_ADDRESSES = r"\d+(?:\.\d+){3}-\d+(?:\.\d+){3}"
_NAME = r"[\w+.-]+"


def _port(text: str, service: Service) -> int:
    if text.isdigit():
        return int(text)
    port = service(text)
    if port is None:
        raise ValueError(f"nobody here knows the service {text!r}: list with -n")
    return port


def _mark(found: re.Match[str]) -> r.Match:
    value, mask = value_and_mask(found["value"])
    return canonical.mark(value, mask, negated=bool(found["not"]))


def _states(found: re.Match[str]) -> r.Match:
    return canonical.states(frozenset(found["names"].split(",")), negated=bool(found["not"]))


def _limit(found: re.Match[str]) -> r.Match:
    return r.LimitMatch(period=rate(found["rate"], 10_000), burst=int(found["burst"]))


def _hashlimit(found: re.Match[str]) -> r.Match:
    """The name of its table is not printed."""
    return r.HashLimitMatch(
        name="",
        period=rate(found["rate"], 1_000_000),
        burst=int(found["burst"]),
        above=found["side"] == "above",
        mode=tuple(sorted((found["mode"] or "").split("-"))),
        expire=int(found["expire"] or 0),
    )


def _range(found: re.Match[str]) -> r.Match:
    low, high = (int(IPv4Address(end)) for end in found["range"].split("-"))
    pair = low, high, bool(found["not"])
    return r.IpRangeMatch(source=pair) if found["side"] == "source" else r.IpRangeMatch(destination=pair)


def _icmp(found: re.Match[str]) -> r.Match:
    type_ = 255 if found["type"] == "any" else int(found["type"])
    code = (int(found["code"]),) * 2 if found["code"] else (0, 255)
    return r.IcmpMatch(type=type_, code=(code[0], code[1]), negated=bool(found["not"]))


def _multiport(found: re.Match[str]) -> r.Match:
    pairs = [part.partition(":") for part in found["ports"].split(",")]
    ranges = tuple((int(first), int(last or first)) for first, _, last in pairs)
    return r.MultiportMatch(side=found["side"], ranges=ranges, negated=bool(found["not"]))


_MATCHES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], r.Match]], ...] = (
    (re.compile(rf"mark match (?P<not>! ?)?(?P<value>{_MASKED})"), _mark),
    (re.compile(r"(?:ct)?state (?P<not>! ?)?(?P<names>[A-Z,]+)"), _states),
    (re.compile(r"limit: avg (?P<rate>\S+) burst (?P<burst>\d+)"), _limit),
    (
        re.compile(
            r"limit: (?P<side>above|up to) (?P<rate>\S+) burst (?P<burst>\d+)(?: mode (?P<mode>\S+))?(?: htable-expire (?P<expire>\d+))?"
        ),
        _hashlimit,
    ),
    (re.compile(rf"(?P<side>source|destination) IP range (?P<not>! ?)?(?P<range>{_ADDRESSES})"), _range),
    (re.compile(r"(?P<not>!)?icmp(?:type)? (?P<type>\d+|any)(?: code (?P<code>\d+))?"), _icmp),
    (re.compile(r"multiport (?P<side>dports|sports|ports) (?P<not>! ?)?(?P<ports>[\d:,]+)"), _multiport),
)

_PORTS = re.compile(rf"(?P<side>spt|dpt)s?:(?P<not>!)?(?P<first>{_NAME})(?::(?P<last>{_NAME}))?")
_TRANSPORT = re.compile(
    rf"(?P<name>tcp|udp|sctp|dccp|udplite)(?P<ports>(?: (?:spt|dpt)s?:!?{_NAME}(?::{_NAME})?)+)(?P<flags> flags:!?\S+)?"
)
_COMMENT = re.compile(r"/\* (?P<text>.*?) \*/")
_FLAGS = re.compile(r"(?P<not>!)?(?P<mask>\S+)/(?P<set>\S+)")
_MARK_TARGET = re.compile(rf"MARK (?P<verb>set|xset|and|or|xor) (?P<value>{_MASKED})")
_LOG = re.compile(r'LOG (?:flags (?P<flags>\d+) )?level (?P<level>\w+)(?: prefix "(?P<prefix>.*?)")?')
_REJECT = re.compile(r"reject-with (?P<answer>\S+)")
_DNAT = re.compile(r"to:(?P<address>[\d.]+(?:-[\d.]+)?)?(?::(?P<port>\d+)(?:-(?P<last>\d+))?)?")
_GOTO = re.compile(r"\[goto\]")


def extension(text: str, *, target: str, protocol: int, service: Service) -> tuple[list[r.Match], r.Target]:
    """The matches and the target that ``text`` says; ``target`` is the listing's first column. Raises KeyError or ValueError."""
    text, made = _target(text, target)
    matches: list[r.Match] = []
    while text:
        for take in (_comment, lambda rest: _transport(rest, protocol, service), _row):
            taken = take(text)
            if taken is not None:
                match, text = taken
                matches.append(match)
                break
        else:
            matches.append(r.OpaqueMatch(module="listing", arguments=(text,)))
            break
        text = text.strip()
    return matches, made


def _comment(text: str) -> tuple[r.Match, str] | None:
    found = _COMMENT.match(text)
    return (canonical.comment(found["text"]), text[found.end() :]) if found is not None else None


def _row(text: str) -> tuple[r.Match, str] | None:
    for pattern, make in _MATCHES:
        found = pattern.match(text)
        if found is not None:
            return make(found), text[found.end() :]
    return None


def _transport(text: str, protocol: int, service: Service) -> tuple[r.Match, str] | None:
    found = _TRANSPORT.match(text)
    if found is None:
        return None
    sides: dict[str, r.PortRange] = {}
    for one in _PORTS.finditer(found["ports"]):
        first = _port(one["first"], service)
        last = _port(one["last"], service) if one["last"] else first
        sides[one["side"]] = r.PortRange(first=first, last=last, negated=bool(one["not"]))
    match = r.TransportMatch(
        protocol=names.PROTOCOLS[found["name"]] or protocol,
        source=sides.get("spt"),
        destination=sides.get("dpt"),
        tcp_flags=_tcp_flags(found["flags"]),
    )
    return canonical.shared(match), text[found.end() :]


def _tcp_flags(text: str | None) -> tuple[int, int, bool] | None:
    found = _FLAGS.fullmatch(text.removeprefix(" flags:")) if text else None
    if found is None:
        return None
    mask, value = (_bits(found[name]) for name in ("mask", "set"))
    return mask, value, bool(found["not"])


def _bits(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else sum(names.TCP_FLAGS[name] for name in text.split(","))


def _target(text: str, name: str) -> tuple[str, r.Target]:
    """The target, and the text without what belongs to it. Comments are left alone: they may hold anything."""
    if not name:
        return text, r.NO_TARGET
    if name in ("ACCEPT", "DROP", "RETURN", "QUEUE"):
        return text, r.Verdict(name=name)
    rows: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], r.Target]]] = {
        "MARK": (_MARK_TARGET, _mark_target),
        "LOG": (_LOG, lambda found: r.Log(prefix=found["prefix"] or "", level=_level(found["level"]), flags=int(found["flags"] or 0))),
        "REJECT": (_REJECT, lambda found: r.Reject(answer=found["answer"])),
        "DNAT": (_DNAT, _dnat),
    }
    if name == "MASQUERADE":
        return text, r.Masquerade()
    if name in rows:
        pattern, make = rows[name]
        rest, found = _outside_comments(text, pattern)
        return (rest, make(found)) if found is not None else (text, r.OpaqueTarget(name=name))
    rest, found = _outside_comments(text, _GOTO)
    if found is not None:
        return rest, r.Goto(chain=name)
    return text, r.OpaqueTarget(name=name) if name in names.EXTENSION_TARGETS else r.Jump(chain=name)


def _outside_comments(text: str, pattern: re.Pattern[str]) -> tuple[str, re.Match[str] | None]:
    """The last place outside a comment where ``pattern`` matches, cut out of the text."""
    spans = [found.span() for found in _COMMENT.finditer(text)]
    inside: Sequence[tuple[int, int]] = spans
    for found in reversed(list(pattern.finditer(text))):
        if not any(start <= found.start() < end for start, end in inside):
            return f"{text[: found.start()]} {text[found.end() :]}".strip(), found
    return text, None


def _level(text: str) -> int:
    return names.LOG_LEVELS[text] if text in names.LOG_LEVELS else number(text, most=7)


def _mark_target(found: re.Match[str]) -> r.SetMark:
    verb = {"set": "--set-xmark", "xset": "--set-xmark", "and": "--and-mark", "or": "--or-mark", "xor": "--xor-mark"}[found["verb"]]
    return set_mark(verb, *value_and_mask(found["value"]))


def _dnat(found: re.Match[str]) -> r.Target:
    low, _, high = (found["address"] or "").partition("-")
    addresses = (int(IPv4Address(low)), int(IPv4Address(high or low))) if low else None
    ports = (int(found["port"]), int(found["last"] or found["port"])) if found["port"] else None
    return r.Dnat(addresses=addresses, ports=ports)
