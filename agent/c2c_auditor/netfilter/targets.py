"""The options of the targets that have a value of their own; see `grammar` for the conventions."""

from __future__ import annotations

from ipaddress import IPv4Address

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, keywords
from c2c_auditor.netfilter.grammar import Options, TargetParser, number, port_pair, value_and_mask


def _reject(options: Options) -> r.Target:
    if not options:
        return r.REJECT
    ((name, _, values),) = options
    if name != "--reject-with":
        raise KeyError(name)
    return r.Reject(answer=keywords.REJECT_ANSWERS.get(values[0], values[0]))


def set_mark(option: str, value: int, mask: int) -> r.SetMark:
    """The five spellings of ``-j MARK`` as the one that the kernel keeps: mark = (mark AND NOT mask) XOR value (extensions/libxt_MARK.c)."""
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
    raise KeyError(option)


def _mark(options: Options) -> r.Target:
    ((name, _, values),) = options
    return set_mark(name, *value_and_mask(values[0]))


def _log(options: Options) -> r.Target:
    prefix, level, flags = "", 4, 0
    for name, _, values in options:
        if name == "--log-prefix":
            prefix = values[0]
        elif name == "--log-level":
            level = keywords.LOG_LEVELS.get(values[0], -1)
            level = number(values[0], most=7) if level < 0 else level
        else:
            flags |= keywords.LOG_FLAGS[name]
    return r.Log(prefix=prefix, level=level, flags=flags)


def _dnat(options: Options) -> r.Target:
    extra = tuple(name for name, _, _ in options if name in ("--random", "--persistent"))
    ((name, _, values),) = [option for option in options if option[0] not in extra]
    if name != "--to-destination":
        raise KeyError(name)
    address, colon, port = values[0].partition(":")
    low, dash, high = address.partition("-")
    pair = (int(IPv4Address(low)), int(IPv4Address(high if dash else low))) if address else None
    return r.Dnat(addresses=pair, ports=port_pair(port, "-") if colon else None, options=tuple(sorted(extra)))


def _masquerade(options: Options) -> r.Target:
    ports, extra = None, []
    for name, _, values in options:
        if name == "--to-ports":
            ports = port_pair(values[0], "-")
        elif name in ("--random", "--random-fully"):
            extra.append(name)
        else:
            raise KeyError(name)
    return r.Masquerade(ports=ports, options=tuple(sorted(extra)))


TARGETS: dict[str, TargetParser] = {
    "REJECT": _reject,
    "MARK": _mark,
    "LOG": _log,
    "DNAT": _dnat,
    "MASQUERADE": _masquerade,
}
