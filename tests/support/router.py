"""A router between two ends, each in a network namespace of its own.

Rules are loaded, real packets sent, and the tests see which of them arrive.

All runs on one CPU, so packets keep their order, and one that surely passes tells that all before it are through:
nothing is waited for.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.render import render_ruleset
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.legacy import LegacyReader
from support.conversations import before
from support.datagrams import datagram
from support.hosts import CLIENT_NET, CLIENT_SIDE, CLIENTS, MARKS, OWN, SERVER_NET, SERVER_SIDE, SERVERS
from support.rulesets import BUILT_IN, PROTOCOLS, Chains, World

_CLONE_NEWNET = 0x40000000
_SO_RCVMARK, _SO_RCVBUFFORCE, _NETFILTER = (
    75,
    33,
    12,
)  # asm-generic/socket.h, linux/netlink.h; Python has no names for them
_ALL_PROTOCOLS, _IP = 3, 0x0800
_OUTGOING = 4
_BUFFER = 1 << 24
_SECONDS = 5
# Values of the DSCP field: the packet's mark as its index in MARKS; with this bit untracked; and what passes before any
# rule is asked.
UNTRACKED, PASSES = 32, 63
_ROUTER_MAC, _END_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
# A packet to tell that all before it are through.
_LAST = 0xFFFF


@frozen(kw_only=True)
class Arrival:
    """A packet that came through, and the mark that it left the rules with."""

    mark: int


class Router:
    """The router, and all that is wired to it.

    For use in a process of its own (`support.namespaces`), whose network namespace becomes the router's.
    """

    def __init__(self, backend: str, world: World) -> None:
        self.backend = backend
        self._world = world
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[os.getpid() % len(allowed)]})  # tests that run at once are disposition
        self._sockets = ExitStack()
        self._conntrack = self._socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._ends: dict[str, socket.socket] = {}
        self._taps: dict[str, socket.socket] = {}
        _settings()
        for name, address in ((CLIENT_SIDE, "10.254.0"), (SERVER_SIDE, "10.254.1")):
            self._wire(name, address)
        _routes()
        self._local = {
            protocol: self._marked(socket.AF_INET, socket.SOCK_RAW, protocol) for protocol in sorted(set(PROTOCOLS))
        }
        self._restore(_around(world))

    def load(self, chains: Chains) -> None:
        """Replace the filter table; those packets pass unasked that lead up to one under test."""
        passing = r.Rule(matches=(r.OpaqueMatch(module="dscp", arguments=("--dscp", hex(PASSES))),), target=r.ACCEPT)
        whole = {
            name: evolve(chain, rules=(passing, *chain.rules)) if name in BUILT_IN else chain
            for name, chain in chains.items()
        }
        self._restore(render_ruleset(r.Ruleset(tables={"filter": r.Table(name="filter", chains=whole)})))

    def read(self) -> dict[str, r.Chain]:
        """The filter table as the kernel has it, with its counters."""
        if self.backend == "legacy":
            chains = LegacyReader().read().chains("filter")
        else:
            command = ("iptables-nft-save", "-c", "-t", "filter")
            saved = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
            chains = parse_save(saved, where=command[0]).chains("filter")
        return {
            name: evolve(chain, rules=chain.rules[1:], packets=(chain.packets or ())[1:]) if name in BUILT_IN else chain
            for name, chain in chains.items()
        }

    def deliver(self, packets: Sequence[Packet]) -> list[Arrival | None]:
        """Send ``packets``, each behind what must come before it; how each arrived, or None.

        Conntrack knows nothing at first.
        """
        if self._world.tracking:
            self._forget_flows()
        sent = {}
        for number, packet in enumerate(packets, start=1):
            for earlier in before(packet):
                self._send(earlier, datagram(earlier, number=number, service=PASSES))
            assert packet.mark is not None
            service = MARKS.index(packet.mark) + (UNTRACKED if packet.state == "UNTRACKED" else 0)
            data = datagram(packet, number=number, service=service)
            sent[_identity(data)] = number - 1
            self._send(packet, data)
        arrived: list[Arrival | None] = [None] * len(packets)
        for data, mark in self._received():
            if _identity(data) in sent:
                arrived[sent[_identity(data)]] = Arrival(mark=mark)
        return arrived

    def _received(self) -> list[tuple[bytes, int]]:
        """Every packet that came out of the router or into it, with its mark."""
        for side, other in ((CLIENT_SIDE, SERVER_SIDE), (SERVER_SIDE, CLIENT_SIDE)):
            ends = {CLIENT_SIDE: CLIENTS[0], SERVER_SIDE: SERVERS[0]}
            through = Packet(
                source=ends[side], destination=ends[other], protocol=r.UDP, in_interface=side, out_interface=other
            )
            self._send(through, datagram(through, number=_LAST, service=PASSES))
        inside = Packet(source=CLIENTS[0], destination=OWN[0], protocol=r.UDP, in_interface=CLIENT_SIDE)
        self._send(inside, datagram(inside, number=_LAST, service=PASSES))
        found = list(_until_last(self._local[r.UDP]))
        for end, tap in zip(self._ends.values(), self._taps.values(), strict=True):
            arrived = {_identity(data) for data, _ in _until_last(end)}
            found += [(data, mark) for data, mark in _waiting(tap) if _identity(data) in arrived]
        for protocol, local in self._local.items():
            if protocol != r.UDP:
                found += _waiting(local)
        return found

    def _send(self, packet: Packet, data: bytes) -> None:
        assert packet.in_interface
        self._ends[packet.in_interface].send(_ROUTER_MAC + _END_MAC + struct.pack("!H", _IP) + data)

    def _restore(self, rules: str) -> None:
        subprocess.run((f"iptables-{self.backend}-restore", "-w"), input=rules, text=True, check=True, timeout=30)

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        made = self._sockets.enter_context(socket.socket(family, kind, protocol))
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.settimeout(_SECONDS)
        return made

    def _marked(self, family: int, kind: int, protocol: int) -> socket.socket:
        """A socket that tells the mark of what it receives."""
        made = self._socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
        except OSError as error:
            pytest.skip(f"needs Linux 5.19: SO_RCVMARK, with which a socket tells marks ({error})")
        return made

    def _wire(self, name: str, network: str) -> None:
        """An end in a new namespace that answers nothing by itself, and its link to the router."""
        libc = ctypes.CDLL(None, use_errno=True)
        router, end = os.open("/proc/self/ns/net", os.O_RDONLY), -1
        try:
            assert libc.unshare(_CLONE_NEWNET) == 0
            _settings()
            end = os.open("/proc/self/ns/net", os.O_RDONLY)
            assert libc.setns(router, _CLONE_NEWNET) == 0
            place = f"netns /proc/{os.getpid()}/fd/{end}"
            _ip(
                f"link add {name} address {_ROUTER_MAC.hex(':')} type veth peer name end address "
                f"{_END_MAC.hex(':')} {place}"
            )
            _ip(f"address add {network}.1/24 brd + dev {name}", f"link set {name} up")
            _ip(f"neighbour add {network}.2 lladdr {_END_MAC.hex(':')} dev {name} nud permanent")
            self._taps[name] = self._marked(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._taps[name].bind((name, _ALL_PROTOCOLS))
            assert libc.setns(end, _CLONE_NEWNET) == 0
            _ip("link set end up")
            self._ends[name] = self._socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._ends[name].bind(("end", _IP))
        finally:
            libc.setns(router, _CLONE_NEWNET)
            os.close(router)
            if end >= 0:
                os.close(end)

    def _forget_flows(self) -> None:
        """Delete every entry of conntrack's table: nfnetlink's IPCTNL_MSG_CT_DELETE without a filter, acknowledged."""
        self._conntrack.send(struct.pack("=IHHIIBBH", 20, 0x102, 0x5, 1, 0, socket.AF_INET, 0, 0))
        answer = self._conntrack.recv(4096)
        assert struct.unpack_from("=i", answer, 16) == (0,), (
            "conntrack's table cannot be emptied: needs nf_conntrack_netlink"
        )

    def close(self) -> None:
        """Close every socket; the namespaces go with the process."""
        self._sockets.close()


def _ip(*lines: str) -> None:
    for line in lines:
        subprocess.run(("ip", *line.split()), check=True, timeout=30)


def _settings() -> None:
    """Forward, accept any source, send no redirect, and send nothing unrequested, as IPv6 would."""
    for name, value in (
        ("ipv4/ip_forward", 1),
        *(
            (f"ipv4/conf/{which}/{name}", 0)
            for which in ("all", "default")
            for name in ("rp_filter", "send_redirects", "accept_redirects")
        ),
        ("ipv6/conf/default/disable_ipv6", 1),
    ):
        setting = Path("/proc/sys/net", name)
        if setting.exists() or not name.startswith("ipv6"):
            setting.write_text(str(value))


def _routes() -> None:
    _ip("link set lo up", *(f"address add {socket.inet_ntoa(struct.pack('!I', address))}/32 dev lo" for address in OWN))
    _ip(f"route add {socket.inet_ntoa(struct.pack('!I', CLIENT_NET))}/17 via 10.254.0.2")
    _ip(f"route add {socket.inet_ntoa(struct.pack('!I', SERVER_NET))}/17 via 10.254.1.2")


def _around(world: World) -> str:
    """What is around the filter table: marks, and who is not tracked, by the DSCP field.

    The first rule alone sets conntrack to work.

    What the router itself says goes nowhere: some of it would come back to it, as a broadcast does.
    """
    marks = [
        f"-A PREROUTING -m dscp --dscp {bit + index} -j MARK --set-mark {mark}"
        for index, mark in enumerate(MARKS)
        for bit in (0, 32)
    ]
    tracking = ["-A PREROUTING -m conntrack --ctstate NEW"] if world.tracking else []
    untracked = [f"-A PREROUTING -m dscp --dscp {UNTRACKED + index} -j CT --notrack" for index in range(len(MARKS))]
    raw = ["*raw", *untracked, "COMMIT"] if world.tracking else []
    return "\n".join(["*mangle", ":OUTPUT DROP", *tracking, *marks, "COMMIT", *raw, ""])


def _identity(data: bytes) -> bytes:
    """What a router leaves as it is: all but time to live and checksum."""
    return data[:8] + data[9:10] + data[12:]


def _until_last(end: socket.socket) -> list[tuple[bytes, int]]:
    """What ``end`` received, up to the packet that was sent last."""
    found: list[tuple[bytes, int]] = []
    while True:
        data, mark, _ = _next(end)
        if data[4:6] == struct.pack("!H", _LAST) and data[1] == PASSES << 2:
            return found
        found.append((data, mark))


def _waiting(end: socket.socket) -> list[tuple[bytes, int]]:
    """What ``end`` has received by now; of a tap what went out."""
    found = []
    end.settimeout(0)
    while True:
        try:
            data, mark, out = _next(end)
            if out:
                found.append((data, mark))
        except BlockingIOError:
            end.settimeout(_SECONDS)
            return found


def _next(end: socket.socket) -> tuple[bytes, int, bool]:
    """An IP packet, its mark, and whether it is one that went through the rules: a tap sees those too that come in."""
    data, parts, _, sender = end.recvmsg(2048, 256)
    mark = next(
        (
            struct.unpack("=I", value)[0]
            for level, kind, value in parts
            if (level, kind) == (socket.SOL_SOCKET, socket.SO_MARK)
        ),
        0,
    )
    if end.family != socket.AF_PACKET:
        return data, mark, True
    return data[14:], mark, sender[2] == _OUTGOING
