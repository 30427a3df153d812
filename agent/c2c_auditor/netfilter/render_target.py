"""Renders targets as the text that iptables-save prints, and what matches and targets have in common."""

from __future__ import annotations

from functools import singledispatch

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import keywords
from c2c_auditor.netfilter.cached import cached
from c2c_auditor.netfilter.tokens import quote

_LOG_OPTIONS = {bit: name for name, bit in keywords.LOG_FLAGS.items()}


def render_ports(first: int, last: int, separator: str = ":") -> str:
    """One port, or both ends of a range."""
    return str(first) if first == last else f"{first}{separator}{last}"


def opaque_words(arguments: tuple[str, ...]) -> list[str]:
    """What an opaque match or target says, quoted where iptables would."""
    return [word if word == "!" or word.startswith("--") else quote(word) for word in arguments]


@cached
def render_target(target: r.Target) -> str:
    """``-j TARGET OPTIONS``; empty for a rule that only counts."""
    return _target(target)


@singledispatch
def _target(target: object) -> str:
    raise TypeError(target)


@_target.register
def _(target: r.Verdict) -> str:
    return f"-j {target.name}"


@_target.register
def _(target: r.Reject) -> str:
    return f"-j REJECT --reject-with {target.answer}"


@_target.register
def _(target: r.SetMark) -> str:
    return f"-j MARK --set-xmark 0x{target.value:x}/0x{target.mask:x}"


@_target.register
def _(target: r.Log) -> str:
    parts = ["-j LOG"]
    if target.prefix:
        parts.append(f"--log-prefix {quote(target.prefix)}")
    if target.level != 4:  # noqa: PLR2004 - warning, the default that iptables-save leaves out
        parts.append(f"--log-level {target.level}")
    parts += [name for bit, name in _LOG_OPTIONS.items() if target.flags & bit]
    return " ".join(parts)


@_target.register
def _(target: r.Jump) -> str:
    return f"-j {target.chain}"


@_target.register
def _(target: r.Goto) -> str:
    return f"-g {target.chain}"


@_target.register
def _(target: r.Dnat) -> str:
    return " ".join([f"-j DNAT --to-destination {render_destination(target)}", *target.options])


def render_destination(target: r.Dnat) -> str:
    """Where DNAT sends a packet; an IPv6 address that ports follow stands in brackets."""
    address = "" if target.addresses is None else render_address_range(target.family, target.addresses)
    if not target.ports:
        return address
    bracketed = f"[{address}]" if address and target.family is r.AddressFamily.IPV6 else address
    return f"{bracketed}:{render_ports(*target.ports, '-')}"


def render_address_range(family: r.AddressFamily, addresses: tuple[int, int]) -> str:
    """One address, or both ends of a range."""
    low, high = addresses
    return str(family.address(low)) if low == high else f"{family.address(low)}-{family.address(high)}"


@_target.register
def _(target: r.Masquerade) -> str:
    ports = [f"--to-ports {render_ports(*target.ports, '-')}"] if target.ports else []
    return " ".join(["-j MASQUERADE", *ports, *target.options])


@_target.register
def _(target: r.NoTarget) -> str:
    del target
    return ""


@_target.register
def _(target: r.Policy) -> str:
    return f"policy {target.verdict}"


@_target.register
def _(target: r.OpaqueTarget) -> str:
    return " ".join([f"-j {target.name}", *opaque_words(target.arguments)])
