"""The cell's lease: silk-daemon says it, else silk-vtep's address and the routes.

Without either it is not known, and that is said.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from c2c_auditor.model.cni import CniConfig, Lease, LeaseSource
from c2c_auditor.sources.facts import lease
from c2c_auditor.sources.facts.lease import LeaseReader, LeaseReading, read_lease

ROUTES = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "silk-vtep\t0000FF0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    "silk-vtep\t0009FF0A\t0009FF0A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    "silk-vtep\t0500FF0A\t0500FF0A\t0003\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
)


@contextmanager
def _daemon(answer: bytes, *, drip: bool = False) -> Iterator[int]:
    """A server on loopback that gives every connection ``answer``; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                for part in [bytes([byte]) for byte in answer] if drip else [answer]:
                    connection.sendall(part)
                    if drip:
                        ended.wait(0.05)
        except OSError:
            pass

    ended = threading.Event()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _answer(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture(name="routes")
def _routes(tmp_path: Path) -> Path:
    path = tmp_path / "route"
    path.write_text(ROUTES)
    return path


def _interfaces(monkeypatch: pytest.MonkeyPatch, **addresses: str) -> None:
    """The machine's interfaces, each with one address; ``_`` stands for a dash."""
    held = {
        name.replace("_", "-"): [SimpleNamespace(family=socket.AF_INET, address=address)]
        for name, address in addresses.items()
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: held)


def test_silk_daemon_says_the_lease(routes: Path) -> None:
    """Its answer has more than that."""
    with _daemon(_answer('{"overlay_subnet": "10.255.7.0/24", "mtu": 1410}')) as port:
        reading = read_lease(port, "silk-vtep", routes=routes)
    assert reading.lease == Lease(network=IPv4Network("10.255.7.0/24"), source=LeaseSource.SILK_DAEMON)
    assert reading.note == ""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        _answer("{}"),
        _answer("<html>"),
        _answer("[" * 60_000),
        _answer('{"overlay_subnet": "fd00::/64"}'),
        _answer('{"overlay_subnet": 7}'),
        _answer('{"overlay_subnet": "10.255.7.0/24"}', "500 Error"),
        _answer("", "302 Found\r\nLocation: http://127.0.0.1:1/"),
        _answer('{"overlay_subnet": "10.255.7.0/24"}' + " " * 100_000),
    ],
)
def test_an_answer_that_is_none_leaves_the_interface(
    answer: bytes, routes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is the lease's first; the other cells' routes show how long leases are."""
    _interfaces(monkeypatch, silk_vtep="10.255.7.0", eth0="10.0.0.101")
    with _daemon(answer) as port:
        reading = read_lease(port, "silk-vtep", routes=routes)
    assert reading.lease == Lease(network=IPv4Network("10.255.7.0/24"), source=LeaseSource.VTEP)
    assert f"127.0.0.1:{port}" in reading.note
    assert "silk-vtep" in reading.note


def test_a_daemon_that_drips_is_not_waited_for(routes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time bounds the whole answer, not each byte of it."""
    monkeypatch.setattr(lease, "_SECONDS", 0.2)
    _interfaces(monkeypatch)
    with _daemon(_answer('{"overlay_subnet": "10.255.7.0/24"}'), drip=True) as port:
        assert "in time" in read_lease(port, "silk-vtep", routes=routes).note


@pytest.mark.parametrize(
    ("address", "routes"),
    [
        (None, ROUTES),
        ("10.255.7.1", ROUTES),
        ("10.255.7.0", ""),
        ("10.255.7.0", "Iface\nsilk-vtep\n"),
        ("10.255.7.0", ROUTES.replace("00FFFFFF", "xyz")),
        ("10.255.7.0", ROUTES + ROUTES.splitlines()[3].replace("00FFFFFF", "80FFFFFF")),
        ("10.255.7.0", None),
    ],
)
def test_what_neither_shows_is_not_known_and_said(
    address: str | None, routes: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No interface, an address in the middle, no other cell, leases of two lengths: nothing is guessed."""
    _interfaces(monkeypatch, **({"silk_vtep": address} if address else {}))
    path = tmp_path / "route"
    if routes is not None:
        path.write_text(routes)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    reading = read_lease(port, "silk-vtep", routes=path)
    assert reading.lease is None
    assert "refused" in reading.note


def test_the_lease_is_read_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """And anew when the CNI wrapper's configuration names another port."""
    calls: list[tuple[int, str]] = []

    def read(port: int, name: str) -> LeaseReading:
        calls.append((port, name))
        return LeaseReading(lease=None)

    monkeypatch.setattr(lease, "read_lease", read)
    reader = LeaseReader()
    for now in (0.0, 59.0, 60.0):
        reader.read(now, None)
    reader.read(61.0, CniConfig(daemon_port=1, vtep_name="vtep"))
    reader.read(0.0, CniConfig(daemon_port=1, vtep_name="vtep"))
    assert calls == [(23954, "silk-vtep")] * 2 + [(1, "vtep")] * 2
