"""What a register of nf_tables holds, and what a rule asks of it.

Sources: Linux include/uapi/linux/netfilter/nf_tables.h (``enum nft_payload_bases``, ``nft_meta_keys``,
``nft_ct_keys``, ``nft_cmp_ops``); the words for people are those of nft(8).
"""

from __future__ import annotations

from attrs import evolve, frozen

from c2c_auditor.model import rule as r

NETWORK, TRANSPORT = 1, 2
META_PROTOCOL, META_MARK, META_IIF, META_OIF, META_IIFNAME, META_OIFNAME = 1, 3, 4, 5, 6, 7
META_NFPROTO, META_L4PROTO = 15, 16
META_LENGTHS = {META_PROTOCOL: 2, META_NFPROTO: 1, META_L4PROTO: 1, META_IIFNAME: 16, META_OIFNAME: 16}
"""Bytes of what ``meta`` loads, where they are not 4."""
CT_STATE, CT_MARK = 0, 3

EQUAL, UNEQUAL, LESS, AT_MOST, MORE, AT_LEAST, WITHIN, WITHOUT = "==", "!=", "<", "<=", ">", ">=", "in", "not in"

_BASES = {0: "ll", NETWORK: "nh", TRANSPORT: "th", 3: "ih"}
_META = (
    *("length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid"),
    *("skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname", "pkttype", "cpu"),
    *("iifgroup", "oifgroup", "cgroup", "random", "secpath", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time"),
    *("day", "hour", "sdif", "sdifname", "broute"),
)
_CT = {0: "state", 1: "direction", 2: "status", 3: "mark", 4: "secmark", 5: "expiration", 6: "helper"}


@frozen(kw_only=True, cache_hash=True)
class Load:
    """A value that was loaded into a register, of ``length`` bytes, AND ``mask`` XOR ``flip`` where these are given.

    ``kind`` is the expression that loaded it. ``key`` is (base, offset) for ``payload``, (key, 0) for ``meta`` and
    ``ct``, (result, flags) for ``fib``.
    """

    kind: str
    key: tuple[int, int] = (0, 0)
    length: int = 4
    mask: bytes | None = None
    flip: bytes | None = None

    def part(self, start: int, length: int) -> Load:
        """``length`` bytes of an unmasked payload, from ``start`` on."""
        return evolve(self, key=(self.key[0], start), length=length)

    @property
    def words(self) -> str:
        """In words for people, such as ``@th,16,16`` or ``meta cpu``."""
        first, second = self.key
        if self.kind == "payload":
            return f"@{_BASES.get(first, str(first))},{8 * second},{8 * self.length}"
        if self.kind == "meta":
            return f"meta {_META[first] if first < len(_META) else first}"
        if self.kind == "ct":
            return f"ct {_CT.get(first, first)}"
        return f"fib {first} {second}" if self.kind == "fib" else self.kind


@frozen(kw_only=True, cache_hash=True)
class Ask:
    """A comparison: what was loaded, how it is compared (``EQUAL``, …), and with what.

    ``last`` is the end of a range for ``WITHIN`` and ``WITHOUT``, else empty.
    """

    load: Load
    how: str
    first: bytes
    last: bytes = b""

    @property
    def opaque(self) -> r.OpaqueMatch:
        """The comparison as a match that has no word of its own; numbers as the kernel has their bytes."""
        mask = () if self.load.mask is None else ("&", f"0x{self.load.mask.hex()}")
        last = (f"0x{self.last.hex()}",) if self.last else ()
        return r.OpaqueMatch(module="nft", arguments=(self.load.words, *mask, self.how, f"0x{self.first.hex()}", *last))

    def interval(self) -> tuple[int, int, bool] | None:
        """First, last and negation, of numbers in network order; None if nothing is in it."""
        low, most = int.from_bytes(self.first, "big"), (1 << 8 * len(self.first)) - 1
        negated = self.how in (UNEQUAL, WITHOUT)
        if self.how in (EQUAL, UNEQUAL):
            first, last = low, low
        elif self.how in (WITHIN, WITHOUT):
            first, last = low, int.from_bytes(self.last, "big")
        elif self.how in (LESS, AT_MOST):
            first, last = 0, low - (self.how == LESS)
        else:
            first, last = low + (self.how == MORE), most
        return (first, last, negated) if first <= last else None
