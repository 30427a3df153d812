"""Parses the options of the targets that have a value class; see `grammar` for the conventions."""

from __future__ import annotations

from functools import partial

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, keywords
from c2c_auditor.netfilter.grammar import (
    Options,
    TargetParser,
    address_pair,
    known,
    number,
    only,
    port_pair,
    value_and_mask,
)


def _reject(family: r.AddressFamily, options: Options) -> r.Target:
    if not options:
        return r.REJECTS[family]
    name, _, values = only(options)
    if name != "--reject-with":
        raise NotUnderstood(name)
    return r.Reject(answer=keywords.REJECT_ANSWERS.get(values[0], values[0]))


def set_mark(option: str, value: int, mask: int) -> r.SetMark:
    """The five spellings of ``-j MARK`` as the one that the kernel keeps.

    mark = (mark AND NOT mask) XOR value; source: extensions/libxt_MARK.c.
    """
    if option == "--set-xmark":
        return canonical.set_mark(value, mask)
    if option == "--set-mark":
        return canonical.set_mark(value, mask | value)
    if option == "--and-mark":
        return canonical.set_mark(0, ~value & r.ALL_BITS)
    if option == "--or-mark":
        return canonical.set_mark(value, value)
    if option == "--xor-mark":
        return canonical.set_mark(value, 0)
    raise NotUnderstood(option)


def _mark(options: Options) -> r.Target:
    name, _, values = only(options)
    return set_mark(name, *value_and_mask(values[0] if values else ""))


def _log(options: Options) -> r.Target:
    prefix, level, flags = "", 4, 0
    for name, _, values in options:
        if name == "--log-prefix":
            prefix = values[0]
        elif name == "--log-level":
            level = keywords.LOG_LEVELS.get(values[0], -1)
            level = number(values[0], most=7) if level < 0 else level
        else:
            flags |= known(keywords.LOG_FLAGS, name)
    return r.Log(prefix=prefix, level=level, flags=flags)


def _dnat(family: r.AddressFamily, options: Options) -> r.Target:
    extra = tuple(name for name, _, _ in options if name in ("--random", "--persistent"))
    name, _, values = only([option for option in options if option[0] not in extra])
    if name != "--to-destination":
        raise NotUnderstood(name)
    address, port = _cut_ports(family, values[0])
    return r.Dnat(
        family=family,
        addresses=address_pair(family, address) if address else None,
        ports=port_pair(port, "-") if port is not None else None,
        options=tuple(sorted(extra)),
    )


def _cut_ports(family: r.AddressFamily, text: str) -> tuple[str, str | None]:
    """Addresses and ports of ``ADDRESSES[:PORTS]``; IPv6 addresses that ports follow stand in brackets."""
    if family is r.AddressFamily.IPV4 or (text.startswith(":") and not text.startswith("::")):
        address, colon, ports = text.partition(":")
        return address, ports if colon else None
    if not text.startswith("["):
        return text, None
    address, bracket, rest = text[1:].partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        raise NotUnderstood(text)
    return address, rest[1:] if rest else None


def _masquerade(options: Options) -> r.Target:
    ports, extra = None, []
    for name, _, values in options:
        if name == "--to-ports":
            ports = port_pair(values[0], "-")
        elif name in ("--random", "--random-fully"):
            extra.append(name)
        else:
            raise NotUnderstood(name)
    return r.Masquerade(ports=ports, options=tuple(sorted(extra)))


def _targets(family: r.AddressFamily) -> dict[str, TargetParser]:
    return {
        "REJECT": partial(_reject, family),
        "MARK": _mark,
        "LOG": _log,
        "DNAT": partial(_dnat, family),
        "MASQUERADE": _masquerade,
    }


TARGETS = {family: _targets(family) for family in r.AddressFamily}
"""The parsers of each family, by the name that ``-j`` takes."""
