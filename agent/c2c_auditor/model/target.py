"""What a rule does with a packet that meets all of its conditions."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.match import ALL_BITS


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
    """``-j MARK --set-xmark``: mark = (mark AND NOT ``mask``) XOR ``value``.

    The other spellings are rewritten to this one.
    """

    value: int
    mask: int = ALL_BITS


@frozen(kw_only=True, cache_hash=True)
class Log:
    """``-j LOG``: syslog ``level``, ``prefix`` of at most 29 bytes.

    ``flags`` are the kernel's bits: 1 TCP sequence numbers, 2 TCP options, 4 IP options, 8 uid, 32 MAC addresses.
    """

    prefix: str = ""
    level: int = 4
    flags: int = 0


@frozen(kw_only=True)
class Jump:
    """``-j CHAIN``: on, and back if nothing there decides."""

    chain: str


@frozen(kw_only=True)
class Goto:
    """``-g CHAIN``: on, and back to the caller of this chain."""

    chain: str


@frozen(kw_only=True, cache_hash=True)
class Dnat:
    """``-j DNAT --to-destination``: (first, last) address as integers, and ports or None."""

    family: AddressFamily = AddressFamily.IPV4
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


@frozen(kw_only=True, cache_hash=True)
class Policy:
    """The policy of a base chain, as the last of its rules: so that a walk through many chains can name it.

    No reader gives it.
    """

    chain: str
    table: str
    verdict: str = "DROP"


Target = Verdict | Reject | SetMark | Log | Jump | Goto | Dnat | Masquerade | NoTarget | OpaqueTarget | Policy

ACCEPT = Verdict(name="ACCEPT")
DROP = Verdict(name="DROP")
RETURN = Verdict(name="RETURN")
REJECT = Reject()
REJECTS = {family: Reject(answer=family.reject_answer) for family in AddressFamily}
"""``-j REJECT`` without options, by family."""
NO_TARGET = NoTarget()
