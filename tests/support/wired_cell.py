"""A Diego cell's wiring around recorded rules: its containers, the outside, other cells over VXLAN. Packets are real.

Each container and the outside is a network namespace that answers nothing by itself; tests send for it and see what
comes to it. All runs on one CPU, so packets keep their order, and one that passes by the rules' leave tells that all
before it are through: nothing is waited for.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.render import render_ruleset
from c2c_auditor.silk.chain_names import container_interface
from support.datagrams import datagram

OUTSIDE = int(IPv4Address("198.51.100.7"))
_CLONE_NEWNET = 0x40000000
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it
_IP, _BUFFER, _SECONDS = 0x0800, 1 << 22, 20
_CELL_MAC, _END_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
_GATEWAY = "10.0.0.1"
_OVERLAY, _FAR = "10.255.0.0/16", "10.255.255.254"
_VXLAN_PORT = 4789
# The value of the DSCP field with which a packet passes before any rule is asked, and the number of such a packet.
_PASSES, _LAST = 63, 0xFFFF
_SYN_ACK = 0x12


@frozen(kw_only=True)
class Arrival:
    """A packet as it came to an end: addresses and ports after all translation."""

    protocol: int
    source: int
    destination: int
    source_port: int
    destination_port: int


class Wired:
    """One cell. For use in a process of its own (`support.namespaces`)."""

    def __init__(self, backend: str, containers: Sequence[Container], address: str) -> None:
        self.address = address
        self._backend = backend
        self._closing = ExitStack()
        self.place = _namespace(self._closing)
        self._ends: dict[str, socket.socket] = {}
        self._local: dict[int, socket.socket] = {}
        with inside(self.place):
            _settings()
            _ip("link set lo up")
            for protocol in (r.TCP, r.UDP):
                self._local[protocol] = self._socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        for container in containers:
            self._wire(container_interface(container))
            with inside(self.place):
                name = container_interface(container)
                _ip(
                    f"route add {container.address}/32 dev {name}",
                    f"neighbour add {container.address} lladdr {_END_MAC.hex(':')} dev {name} nud permanent",
                )

    def outside(self) -> None:
        """Give the cell an underlay and a vtep, each with an end beyond it, and addresses of its own for services."""
        self._wire("eth0")
        self._wire("silk-vtep")
        with inside(self.place):
            _ip(
                f"address add {self.address}/24 dev eth0",
                "address add 169.254.0.2/32 dev lo",
                f"neighbour add {_GATEWAY} lladdr {_END_MAC.hex(':')} dev eth0 nud permanent",
                f"route add default via {_GATEWAY}",
                f"neighbour add {_FAR} lladdr {_END_MAC.hex(':')} dev silk-vtep nud permanent",
                f"route add {_OVERLAY} via {_FAR} dev silk-vtep onlink",
            )

    def load(self, ruleset: r.Ruleset) -> None:
        """Replace all tables; packets of one kind pass in front of their rules. Forget all flows."""
        passing = r.Rule(matches=(r.OpaqueMatch(module="dscp", arguments=("--dscp", hex(_PASSES))),), target=r.ACCEPT)
        tables = dict(ruleset.tables)
        for name in ("filter", "mangle"):
            chains = {
                chain.name: evolve(chain, rules=(passing, *chain.rules) if chain.policy else chain.rules, packets=None)
                for chain in tables[name].chains.values()
            }
            tables[name] = evolve(tables[name], chains=chains)
        text = render_ruleset(evolve(ruleset, tables=tables))
        with inside(self.place):
            subprocess.run((f"iptables-{self._backend}-restore", "-w"), input=text, text=True, check=True, timeout=30)
            _forget_flows()

    def send(self, packet: Packet, number: int, *, passes: bool = False) -> None:
        """Send ``packet`` from the end of its incoming interface."""
        assert packet.in_interface
        data = datagram(packet, number=number, service=_PASSES if passes else 0)
        self._ends[packet.in_interface].send(_CELL_MAC + _END_MAC + struct.pack("!H", _IP) + data)

    def pass_through(self, source: str, into: str, ends: tuple[int, int]) -> None:
        """Send what tells the end ``into`` (empty: the cell itself) that all before it is through."""
        # Of its own port, so that it is no answer to another one that left with the cell's address.
        port = 1 + zlib.crc32(f"{source} {into}".encode()) % 1000
        packet = Packet(
            source=ends[0],
            destination=ends[1],
            protocol=r.UDP,
            in_interface=source,
            out_interface=into,
            source_port=port,
            destination_port=port,
        )
        self.send(packet, _LAST, passes=True)

    def received(self, end: str) -> list[Arrival]:
        """What came to ``end`` up to the packet of `pass_through`; ``""`` is the cell itself."""
        if end:
            return list(_until_last(self._ends[end], offset=14))
        return [*_until_last(self._local[r.UDP], offset=0), *_waiting(self._local[r.TCP])]

    def connect(self, other: Wired, leases: tuple[str, str]) -> None:
        """Wire two cells to each other: the underlay, and VXLAN with the group policy extension, as silk does."""
        with inside(self.place):
            place = f"netns /proc/{os.getpid()}/fd/{other.place}"
            _ip(f"link add eth0 type veth peer name eth0 {place}")
        first, second = "02:00:00:00:0a:01", "02:00:00:00:0a:02"
        for one, far, (own, theirs), mac, far_mac in (
            (self, other, leases, first, second),
            (other, self, leases[::-1], second, first),
        ):
            with inside(one.place):
                near, beyond = own.partition("/")[0], theirs.partition("/")[0]
                _ip(
                    f"address add {one.address}/24 dev eth0",
                    "link set eth0 up",
                    f"link add silk-vtep address {mac} type vxlan id 1 local {one.address} dev eth0 "
                    f"dstport {_VXLAN_PORT} nolearning gbp",
                    f"address add {near}/32 dev silk-vtep",
                    "link set silk-vtep up",
                    f"neighbour add {beyond} lladdr {far_mac} dev silk-vtep nud permanent",
                    f"route add {theirs} via {beyond} dev silk-vtep onlink",
                )
                command = ("bridge", "fdb", "add", far_mac, "dev", "silk-vtep", "dst", far.address)
                subprocess.run(command, check=True, timeout=30)

    def _wire(self, name: str) -> None:
        """An interface of the cell, and its other end in a namespace of its own."""
        end = _namespace(self._closing)
        with inside(self.place):
            _ip(
                f"link add {name} address {_CELL_MAC.hex(':')} type veth peer name end address {_END_MAC.hex(':')} "
                f"netns /proc/{os.getpid()}/fd/{end}",
                f"link set {name} up",
            )
        with inside(end):
            _settings()
            _ip("link set end up")
            made = self._socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind(("end", _IP))
            self._ends[name] = made

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        made = self._closing.enter_context(socket.socket(family, kind, protocol))
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.settimeout(_SECONDS)
        return made

    def close(self) -> None:
        """Close every socket and namespace."""
        self._closing.close()


def answer_to(arrival: Arrival, interface: str) -> Packet:
    """What an end answers to a packet that came to it by ``interface`` of the cell."""
    return Packet(
        source=arrival.destination,
        destination=arrival.source,
        protocol=arrival.protocol,
        in_interface=interface,
        source_port=arrival.destination_port,
        destination_port=arrival.source_port,
        tcp_flags=_SYN_ACK if arrival.protocol == r.TCP else None,
        state="ESTABLISHED",
    )


@contextmanager
def inside(place: int) -> Iterator[None]:
    """Be in the network namespace of the descriptor ``place``."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(place)
        yield
    finally:
        _enter(before)
        os.close(before)


def one_cpu() -> None:
    """From now on run on one CPU only, one of those that the process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[os.getpid() % len(allowed)]})


def _enter(place: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(place, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


def _namespace(closing: ExitStack) -> int:
    """A descriptor of a new network namespace; the thread stays where it is."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(_CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        closing.callback(os.close, made)
        return made
    finally:
        _enter(before)
        os.close(before)


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


def _forget_flows() -> None:
    """Delete every entry of conntrack's table: nfnetlink's IPCTNL_MSG_CT_DELETE without a filter, acknowledged."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as conntrack:
        conntrack.settimeout(_SECONDS)
        conntrack.send(struct.pack("=IHHIIBBH", 20, 0x102, 0x5, 1, 0, socket.AF_INET, 0, 0))
        assert struct.unpack_from("=i", conntrack.recv(4096), 16) == (0,), (
            "conntrack's table cannot be emptied: needs nf_conntrack_netlink"
        )


def _until_last(end: socket.socket, *, offset: int) -> Iterator[Arrival]:
    while True:
        data = end.recv(2048)[offset:]
        number = struct.unpack_from("!H", data, 4)[0]
        if number == _LAST and data[1] >> 2 == _PASSES:
            return
        if data[9] in (r.TCP, r.UDP):
            yield _arrival(data)


def _waiting(end: socket.socket) -> Iterator[Arrival]:
    """What has come by now."""
    end.settimeout(0)
    try:
        while True:
            yield _arrival(end.recv(2048))
    except BlockingIOError:
        end.settimeout(_SECONDS)


def _arrival(data: bytes) -> Arrival:
    source, destination, source_port, destination_port = struct.unpack_from("!IIHH", data, 12)
    return Arrival(
        protocol=data[9],
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
    )
