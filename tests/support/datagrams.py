"""Packets as the bytes that go over the wire."""

from __future__ import annotations

import struct

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.packet import Packet
from support.conversations import related_to

TTL = 64
_SYN, _SYN_ACK = 0x02, 0x12
_ECHO = (8, 0)
# A later fragment's place, in units of 8 bytes; at 1 ip_tables drops tcp outright, for its own reasons (xt_tcpudp.c).
_LATER = 3


def datagram(packet: Packet, *, number: int, service: int) -> bytes:
    """``packet`` as IP bytes with right checksums.

    ``number`` tells it from others, ``service`` is the value of its DSCP field, 0 to 63.
    """
    body = b"fragment" if packet.fragment else _body(packet, number)
    header = struct.pack(
        "!BBHHHBBHII",
        0x45,
        service << 2,
        20 + len(body),
        number,
        _LATER if packet.fragment else 0,
        TTL,
        packet.protocol,
        0,
        packet.source,
        packet.destination,
    )
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + body


def _body(packet: Packet, number: int) -> bytes:
    ports = struct.pack("!HH", packet.source_port or 0, packet.destination_port or 0)
    if packet.protocol == r.TCP:
        return _checked(packet, _tcp(packet, ports), 16)
    if packet.protocol in (r.UDP, r.UDPLITE):
        # What counts the bytes in UDP says in UDP-Lite how many are covered by the checksum: all of them, either way.
        return _checked(packet, ports + struct.pack("!HH", 12, 0) + b"data", 6)
    if packet.protocol == r.ICMP:
        return _icmp(packet, number)
    if packet.protocol == r.DCCP:
        return ports + struct.pack("!BBHI", 3, 0, 0, 0) + b"code"  # a REQUEST, offset 3 words
    return ports + b"any bytes"


def _tcp(packet: Packet, ports: bytes) -> bytes:
    options = b"".join(_OPTION_BYTES[kind] for kind in sorted(packet.tcp_options or ()))
    flags = packet.tcp_flags or 0
    sequence, acknowledged = (1000, 0) if flags == _SYN else (2000, 1001) if flags == _SYN_ACK else (1001, 2001)
    words = 5 + len(options) // 4
    return ports + struct.pack("!IIBBHHH", sequence, acknowledged, words << 4, flags, 0xFFFF, 0, 0) + options


# Each is padded by its own length: a NOP would be an option more. 30 is Multipath TCP's, of which conntrack knows
# nothing.
_OPTION_BYTES = {2: b"\2\4\5\264", 3: b"\3\4\7\0", 8: b"\10\14" + bytes(10), 30: b"\36\4\0\0"}


def _icmp(packet: Packet, number: int) -> bytes:
    kind, code = packet.icmp or _ECHO
    rest = struct.pack("!HH", number, 1) + b"echo"
    if packet.state == "RELATED":
        rest = bytes(4) + datagram(related_to(packet), number=number, service=0)[:28]
    elif kind in (3, 5, 11):  # errors carry what they are about: here nothing that anybody sent
        rest = bytes(4) + b"\x45" + bytes(27)
    whole = struct.pack("!BBH", kind, code, 0) + rest
    return whole[:2] + struct.pack("!H", _checksum(whole)) + whole[4:]


def _checked(packet: Packet, body: bytes, at: int) -> bytes:
    pseudo = struct.pack("!IIHH", packet.source, packet.destination, packet.protocol, len(body))
    return body[:at] + struct.pack("!H", _checksum(pseudo + body) or 0xFFFF) + body[at + 2 :]


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
