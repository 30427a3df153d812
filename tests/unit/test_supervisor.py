"""What systemd is told, as it hears it: datagrams to a socket that it names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from c2c_auditor.supervisor import Supervisor


@contextmanager
def _systemd(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.settimeout(0)
        yield heard


def test_ready_alive_and_stopping_are_heard(tmp_path: Path) -> None:
    """In systemd's words, one datagram each."""
    with _systemd(str(tmp_path / "notify")) as heard:
        supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000000"})
        supervisor.ready(360.0)
        supervisor.alive()
        supervisor.stopping()
        assert [heard.recv(256) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_watchdog_that_is_too_impatient_is_told_so(tmp_path: Path) -> None:
    """An agent whose settings allow longer audits is not taken for stuck."""
    with _systemd(str(tmp_path / "notify")) as heard:
        Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000000"}).ready(3600.0)
        assert heard.recv(256) == b"READY=1\nWATCHDOG_USEC=3600000000"


def test_a_name_without_a_file_is_found(tmp_path: Path) -> None:
    """Systemd in a container may use one; without a watchdog nothing is said of being alive."""
    name = f"c2c-auditor-{tmp_path.name}-{id(tmp_path)}"
    with _systemd(f"\0{name}") as heard:
        supervisor = Supervisor({"NOTIFY_SOCKET": f"@{name}"})
        supervisor.alive()
        supervisor.ready(1.0)
        assert heard.recv(256) == b"READY=1"
        with pytest.raises(BlockingIOError):
            heard.recv(256)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_nobody_listens_and_nothing_happens(environment: dict[str, str]) -> None:
    """Under bpm, in a shell, or with a systemd that is gone."""
    supervisor = Supervisor(environment)
    supervisor.ready(1.0)
    supervisor.alive()
    supervisor.stopping()
