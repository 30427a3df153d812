"""Expressions of nf_tables, packed here by hand after its headers, are the rules that they mean."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native import asked as asked_module
from c2c_auditor.netfilter.native.parts import drafted, flat, part_of
from c2c_auditor.netfilter.native.rule_messages import beginning_of, handle_in, packets_of, position_in
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.netfilter.render import render_rule
from fuzz.harness import CORPUS
from support.rule_datagrams import attribute, datagram, decoded, rule_message

IPV4, IPV6 = r.AddressFamily.IPV4, r.AddressFamily.IPV6
EQUAL, UNEQUAL, LESS, AT_MOST, MORE, AT_LEAST = range(6)
NETWORK, TRANSPORT = 1, 2


def number(kind: int, value: int) -> bytes:
    """A number of 32 bits in network order."""
    return attribute(kind, struct.pack("!i" if value < 0 else "!I", value))


def expression(name: str, *attributes: bytes) -> bytes:
    """One element of a rule's list."""
    return attribute(1, attribute(1, name.encode() + b"\0") + attribute(2, b"".join(attributes)))


def payload(base: int, offset: int, length: int) -> bytes:
    """Bytes of a header into the first register."""
    return expression("payload", number(1, 1), number(2, base), number(3, offset), number(4, length))


def meta(key: int) -> bytes:
    """What the kernel knows of a packet into the first register."""
    return expression("meta", number(2, key), number(1, 1))


def ct(key: int) -> bytes:
    """What conntrack knows into the first register."""
    return expression("ct", number(1, 1), number(2, key))


def compared(data: bytes, how: int = EQUAL) -> bytes:
    """The first register with these bytes."""
    return expression("cmp", number(1, 1), number(2, how), attribute(3, attribute(1, data)))


def masked(mask: bytes, flip: bytes | None = None) -> bytes:
    """The first register AND and XOR these."""
    flip = bytes(len(mask)) if flip is None else flip
    given = (attribute(4, attribute(1, mask)), attribute(5, attribute(1, flip)))
    return expression("bitwise", number(1, 1), number(2, 1), number(3, len(mask)), *given)


def verdict(code: int, chain: str = "") -> bytes:
    """The end of a rule."""
    named = attribute(2, chain.encode() + b"\0") if chain else b""
    return expression("immediate", number(1, 0), attribute(2, attribute(2, number(1, code) + named)))


def constant(data: bytes, register: int = 1) -> bytes:
    """Fixed bytes into a register."""
    return expression("immediate", number(1, register), attribute(2, attribute(1, data)))


def counter(packets: int = 0) -> bytes:
    """What every rule of iptables has."""
    return expression("counter", attribute(1, struct.pack("!Q", 7)), attribute(2, struct.pack("!Q", packets)))


def native(value: int) -> bytes:
    """A number in the machine's own order."""
    return struct.pack("=I", value)


ACCEPT, DROP = verdict(1), verdict(0)
TCP = meta(16) + compared(b"\6")
HOST = IPv4Address("10.255.1.4").packed
DNAT = expression("nat", *(number(at, value) for at, value in ((1, 1), (2, 2), (3, 1), (5, 2))))
LOG = expression("log", attribute(2, b"a \0"))


def rules(*parts: bytes, family: r.AddressFamily = IPV4, userdata: bytes = b"") -> list[str]:
    """What a rule of these expressions is, as iptables would print it."""
    return [render_rule(rule) for rule in flat([RuleDecoder(family).entry(b"".join(parts), userdata)])]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((payload(NETWORK, 12, 4), compared(HOST), ACCEPT), "-s 10.255.1.4/32 -j ACCEPT"),
        ((payload(NETWORK, 16, 2), compared(b"\x0a\xff", UNEQUAL), ACCEPT), "! -d 10.255.0.0/16 -j ACCEPT"),
        (
            (payload(NETWORK, 12, 4), masked(b"\xff\xfe\0\0"), compared(b"\x0a\xfe\0\0"), ACCEPT),
            "-s 10.254.0.0/15 -j ACCEPT",
        ),
        (
            (payload(NETWORK, 12, 8), compared(HOST + HOST), ACCEPT),
            "-s 10.255.1.4/32 -d 10.255.1.4/32 -j ACCEPT",
        ),
        (
            (payload(NETWORK, 12, 4), compared(HOST, AT_LEAST), compared(HOST[:3] + b"\x09", AT_MOST), DROP),
            "-m iprange --src-range 10.255.1.4-10.255.1.9 -j DROP",
        ),
        ((payload(NETWORK, 9, 1), compared(b"\x11"), DROP), "-p udp -j DROP"),
        ((TCP, payload(TRANSPORT, 2, 2), compared(b"\0\x50"), DROP), "-p tcp -m tcp --dport 80 -j DROP"),
        ((payload(TRANSPORT, 2, 2), compared(b"\0\x50"), TCP, DROP), "-p tcp -m tcp --dport 80 -j DROP"),
        (
            (TCP, payload(TRANSPORT, 0, 4), compared(b"\0\x50\0\x51"), DROP),
            "-p tcp -m tcp --sport 80 --dport 81 -j DROP",
        ),
        (
            (TCP, payload(TRANSPORT, 2, 2), compared(b"\0\x50", MORE), compared(b"\0\x5a", LESS), DROP),
            "-p tcp -m tcp --dport 81:89 -j DROP",
        ),
        (
            (TCP, payload(TRANSPORT, 13, 1), masked(b"\x02"), compared(b"\0", UNEQUAL), DROP),
            "-p tcp -m tcp ! --tcp-flags SYN NONE -j DROP",
        ),
        ((meta(6), compared(b"eth0\0"), DROP), "-i eth0 -j DROP"),
        ((meta(7), compared(b"s-", UNEQUAL), DROP), "! -o s-+ -j DROP"),
        ((meta(4), compared(native(1)), ACCEPT), "-i lo -j ACCEPT"),
        ((meta(3), masked(native(0xFF)), compared(native(5)), DROP), "-m mark --mark 0x5/0xff -j DROP"),
        (
            (ct(0), masked(native(6)), compared(native(0), UNEQUAL), ACCEPT),
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        ),
        ((ct(0), compared(native(8), UNEQUAL), DROP), "-m conntrack ! --ctstate NEW -j DROP"),
        ((constant(native(7)), expression("meta", number(2, 3), number(3, 1))), "-j MARK --set-xmark 0x7/0xffffffff"),
        (
            (meta(3), masked(native(0xFFFF0000), native(5)), expression("meta", number(2, 3), number(3, 1))),
            "-j MARK --set-xmark 0x5/0xffff",
        ),
        ((verdict(-3, "overlay--1"),), "-j overlay--1"),
        ((verdict(-4, "asg-1"),), "-g asg-1"),
        ((verdict(-5),), "-j RETURN"),
        ((verdict(3),), "-j QUEUE"),
        ((verdict(-1),), ""),
        ((expression("reject", number(1, 2), attribute(2, b"\1")),), "-j REJECT --reject-with icmp-port-unreachable"),
        ((expression("reject", number(1, 1), attribute(2, b"\0")),), "-j REJECT --reject-with tcp-reset"),
        (
            (constant(HOST), constant(b"\x1f\x90", 2), DNAT),
            "-j DNAT --to-destination 10.255.1.4:8080",
        ),
        ((expression("masq", number(1, 16)),), "-j MASQUERADE --random-fully"),
        ((payload(NETWORK, 8, 1), compared(b"\1"), DROP), '-m nft "@nh,64,8" "==" 0x01 -j DROP'),
        ((payload(TRANSPORT, 2, 2), compared(b"\0\x50"), DROP), '-m nft "@th,16,16" "==" 0x0050 -j DROP'),
        (
            (payload(NETWORK, 12, 4), expression("lookup", attribute(1, b"blocked\0"), number(2, 1)), DROP),
            '-m nft "@nh,96,32" "==" "@blocked" -j DROP',
        ),
    ],
)
def test_an_expression_is_what_iptables_would_say(parts: tuple[bytes, ...], expected: str) -> None:
    """Conditions and actions as iptables and nft(8) compile them; what has no word is kept as it is."""
    assert rules(*parts) == [expected]
    assert rules(*parts[:-1], counter(), parts[-1]) == [expected]


def test_what_concerns_the_other_family_is_left_out() -> None:
    """Of a table of both, a rule for IPv6 is no rule of IPv4's."""
    only6 = (meta(15), compared(b"\x0a"), ACCEPT)
    assert (rules(*only6), rules(*only6, family=IPV6)) == ([], ["-j ACCEPT"])
    other = (meta(1), compared(b"\x08\x00", UNEQUAL), ACCEPT)
    assert (rules(*other), rules(*other, family=IPV6)) == ([], ["-j ACCEPT"])
    host = IPv6Address("2001:db8::1").packed
    assert rules(payload(NETWORK, 8, 16), compared(host), DROP, family=IPV6) == ["-s 2001:db8::1/128 -j DROP"]


def test_a_rule_that_acts_twice_is_two_rules() -> None:
    """`log` goes on; what was asked before it holds for what follows, except of a mark that is set meanwhile."""
    assert rules(TCP, LOG, ACCEPT) == ['-p tcp -j LOG --log-prefix "a "', "-p tcp -j ACCEPT"]
    mark = meta(3) + compared(native(1))
    setting = constant(native(2)) + expression("meta", number(2, 3), number(3, 1))
    assert rules(mark, setting, DROP) == [
        "-m mark --mark 0x1 -j MARK --set-xmark 0x2/0xffffffff",
        '-m nft "mark before it was set" -j DROP',
    ]


def test_what_is_not_known_may_match_and_may_do_anything() -> None:
    """An expression of a newer kernel is condition and action in one; behind a verdict it no longer matters."""
    new = expression("newer", number(1, 5))
    assert rules(new, DROP) == ['-m nft newer "1=0x00000005" -j DROP']
    assert rules(new) == ['-m nft newer "1=0x00000005" -j nft newer']
    assert rules(DROP, new) == ["-j DROP"]


def test_conditions_that_exclude_each_other_are_no_rule() -> None:
    """No packet is of two protocols, or has a port in no range."""
    udp = meta(16) + compared(b"\x11")
    assert rules(TCP, udp, ACCEPT) == []
    assert rules(TCP, payload(TRANSPORT, 2, 2), compared(b"\0\x50", MORE), compared(b"\0\x50", LESS), DROP) == []
    assert rules(meta(16), compared(b"\x11", UNEQUAL), TCP, DROP) == ["-p tcp -j DROP"]


def test_an_operand_that_was_loaded_long_before_is_found() -> None:
    """Two registers loaded, a counter between, and the comparisons one after the other."""
    second = expression("cmp", number(1, 2), number(2, EQUAL), attribute(3, attribute(1, b"\x11")))
    protocol = expression("payload", number(1, 2), number(2, NETWORK), number(3, 9), number(4, 1))
    parts = (payload(NETWORK, 12, 4), protocol, compared(HOST), counter(3), second, DROP)
    assert rules(*parts) == ["-s 10.255.1.4/32 -p udp -j DROP"]


def test_packets_are_counted_and_make_no_other_rule() -> None:
    """Counters move without a commit; the rule is the identical object."""
    decoder = RuleDecoder(IPV4)
    first, again = TCP + counter(5) + DROP, TCP + counter(9) + DROP
    assert (packets_of(first), packets_of(again), packets_of(TCP + DROP)) == (5, 9, 0)
    assert decoder.entry(first) is decoder.entry(again)
    assert len(decoder) == 1


def test_messages_are_read_alike_at_once_and_step_by_step() -> None:
    """With and without counter, position and user data; the first of a length is learned, others are looked up."""
    decoder = RuleDecoder(IPV4)
    for port in (80, 81, 80, 82):
        asked = (TCP, payload(TRANSPORT, 2, 2), compared(struct.pack("!H", port)))
        for packets, counted in (
            (0, ()),
            (5, (counter(5),)),
            (1 << 40, (counter(1 << 40),)),
            (2, (counter(9), counter(2))),
        ):
            for position in (0, 6):
                for userdata in (b"", bytes((0, 3)) + b"ab\0"):
                    expressions = b"".join((*asked, *counted, DROP))
                    given = rule_message(expressions, 7, position=position, userdata=userdata)
                    assert given.startswith(beginning_of(given))
                    start = len(beginning_of(given))
                    assert (handle_in(given, start), position_in(given, start)) == (7, position)
                    expected = RuleDecoder(IPV4).entry(expressions, userdata)
                    assert decoded(decoder, datagram(given, given)) == [(7, position, packets, expected)] * 2


@pytest.mark.parametrize(
    ("old", "new", "packets"),
    [
        (b"counter\0", b"account\0", 0),
        (b"\7" + struct.pack("=HH", 12, 2), b"\7" + struct.pack("=HH", 12, 3), 0),
        (struct.pack("=HH", 176, 4), struct.pack("=HH", 176, 0x8004), 5),
    ],
)
def test_what_is_not_as_in_the_message_before_is_read_step_by_step(old: bytes, new: bytes, packets: int) -> None:
    """Another expression in the counter's place, another attribute in the packets', a list with another flag."""
    expressions = TCP + counter(5) + DROP
    given = rule_message(expressions, 7)
    assert given.count(old) == 1
    other = given.replace(old, new)
    expected = RuleDecoder(IPV4).entry(expressions), RuleDecoder(IPV4).entry(expressions.replace(old, new))
    assert decoded(RuleDecoder(IPV4), datagram(given, other, given)) == [
        (7, 0, 5, expected[0]),
        (7, 0, packets, expected[1]),
        (7, 0, 5, expected[0]),
    ]


def test_a_comment_beside_a_rule_is_its_comment() -> None:
    """nft(8) keeps it in the rule's user data."""
    userdata = bytes((0, 5)) + b"ssh!\0"
    assert rules(DROP, userdata=userdata) == ['-m comment --comment "ssh!" -j DROP']
    assert rules(DROP, userdata=b"\x01\x02a\0" + userdata) == ['-m comment --comment "ssh!" -j DROP']


def test_a_comparison_with_another_value_is_read_as_one_that_was_never_seen() -> None:
    """Values of each width, masked, flipped and in ranges; what only ends with the same bytes is another thing."""
    ranged = expression("range", number(1, 1), number(2, 0), *(attribute(at, attribute(1, b"\0\x50")) for at in (3, 4)))
    flipped = payload(NETWORK, 12, 4) + masked(b"\xff\xff\0\0", b"\0\1\0\0")
    asked = [
        TCP,
        payload(TRANSPORT, 2, 2) + compared(b"\0\x50"),
        payload(TRANSPORT, 2, 2) + ranged,
        payload(NETWORK, 12, 4) + compared(HOST),
        payload(NETWORK, 12, 4) + masked(b"\xff\xff\0\0") + compared(HOST),
        flipped + compared(HOST),
        flipped + compared(bytes(4)),
        payload(NETWORK, 12, 4) + compared(bytes(4)) + counter(0),
    ]
    for known in asked:
        for value in (b"\0\x50", b"\0\x51", HOST[2:], bytes(2)):
            data = known[:-2] + value
            asked_module._known.clear()  # noqa: SLF001 - as at the start
            expected = part_of(data, IPV4).effects
            asked_module._known.clear()  # noqa: SLF001 - as at the start
            part_of(known, IPV4)
            assert part_of(data, IPV4).effects == expected


@pytest.mark.parametrize("data", [b"\1", b"\4\0\1", bytes(8), b"\xff\xff\1\0" + bytes(8)])
def test_bytes_that_are_no_expressions_are_refused(data: bytes) -> None:
    """Lengths of nothing, and beyond the end."""
    with pytest.raises(NotUnderstood):
        RuleDecoder(IPV4).entry(data)


def test_both_ways_to_read_a_rule_give_the_same() -> None:
    """Cut into parts that are looked up, or run as a whole: every rule in the fuzzer's corpus, for both families."""
    for family in r.AddressFamily:
        decoder = RuleDecoder(family)
        for seed in sorted((CORPUS / "native").iterdir()):
            data = seed.read_bytes()
            assert flat([decoder.entry(data)]) == drafted([part_of(data, family)], family), seed.name
