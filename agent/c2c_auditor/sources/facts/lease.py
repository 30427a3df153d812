"""The cell's lease: the overlay addresses that silk gave to this cell.

silk-daemon answers a GET on loopback with it, as it does to silk's CNI wrapper (silk-release
cni-wrapper-plugin/netrules/masquerader.go, silk/cmd/silk-daemon/main.go). Where it does not answer, the VTEP's own
address is the lease's first (silk/daemon/vtep/config_creator.go). The prefix of that address is the overlay network's,
not the lease's; but all leases of a platform have one length, and the routes to the other cells' leases show it.

A lease that cannot be read makes no audit blind: the plan infers it from what most containers' rules have in common,
and a note says so. So a failure is no `SourceError`; it is part of the reading.
"""

from __future__ import annotations

import http.client
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import psutil
from attrs import frozen

from c2c_auditor.decoding import DecodeError, decode
from c2c_auditor.errors import SourceError
from c2c_auditor.model.cni import CniConfig, Lease, LeaseSource
from c2c_auditor.sources.facts.deadline import DeadlineSocket
from c2c_auditor.sources.files import read_text_file

_SECONDS = 1.0
_REFRESH_SECONDS = 60.0
_MOST_BYTES = 1 << 16
_ROUTES = Path("/proc/thread-self/net/route")  # as /proc/net/route is, which a service with ProcSubset=pid lacks
_BITS = 32
_MASK = 7  # its column


@frozen(kw_only=True)
class LeaseReading:
    """``lease`` is None where it cannot be read; ``note`` says, for people, which source failed."""

    lease: Lease | None
    note: str = ""


@frozen(kw_only=True)
class _Answer:
    overlay_subnet: IPv4Network


class LeaseReader:
    """Reads the lease no more often than once a minute: it changes when silk-daemon starts anew, if ever."""

    def __init__(self) -> None:
        self._known: tuple[float, CniConfig, LeaseReading] | None = None

    def read(self, now: float, cni: CniConfig | None) -> LeaseReading:
        """The lease at ``now`` (seconds), read with the port and interface of ``cni``, or with silk's default ones."""
        settings = cni if cni is not None else CniConfig()
        if self._known is None or self._known[1] != settings or not 0 <= now - self._known[0] < _REFRESH_SECONDS:
            self._known = now, settings, read_lease(settings.daemon_port, settings.vtep_name)
        return self._known[2]


def read_lease(daemon_port: int, vtep_name: str, *, routes: Path = _ROUTES) -> LeaseReading:
    """The lease by silk-daemon's answer on ``daemon_port``, else by the interface ``vtep_name``. Raises nothing."""
    try:
        return LeaseReading(lease=Lease(network=_ask(daemon_port), source=LeaseSource.SILK_DAEMON))
    except (OSError, http.client.HTTPException, DecodeError) as error:
        problem = f"silk-daemon at 127.0.0.1:{daemon_port} does not say the cell's lease ({_describe(error)})"
    network = _by_interface(vtep_name, routes)
    if network is None:
        return LeaseReading(lease=None, note=f"{problem}, and {vtep_name} and its routes do not show it.")
    return LeaseReading(
        lease=Lease(network=network, source=LeaseSource.VTEP),
        note=f"{problem}; it is taken from the address of {vtep_name}.",
    )


def _ask(port: int) -> IPv4Network:
    """silk-daemon's answer: loopback only, no proxy, no redirect, bounded in time and size."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with DeadlineSocket(socket.AF_INET, socket.SOCK_STREAM) as plain:
        plain.settimeout(_SECONDS)
        plain.connect(("127.0.0.1", port))
        connection.sock = plain
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read(_MOST_BYTES + 1)
    if response.status != http.client.OK or len(body) > _MOST_BYTES:
        raise DecodeError(f"it answered {response.status} with {len(body)} bytes")
    return decode(body.decode("utf-8", "replace"), _Answer).overlay_subnet


def _describe(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or "no answer in time").lower()
    return f"{error!s:.200}" if isinstance(error, DecodeError) else "it is no HTTP server"


def _by_interface(vtep_name: str, routes: Path) -> IPv4Network | None:
    addresses = [
        IPv4Address(assigned.address)
        for assigned in psutil.net_if_addrs().get(vtep_name, ())
        if assigned.family == socket.AF_INET and assigned.address
    ]
    try:
        lengths = _lease_lengths(read_text_file(routes, source="lease", most=16 << 20), vtep_name)
    except SourceError:
        return None
    if len(addresses) != 1 or len(lengths) != 1:
        return None
    network = IPv4Network((int(addresses[0]), lengths.pop()), strict=False)
    return network if network.network_address == addresses[0] else None


def _lease_lengths(text: str, vtep_name: str) -> set[int]:
    """The prefix lengths of the routes through other cells' VTEPs. A lease of one address is a VM's without containers.

    A line of ``/proc/PID/net/route``: interface, destination, gateway, flags, three numbers, mask, ...; addresses are
    hexadecimal in the machine's byte order (kernel net/ipv4/fib_trie.c, fib_route_seq_show).
    """
    lines = [line.split() for line in text.splitlines()[1:]]
    masks = [
        fields[_MASK] for fields in lines if len(fields) > _MASK and fields[0] == vtep_name and fields[2].strip("0")
    ]
    return {length for mask in masks if (length := _mask_length(mask)) < _BITS}


def _mask_length(mask: str) -> int:
    """The number of bits set in a mask of hexadecimal digits; 32 for a text that is none."""
    try:
        return int(mask, 16).bit_count()
    except ValueError:
        return _BITS
