"""Renders values as the text that iptables-save prints and iptables-restore takes."""

from __future__ import annotations

from functools import singledispatch

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import keywords
from c2c_auditor.netfilter.render_target import opaque_words, render_ports, render_target
from c2c_auditor.netfilter.tokens import quote

__all__ = [
    "render_address",
    "render_match",
    "render_ports",
    "render_protocol",
    "render_rule",
    "render_ruleset",
    "render_target",
]

_MODULES = {r.TCP: "tcp", r.UDP: "udp", r.SCTP: "sctp", r.DCCP: "dccp", r.UDPLITE: "udplite"}


def render_rule(rule: r.Rule, chain: str = "") -> str:
    """``-A CHAIN BODY``, or the body alone when no chain is given. Parsing it gives an equal rule."""
    parts = [f"-A {chain}"] if chain else []
    parts += _header(rule)
    parts += [render_match(match) for match in rule.matches]
    target = render_target(rule.target)
    return " ".join([*parts, target] if target else parts)


def render_ruleset(ruleset: r.Ruleset) -> str:
    """All tables as iptables-save prints them, with packet counters where they are known; iptables-restore takes it."""
    lines: list[str] = []
    for table in ruleset.tables.values():
        lines.append(f"*{table.name}")
        lines += [f":{chain.name} {chain.policy or '-'} [0:0]" for chain in table.chains.values()]
        for chain in table.chains.values():
            counts = chain.packets if chain.packets is not None else (0,) * len(chain.rules)
            lines += [
                f"[{count}:0] {render_rule(rule, chain.name)}" for count, rule in zip(counts, chain.rules, strict=True)
            ]
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


def _header(rule: r.Rule) -> list[str]:
    parts = []
    if rule.source is not None:
        parts.append(f"{_not(rule.source)}-s {render_address(rule.source)}")
    if rule.destination is not None:
        parts.append(f"{_not(rule.destination)}-d {render_address(rule.destination)}")
    if rule.in_interface is not None:
        parts.append(f"{_not(rule.in_interface)}-i {rule.in_interface.name}")
    if rule.out_interface is not None:
        parts.append(f"{_not(rule.out_interface)}-o {rule.out_interface.name}")
    if rule.protocol is not None:
        parts.append(f"{_not(rule.protocol)}-p {render_protocol(rule.protocol.number)}")
    if rule.fragment is not None:
        parts.append("-f" if rule.fragment else "! -f")
    return parts


def _not(
    match: r.AddressMatch
    | r.InterfaceMatch
    | r.ProtocolMatch
    | r.PortRange
    | r.MarkMatch
    | r.StateMatch
    | r.MultiportMatch
    | r.IcmpMatch,
) -> str:
    return "! " if match.negated else ""


def render_protocol(number: int) -> str:
    """The name that iptables prints for an IP protocol, or its number."""
    return keywords.PROTOCOL_NAMES.get(number, str(number))


def render_address(match: r.AddressMatch) -> str:
    """``10.255.1.4/32`` or ``2001:db8::2/128``; a mask that is no prefix is written as an address."""
    family = match.family
    inverted = ~match.mask & family.all_bits
    contiguous = inverted & (inverted + 1) == 0
    mask = str(family.width - inverted.bit_length()) if contiguous else str(family.address(match.mask))
    return f"{family.address(match.value)}/{mask}"


def _masked(value: int, mask: int) -> str:
    return f"0x{value:x}" if mask == r.ALL_BITS else f"0x{value:x}/0x{mask:x}"


def _rate(period: int, scale: int) -> str:
    """The rate of ``period``: in the largest unit that divides evenly, else the smallest one that truncates to it."""
    for unit, seconds in (("sec", 1), ("min", 60), ("hour", 3600), ("day", 86400)):
        count = scale * seconds // period if period else 0
        if count and scale * seconds // count == period:
            return f"{count}/{unit}"
    return f"{max(1, scale * 86400 // period)}/day"


def render_match(match: r.Match) -> str:
    """``-m MODULE OPTIONS``."""
    return _match(match)


@singledispatch
def _match(match: object) -> str:
    raise TypeError(match)


@_match.register
def _(match: r.TransportMatch) -> str:
    parts = [f"-m {_MODULES[match.protocol]}"]
    if match.source is not None:
        parts.append(f"{_not(match.source)}--sport {render_ports(match.source.first, match.source.last)}")
    if match.destination is not None:
        parts.append(
            f"{_not(match.destination)}--dport {render_ports(match.destination.first, match.destination.last)}"
        )
    if match.tcp_flags is not None:
        mask, value, negated = match.tcp_flags
        parts.append(f"{'! ' if negated else ''}--tcp-flags {_flags(mask)} {_flags(value)}")
    if match.tcp_option is not None:
        option, negated = match.tcp_option
        parts.append(f"{'! ' if negated else ''}--tcp-option {option}")
    return " ".join(parts)


def _flags(bits: int) -> str:
    return ",".join(name for name, bit in keywords.TCP_FLAGS.items() if bits & bit and name != "ALL") or "NONE"


@_match.register
def _(match: r.MultiportMatch) -> str:
    ranges = ",".join(render_ports(*pair) for pair in match.ranges)
    return f"-m multiport {_not(match)}--{match.side} {ranges}"


@_match.register
def _(match: r.MarkMatch) -> str:
    return f"-m mark {_not(match)}--mark {_masked(match.value, match.mask)}"


@_match.register
def _(match: r.CommentMatch) -> str:
    return f"-m comment --comment {quote(match.text)}"


@_match.register
def _(match: r.StateMatch) -> str:
    return f"-m conntrack {_not(match)}--ctstate {','.join(match.states)}"


@_match.register
def _(match: r.LimitMatch) -> str:
    return f"-m limit --limit {_rate(match.period, 10_000)} --limit-burst {match.burst}"


@_match.register
def _(match: r.HashLimitMatch) -> str:
    parts = [
        (
            f"-m hashlimit --hashlimit-{'above' if match.above else 'upto'} {_rate(match.period, 1_000_000)} "
            f"--hashlimit-burst {match.burst}"
        )
    ]
    if any(match.mode):
        parts.append(f"--hashlimit-mode {','.join(match.mode)}")
    parts.append(f"--hashlimit-name {quote(match.name)}")
    masks = (("srcmask", match.source_mask), ("dstmask", match.destination_mask))
    times = (("size", match.size), ("max", match.maximum), ("gcinterval", match.interval), ("expire", match.expire))
    parts += [f"--hashlimit-htable-{name} {value}" for name, value in times if value]
    parts += [f"--hashlimit-{name} {value}" for name, value in masks if value != match.family.width]
    return " ".join(parts)


@_match.register
def _(match: r.IpRangeMatch) -> str:
    parts = ["-m iprange"]
    for option, given in (("--src-range", match.source), ("--dst-range", match.destination)):
        if given is not None:
            low, high, negated = given
            first, last = match.family.address(low), match.family.address(high)
            parts.append(f"{'! ' if negated else ''}{option} {first}-{last}")
    return " ".join(parts)


@_match.register
def _(match: r.IcmpMatch) -> str:
    family = match.family
    option = f"-m {family.icmp_match} {_not(match)}{family.icmp_option}"
    if match.type == 255 and match.code == (0, 255) and family is r.AddressFamily.IPV4:  # noqa: PLR2004 - libipt_icmp.c stores "any" as type 255
        return f"{option} any"
    code = f"/{match.code[0]}" if match.code[0] == match.code[1] else ""
    return f"{option} {match.type}{code}"


@_match.register
def _(match: r.AddressTypeMatch) -> str:
    parts = ["-m addrtype"]
    if match.source:
        parts.append(f"{'! ' if match.source_negated else ''}--src-type {','.join(match.source)}")
    if match.destination:
        parts.append(f"{'! ' if match.destination_negated else ''}--dst-type {','.join(match.destination)}")
    if match.limit:
        parts.append(f"--limit-iface-{match.limit}")
    return " ".join(parts)


@_match.register
def _(match: r.OpaqueMatch) -> str:
    return " ".join([f"-m {match.module}", *opaque_words(match.arguments)])
