"""The listening process against many, slow and hostile clients, and what it could do if it were taken over."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from c2c_auditor.config import ServerSettings, TlsSettings
from c2c_auditor.errors import ConfigError
from c2c_auditor.server import ServerProcess, listener
from c2c_auditor.server.questions import Answer, refusal
from support.clients import certificates, client_context, connect, half_hello, many, memory, scrape
from support.waiting import turns

AGENT = Path(__file__).parents[2] / "agent"
_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its user: needs root")


def _no_answer(subject: str, arguments: Mapping[str, str]) -> Answer:
    return refusal(503, f"{subject} {len(arguments)}")


@pytest.fixture
def ca() -> trustme.CA:
    """The CA of server and clients."""
    return trustme.CA()


@pytest.fixture
def tls(tmp_path: Path, ca: trustme.CA) -> ServerSettings:
    """Settings with files that only this user may read."""
    settings = certificates(tmp_path, ca)
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    return ServerSettings(port=0, tls=settings)


@pytest.fixture
def server(tls: ServerSettings) -> Iterator[ServerProcess]:
    """A server that demands certificates of its clients."""
    with ServerProcess(tls, _no_answer) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[ServerProcess]:
    """A server without TLS."""
    with ServerProcess(ServerSettings(port=0), _no_answer) as running:
        yield running


def _child(server: ServerProcess) -> int:
    (pid,) = (int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
    assert server.address
    return pid


def _limits(pid: int) -> dict[str, str]:
    """Soft and hard limits by name, as the kernel states them."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): " ".join(line[26:].split()[:2]) for line in lines}


@pytest.mark.parametrize("certificate", [True, False])
def test_its_memory_does_not_grow_with_its_clients(server: ServerProcess, ca: trustme.CA, *, certificate: bool) -> None:
    """Neither with scrapes nor with connections that bring no certificate: 600 of them left 2.3 MiB before."""
    context = client_context(ca, certificate=certificate)
    many(lambda: scrape(server.address, context), 300, parallel=4)
    before = memory(_child(server))
    results = many(lambda: scrape(server.address, context), 600, parallel=4)
    assert set(results) == ({"200"} if certificate else {"closed"})
    assert memory(_child(server)) - before < 1


def test_many_halves_of_a_hello_keep_no_scrape_waiting(server: ServerProcess, ca: trustme.CA) -> None:
    """They take no thread, and of more than there is room for the oldest go."""
    held = [half_hello(server.address) for _ in range(300)]
    assert scrape(server.address, client_context(ca), timeout=5) == "200"
    for client in held:
        client.close()


def test_many_halves_of_a_request_keep_no_scrape_waiting(plain: ServerProcess) -> None:
    """The same after the handshake, or without one."""
    held = [connect(plain.address) for _ in range(300)]
    for client in held:
        with contextlib.suppress(OSError):  # the oldest may be gone
            client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
    assert scrape(plain.address, timeout=5) == "200"
    for client in held:
        client.close()


def test_a_client_that_never_finishes_its_request_is_hung_up_on(plain: ServerProcess) -> None:
    """Also when a byte comes now and then: a place among the waiting is kept for a few seconds only."""
    with connect(plain.address) as client:
        for _ in turns(pause=0.1):
            try:
                client.sendall(b"y")
            except OSError:
                return
    pytest.fail("it was kept for two minutes")


@pytest.mark.parametrize("encrypted", [True, False])
def test_one_request_too_many_is_refused_at_once(
    tls: ServerSettings, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool
) -> None:
    """With a 503 and the end of the connection; here already the first is one too many."""
    monkeypatch.setattr(listener, "_QUEUED", 0)
    settings, context = (tls, client_context(ca)) if encrypted else (ServerSettings(port=0), None)
    with ServerProcess(settings, _no_answer) as server:
        assert many(lambda: scrape(server.address, context), 20, parallel=4) == {"503": 20}


@pytest.mark.parametrize("announced", [b"Content-Length: 1", b"Transfer-Encoding: chunked"])
def test_a_request_with_a_body_is_refused(plain: ServerProcess, announced: bytes) -> None:
    """No thread waits for a body that nothing here takes."""
    with connect(plain.address) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: cell\r\n" + announced + b"\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_a_second_request_before_the_first_answer_ends_the_connection(plain: ServerProcess) -> None:
    """One answer, and no connection with bytes in a buffer that no selector sees."""
    request = b"GET /healthz HTTP/1.1\r\nHost: cell\r\n\r\n"
    with connect(plain.address) as client:
        client.sendall(request * 2)
        answer = b""
        while part := client.recv(1 << 16):
            answer += part
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert scrape(plain.address) == "200"


@_as_root
def test_started_as_root_it_becomes_nobody(server: ServerProcess) -> None:
    """User, group and supplementary groups of every thread, by the kernel's own account."""
    nobody = pwd.getpwnam("nobody")
    for task in Path(f"/proc/{_child(server)}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"].split() == []


@_as_root
def test_started_as_root_it_becomes_the_user_of_the_settings() -> None:
    """`server.user`."""
    with ServerProcess(ServerSettings(port=0, user="daemon"), _no_answer) as server:
        status = Path(f"/proc/{_child(server)}/status").read_text()
        assert f"Uid:\t{pwd.getpwnam('daemon').pw_uid}\t" in status
        assert scrape(server.address) == "200"


def test_without_its_user_it_does_not_start() -> None:
    """An error that names user and setting."""
    with (
        pytest.raises(ConfigError, match=r"no-such-user.*server\.user"),
        ServerProcess(ServerSettings(port=0, user="no-such-user"), _no_answer),
    ):
        pass


_TAKEN_OVER = """
import os, signal, sys
from c2c_auditor.privileges import switch_user, drop_all
switch_user(None)
drop_all()
for what in (
    lambda: open(sys.argv[1]),
    lambda: open(sys.argv[2], "a"),
    lambda: open("/etc/passwd", "a"),
    lambda: os.kill(os.getppid(), signal.SIGTERM),
    lambda: os.setuid(0),
):
    try:
        what()
    except PermissionError:
        print("refused")
"""


@_as_root
def test_it_cannot_reach_what_belongs_to_the_agent(tmp_path: Path) -> None:
    """A process with the same rights reads no client key, writes no store, no system file, and signals no agent."""
    tmp_path.chmod(0o755)
    key, store = tmp_path / "client.key", tmp_path / "store.json"
    for path, mode in ((key, 0o600), (store, 0o644)):
        path.write_text("{}")
        path.chmod(mode)
    done = subprocess.run(
        (sys.executable, "-c", _TAKEN_OVER, str(key), str(store)),
        env={"PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["refused"] * 5


def test_its_resources_are_bounded(server: ServerProcess) -> None:
    """Memory and descriptors; no further process or thread, and no copy of the server's key on a disk."""
    limits = _limits(_child(server))
    data, descriptors = (int(limits[name].split()[1]) for name in ("Max data size", "Max open files"))
    assert data <= 512 << 20
    assert descriptors <= 1024
    assert (limits["Max processes"], limits["Max core file size"]) == ("0 0", "0 0")


def test_a_new_certificate_that_only_the_agent_may_read_is_taken(
    server: ServerProcess, tmp_path: Path, ca: trustme.CA
) -> None:
    """The auditing process reads the files and hands them over."""
    successor = trustme.CA()
    certificates(tmp_path, successor)
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    server.reload()
    context = client_context(successor)
    for _ in turns():
        if scrape(server.address, context) == "200":
            break
    assert scrape(server.address, context) == "200"
    assert scrape(server.address, client_context(ca)) == "closed"


def test_a_fifo_in_place_of_a_key_is_an_error(tls: ServerSettings) -> None:
    """Opening it would wait for a writer for ever."""
    assert tls.tls is not None
    tls.tls.key.unlink()
    os.mkfifo(tls.tls.key)
    with pytest.raises(ConfigError, match=r"server\.key: it is no regular file"):
        ServerProcess(tls, _no_answer)


def test_a_file_that_is_missing_or_too_large_is_an_error(tls: ServerSettings) -> None:
    """By name."""
    assert isinstance(tls.tls, TlsSettings)
    tls.tls.key.write_bytes(b"\0" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match=r"server\.key: it is larger"):
        ServerProcess(tls, _no_answer)
    tls.tls.key.unlink()
    with pytest.raises(ConfigError, match=r"server\.key: cannot be read"):
        ServerProcess(tls, _no_answer)
