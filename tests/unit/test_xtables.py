"""Bytes of the kernel's entries, packed here by hand after its headers, are the rules that they mean."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.binary.entries import decode_entry, is_jump, parts_of
from c2c_auditor.sources.rules.entry_rules import EntryRules

ACCEPT = struct.pack("=i4x", -2)
MARK_1 = struct.pack("=IIB7x", 1, 0xFFFFFFFF, 0)
ANYWHERE = struct.pack("!IIII", 0, 0, 0, 0)


def extension(name: str, revision: int, data: bytes, *, leftover: bytes = b"\0") -> bytes:
    """``struct xt_entry_match`` or ``xt_entry_target``; ``leftover`` is what stands behind the end of the name."""
    data += bytes(-len(data) % 8)
    after = leftover * (28 - len(name))
    return struct.pack("=H29sB", 32 + len(data), name.encode() + b"\0" + after, revision) + data


def entry(
    *matches: bytes,
    target: bytes | None = None,
    addresses: bytes = ANYWHERE,
    interfaces: tuple[bytes, bytes, bytes, bytes] = (b"", b"", b"", b""),
    protocol: int = 0,
    flags: int = 0,
    inverted: int = 0,
    comefrom: int = 0,
    packets: int = 0,
) -> bytes:
    """``struct ipt_entry`` with its matches and its target, ACCEPT if none is given."""
    target = extension("", 0, ACCEPT) if target is None else target
    inner = b"".join(matches)
    head = addresses + struct.pack("16s16s16s16s", *interfaces) + struct.pack("=HBBI", protocol, flags, inverted, 0)
    sizes = struct.pack("=HHIQQ", 112 + len(inner), 112 + len(inner) + len(target), comefrom, packets, 60 * packets)
    return head + sizes + inner + target


def jump(offset: int) -> bytes:
    """A standard target that goes to the rule at ``offset`` of its table."""
    return extension("", 0, struct.pack("=i4x", offset))


def number(address: str) -> int:
    """An address as the model has it."""
    return int(IPv4Address(address))


def test_what_stands_before_the_matches() -> None:
    """Addresses come in network order, an interface's mask covers its name and its end, inversions are bits."""
    addresses = struct.pack("!IIII", number("10.0.0.0"), number("10.255.1.4"), number("255.0.0.0"), 0xFFFFFFFF)
    rule = decode_entry(
        entry(
            addresses=addresses,
            interfaces=(b"eth0", b"eth+", b"\xff" * 5, b"\xff" * 3),
            protocol=17,
            flags=1,
            inverted=2 | 16 | 32 | 64,
        )
    )
    assert rule == r.Rule(
        source=r.AddressMatch(value=number("10.0.0.0"), mask=number("255.0.0.0")),
        destination=r.AddressMatch(value=number("10.255.1.4"), negated=True),
        in_interface=r.InterfaceMatch(name="eth0"),
        out_interface=r.InterfaceMatch(name="eth+", negated=True),
        protocol=r.ProtocolMatch(number=17, negated=True),
        fragment=False,
        target=r.ACCEPT,
    )


@pytest.mark.parametrize(
    ("match", "value"),
    [
        (
            extension("tcp", 0, struct.pack("=HHHHBBBB", 0, 65535, 8080, 8080, 0, 0, 0, 0)),
            r.TransportMatch(protocol=6, destination=r.PortRange(first=8080, last=8080)),
        ),
        (
            extension("tcp", 0, struct.pack("=HHHHBBBB", 1, 2, 0, 65535, 5, 0x17, 2, 1 | 4 | 8)),
            r.TransportMatch(
                protocol=6,
                source=r.PortRange(first=1, last=2, negated=True),
                tcp_flags=(0x17, 2, True),
                tcp_option=(5, True),
            ),
        ),
        (
            extension("udp", 0, struct.pack("=HHHHB", 0, 65535, 53, 54, 2)),
            r.TransportMatch(protocol=17, destination=r.PortRange(first=53, last=54, negated=True)),
        ),
        (
            extension("dccp", 0, struct.pack("=HHHHHH", 0, 0, 7, 9, 1, 0)),
            r.TransportMatch(protocol=33, source=r.PortRange(first=7, last=9)),
        ),
        (extension("mark", 1, struct.pack("=IIB", 7, 0xFF, 1)), r.MarkMatch(value=7, mask=0xFF, negated=True)),
        (extension("comment", 0, b"s\xc3\xa4\xff".ljust(256, b"\0")), r.CommentMatch(text="sä\udcff")),
        (extension("limit", 0, struct.pack("=IIQIIIQ", 100, 9, 0, 0, 0, 0, 0)), r.LimitMatch(period=100, burst=9)),
        (extension("state", 0, struct.pack("=I", 4 | 64)), r.StateMatch(states=("RELATED", "UNTRACKED"))),
        (
            extension("conntrack", 1, bytes(146) + struct.pack("=HHBB", 1, 1, 8, 0)),
            r.StateMatch(states=("NEW",), negated=True),
        ),
        (
            extension("conntrack", 3, bytes(146) + struct.pack("=HHHH8x", 0x2001, 0, 1 | 256, 0)),
            r.StateMatch(states=("INVALID", "UNTRACKED")),
        ),
        (extension("icmp", 0, struct.pack("=BBBB", 8, 0, 255, 1)), r.IcmpMatch(type=8, negated=True)),
        (
            extension("iprange", 1, struct.pack("!I12xI12xI12xI12xB", 1, 2, 3, 4, 2 | 32)),
            r.IpRangeMatch(destination=(3, 4, True)),
        ),
        (
            extension("multiport", 1, struct.pack("=BB15H15BB", 1, 3, 80, 90, 443, *[0] * 12, 1, *[0] * 14, 1)),
            r.MultiportMatch(side="dports", ranges=((80, 90), (443, 443)), negated=True),
        ),
        (
            extension("addrtype", 1, struct.pack("=HHI", 0, 4 | 8, 2 | 8)),
            r.AddressTypeMatch(destination=("BROADCAST", "LOCAL"), destination_negated=True, limit="out"),
        ),
        (
            extension("hashlimit", 1, struct.pack("=16sIIIIIIIBB", b"old", 1 | 16, 1000, 5, 0, 0, 1000, 1000, 32, 24)),
            r.HashLimitMatch(name="old", period=100_000, above=True, mode=("dstip",), destination_mask=24),
        ),
        (
            extension(
                "hashlimit", 2, struct.pack("=255sxQQIIIIIBB", b"two", 600_000, 7, 4, 64, 10, 500, 61_000, 32, 32)
            ),
            r.HashLimitMatch(
                name="two", period=600_000, burst=7, mode=("srcip",), size=64, maximum=10, interval=500, expire=61_000
            ),
        ),
        (
            extension(
                "hashlimit", 3, struct.pack("=255sxQQIIIIIIBB", b"new", 10_000_000, 5, 2, 0, 0, 1000, 60_000, 0, 32, 32)
            ),
            r.HashLimitMatch(name="new", period=10_000_000, mode=("dstport",)),
        ),
    ],
)
def test_matches(match: bytes, value: r.Match) -> None:
    """Each layout gives its value; what libxtables leaves out when it prints, such as usual times, is left out here."""
    assert decode_entry(entry(match)).matches == (value,)


@pytest.mark.parametrize(
    "match",
    [
        extension("tcp", 0, struct.pack("=HHHHBBBB", 0, 65535, 0, 65535, 0, 0, 0, 0)),
        extension("udp", 0, struct.pack("=HHHHB", 0, 65535, 0, 65535, 0)),
    ],
)
def test_a_match_without_conditions_is_none(match: bytes) -> None:
    """`-p tcp -m tcp` says no more than `-p tcp`."""
    assert decode_entry(entry(match)).matches == ()


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (extension("", 0, struct.pack("=i4x", -1)), r.DROP),
        (extension("", 0, struct.pack("=i4x", -5)), r.RETURN),
        (extension("MARK", 2, struct.pack("=II", 0xFFFF0000, 0xFFFFFFFF)), r.SetMark(value=0xFFFF0000)),
        (extension("LOG", 0, struct.pack("=BB30s", 4, 8, b"OK_1 ")), r.Log(prefix="OK_1 ", level=4, flags=8)),
        (extension("REJECT", 0, struct.pack("=I", 3)), r.REJECT),
        (extension("REJECT", 0, struct.pack("=I", 7)), r.Reject(answer="tcp-reset")),
        (
            extension("DNAT", 0, struct.pack("=II", 1, 3) + struct.pack("!IIHH", 1, 2, 80, 90)),
            r.Dnat(addresses=(1, 2), ports=(80, 90)),
        ),
        (
            extension("DNAT", 2, struct.pack("=I", 2 | 4 | 8) + struct.pack("!I12xI12xHHH", 0, 0, 80, 80, 0)),
            r.Dnat(addresses=None, ports=(80, 80), options=("--persistent", "--random")),
        ),
        (
            extension("MASQUERADE", 0, struct.pack("=II", 1, 2 | 16) + struct.pack("!IIHH", 0, 0, 1, 9)),
            r.Masquerade(ports=(1, 9), options=("--random-fully",)),
        ),
    ],
)
def test_targets(target: bytes, value: r.Target) -> None:
    """Verdicts are numbers in a target without a name; the others have their layouts."""
    assert decode_entry(entry(target=target)).target == value


def test_where_a_jump_goes_is_told() -> None:
    """An offset is no name: the chain comes with the entry, and one that is empty means the next rule."""
    raw = entry(target=jump(4711))
    assert is_jump(raw, 112)
    assert not is_jump(entry(), 112)
    assert not is_jump(entry(target=extension("MARK", 2, struct.pack("=II", 1, 1))), 112)
    assert decode_entry(raw, "vpa--1").target == r.Jump(chain="vpa--1")
    assert decode_entry(entry(target=jump(4711), flags=2), "vpa--1").target == r.Goto(chain="vpa--1")
    assert decode_entry(raw, "").target == r.NO_TARGET


@pytest.mark.parametrize(
    ("match", "data"),
    [
        (extension("physdev", 0, b"eth1"), "6574683100000000"),
        (extension("mark", 2, b"12345678"), "3132333435363738"),
        (extension("mark", 1, b""), ""),
        (
            extension("conntrack", 2, bytes(146) + struct.pack("=HHHH", 3, 0, 8, 0)),
            (bytes(146) + struct.pack("=HHHH6x", 3, 0, 8, 0)).hex(),
        ),
        (extension("state", 0, struct.pack("=I", 1 << 20)), "0000100000000000"),
    ],
)
def test_what_has_no_word_is_kept_whole(match: bytes, data: str) -> None:
    """An unknown module, revision, size, option or bit gives name, revision and bytes: equal bytes are equal values."""
    (kept,) = decode_entry(entry(match)).matches
    assert isinstance(kept, r.OpaqueMatch)
    assert kept.arguments == (f"revision {match[31]}", data)


def test_an_unknown_target_is_kept_whole() -> None:
    """NAT with a flag that has no word here stays as it is, and so does an unknown target."""
    strange = extension("DNAT", 2, struct.pack("=I", 32) + bytes(44))
    assert decode_entry(entry(target=strange)).target == r.OpaqueTarget(
        name="DNAT", arguments=("revision 2", strange[32:].hex())
    )
    assert decode_entry(entry(target=extension("TTL", 0, b"\1"))).target == r.OpaqueTarget(
        name="TTL", arguments=("revision 0", "0100000000000000")
    )


def test_leftovers_and_counters_are_no_part_of_a_rule() -> None:
    """Whatever libiptc's memory held behind a name, and whatever was counted, the rule is the same object."""
    known = EntryRules()
    first = known.rule(entry(extension("mark", 1, MARK_1)), None)
    for leftover in (b"x", b"\xff"):
        again = entry(
            extension("mark", 1, MARK_1, leftover=leftover),
            target=extension("", 0, ACCEPT, leftover=leftover),
            comefrom=9,
            packets=77,
        )
        assert known.rule(again, None) is first
    assert len(known) == 1


def test_a_jump_is_known_by_its_chain() -> None:
    """The offset moves with every rule before it and says nothing; another chain is another rule."""
    known = EntryRules()
    first = known.rule(entry(target=jump(100)), b"aaa")
    assert known.rule(entry(target=jump(900)), b"aaa") is first
    assert known.rule(entry(target=jump(100)), b"bbb") == r.Rule(target=r.Jump(chain="bbb"))
    assert known.rule(entry(target=jump(100)), b"") == r.Rule()


def test_layouts_of_one_size_are_told_apart() -> None:
    """Two matches whose names differ in length but whose bytes have the same sizes stay two rules."""
    known = EntryRules()
    data = b"12345678"
    names = ("ab", "abc", "a")
    rules = [known.rule(entry(extension(name, 0, data)), None) for name in names]
    assert len({id(rule) for rule in rules}) == 3
    assert [known.rule(entry(extension(name, 0, data, leftover=b"!")), None) for name in names] == rules
    assert parts_of(entry(extension("ab", 0, data))).format != parts_of(entry(extension("abc", 0, data))).format


def test_what_nobody_asks_for_is_forgotten() -> None:
    """After two sweeps only the rules that were looked up between them are remembered."""
    known = EntryRules()
    entries = [entry(protocol=number) for number in range(1, 100)]
    for raw in entries:
        known.rule(raw, None)
    known.forget_unused()
    assert len(known) == 99
    kept = known.rule(entries[0], None)
    known.forget_unused()
    assert len(known) == 1
    assert known.rule(entries[0], None) is kept
    known.forget_unused()
    known.forget_unused()
    assert len(known) == 0


WHOLE = entry(
    extension("tcp", 0, bytes(12)), extension("mark", 1, MARK_1), target=extension("LOG", 0, bytes(32)), protocol=6
)


@given(st.data())
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    """Bytes that were cut off or overwritten give a rule or NotUnderstood, and the same again; nothing else happens."""
    raw = bytearray(WHOLE[: data.draw(st.integers(0, len(WHOLE)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=4)) if raw else []:
        raw[at] = data.draw(st.integers(0, 255))
    try:
        rule = EntryRules().rule(bytes(raw), None)
    except NotUnderstood:
        return
    assert decode_entry(bytes(raw)) == rule


IPV6 = r.AddressFamily.IPV6


def entry_6(*matches: bytes, target: bytes, flags: int = 0, inverted: int = 0, protocol: int = 0) -> bytes:
    """``struct ip6t_entry`` from 2001:db8::/32 to ::1, in through eth0, with its matches and its target."""
    addresses = IPv6Address("2001:db8::").packed + IPv6Address("::1").packed
    masks = IPv6Address("ffff:ffff::").packed + b"\xff" * 16
    interfaces = struct.pack("16s16s16s16s", b"eth0", b"", b"\xff" * 5, b"")
    head = addresses + masks + interfaces + struct.pack("=HBBB3x", protocol, 0, flags, inverted)
    inner = b"".join(matches)
    # nfcache, the two offsets, comefrom, padding to 8 bytes, the two counters
    sizes = struct.pack("=IHHI4xQQ", 0, 168 + len(inner), 168 + len(inner) + len(target), 0, 7, 420)
    return head + sizes + inner + target


def test_an_ipv6_entry_is_laid_out_as_the_kernel_has_it() -> None:
    """Addresses of 16 bytes, flags of its own, 168 bytes before the matches (linux/netfilter_ipv6/ip6_tables.h)."""
    raw = entry_6(
        extension("icmp6", 0, struct.pack("=BBBB", 128, 0, 0, 0)),
        target=extension("REJECT", 0, struct.pack("=I", 4)),
        protocol=58,
        inverted=16,
    )
    expected = r.Rule(
        source=r.AddressMatch(value=int(IPv6Address("2001:db8::")), family=IPV6, mask=int(IPv6Address("ffff:ffff::"))),
        destination=r.AddressMatch(value=1, family=IPV6, negated=True),
        in_interface=r.InterfaceMatch(name="eth0"),
        protocol=r.ProtocolMatch(number=58),
        matches=(r.IcmpMatch(family=IPV6, type=128, code=(0, 0)),),
        target=r.REJECTS[IPV6],
    )
    memory = EntryRules(IPV6)
    assert decode_entry(raw, family=IPV6) == memory.rule(raw, None) == expected
    counted = bytearray(raw)
    counted[152] = 99
    assert memory.rule(bytes(counted), None) is memory.rule(raw, None)


def test_an_ipv6_goto_has_a_flag_of_its_own() -> None:
    """4; 1 says that a protocol is given, and 2 that a traffic class is."""
    assert decode_entry(entry_6(target=jump(4711), flags=4), "c", IPV6).target == r.Goto(chain="c")
    assert decode_entry(entry_6(target=jump(4711), flags=3), "c", IPV6).target == r.Jump(chain="c")


_FIRST, _LAST = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::9")


@pytest.mark.parametrize(
    ("match", "value"),
    [
        (
            extension("iprange", 1, _FIRST.packed + _LAST.packed + bytes(32) + b"\x11"),
            r.IpRangeMatch(family=IPV6, source=(int(_FIRST), int(_LAST), True)),
        ),
        (
            extension("icmp6", 0, struct.pack("=BBBB", 1, 0, 255, 1)),
            r.IcmpMatch(family=IPV6, type=1, negated=True),
        ),
    ],
)
def test_ipv6_matches(match: bytes, value: r.Match) -> None:
    """Addresses fill the whole union."""
    assert decode_entry(entry_6(match, target=extension("", 0, ACCEPT)), family=IPV6).matches == (value,)


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (
            extension(
                "DNAT", 2, struct.pack("=I", 3) + _FIRST.packed + _LAST.packed + struct.pack("!HHHH", 1, 2, 0, 0)
            ),
            r.Dnat(family=IPV6, addresses=(int(_FIRST), int(_LAST)), ports=(1, 2)),
        ),
        (
            extension("MASQUERADE", 0, struct.pack("=I", 2) + bytes(32) + struct.pack("!HH", 10, 20)),
            r.Masquerade(ports=(10, 20)),
        ),
        (extension("REJECT", 0, struct.pack("=I", 6)), r.Reject(answer="tcp-reset")),
    ],
)
def test_ipv6_targets(target: bytes, value: r.Target) -> None:
    """NAT's range holds whole addresses in both targets; REJECT counts its answers in another order than IPv4's."""
    assert decode_entry(entry_6(target=target), family=IPV6).target == value


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("limit", struct.pack("=II", 0, 5)),
        ("iprange", b"\1" * 20),
        ("multiport", struct.pack("=BB15H15BB", 9, 1, *(0,) * 30, 0)),
        ("multiport", struct.pack("=BB15H15BB", 1, 1, *(0,) * 15, 1, *(0,) * 14, 0)),
        ("addrtype", struct.pack("=HHI", 4, 0, 12)),
    ],
)
def test_bytes_that_no_iptables_writes_are_kept(name: str, data: bytes) -> None:
    """A rate of none, bytes that are too few, a side or a limit that is none, a range without its end."""
    revision = 0 if name == "limit" else 1
    (kept,) = decode_entry(entry(extension(name, revision, data))).matches
    assert isinstance(kept, r.OpaqueMatch)
