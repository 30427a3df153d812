"""The listening process for real: forked, without capabilities, over plain HTTP and TLS, against clients of every kind."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest
import trustme
from attrs import evolve

from c2c_auditor.config import ServerSettings, TlsSettings
from c2c_auditor.errors import ConfigError
from c2c_auditor.model.report import Report
from c2c_auditor.server import ServerProcess
from support.reports import blind_report, clean_report


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server on a port of the system's choice."""
    with ServerProcess(ServerSettings(port=0)) as running:
        yield running


def _get(server: ServerProcess, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[HTTPResponse, bytes]:
    host, _, port = server.address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def _until(server: ServerProcess, path: str, status: int) -> bytes:
    """The body once the published report has arrived on the other side of the pipe."""
    for _ in range(100):
        response, body = _get(server, path)
        if response.status == status:
            return body
        time.sleep(0.05)
    pytest.fail(f"{path} never answered {status}")


def _now(report: Report) -> Report:
    return evolve(report, time=time.time(), last_conclusive=time.time())


def _child(server: ServerProcess) -> int:
    (pid,) = (int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
    assert server.address
    return pid


def test_before_the_first_report_it_is_alive_and_not_ready(server: ServerProcess) -> None:
    """And claims nothing."""
    assert _get(server, "/healthz")[0].status == 200
    assert _get(server, "/readyz")[0].status == 503
    assert _get(server, "/api/v1/report")[0].status == 503
    assert b"c2c_auditor_findings" not in _get(server, "/metrics")[1]


def test_a_published_report_is_served_in_every_form(server: ServerProcess) -> None:
    """Metrics in text format 0.0.4 for whoever does not say otherwise; the process metrics are those of the process that audits."""
    server.publish(_now(clean_report()))
    assert b'"result": "clean"' in _until(server, "/api/v1/report", 200)
    assert _get(server, "/readyz")[0].status == 200
    response, body = _get(server, "/metrics")
    assert response.getheader("Content-Type", "").startswith("text/plain; version=0.0.4")
    assert b'c2c_auditor_findings{effect="outage",kind="mark_missing",state="confirmed"} 0.0' in body
    assert b"process_resident_memory_bytes" in body
    assert _get(server, "/metrics", headers={"Accept-Encoding": "gzip"})[0].getheader("Content-Encoding") == "gzip"
    assert b"Last audit" in _get(server, "/")[1]


def test_a_blind_report_is_not_ready(server: ServerProcess) -> None:
    """Nothing could be judged lately."""
    server.publish(blind_report())
    _until(server, "/api/v1/report", 200)
    assert _get(server, "/readyz")[0].status == 503


def test_an_old_conclusive_audit_is_not_ready(server: ServerProcess) -> None:
    """Lately means lately."""
    server.publish(evolve(clean_report(), last_conclusive=time.time() - 10_000))
    _until(server, "/api/v1/report", 200)
    assert _get(server, "/readyz")[0].status == 503


def test_other_paths_and_methods_are_refused(server: ServerProcess) -> None:
    """Plainly, without a word about what runs there."""
    assert _get(server, "/nothing")[0].status == 404
    response, body = _get(server, "/metrics", "POST")
    assert response.status == 405
    assert "Python" not in response.getheader("Server", "")
    assert b"Traceback" not in body
    assert _get(server, "/metrics", "HEAD")[1] == b""


def test_every_answer_forbids_scripts_and_caching(server: ServerProcess) -> None:
    """Also the errors."""
    for path in ("/", "/metrics", "/nothing"):
        response, _ = _get(server, path)
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("Cache-Control") == "no-store"
        assert "default-src 'none'" in response.getheader("Content-Security-Policy", "")


def test_the_listening_process_and_each_of_its_threads_hold_no_capability(server: ServerProcess) -> None:
    """By the kernel's own account; and no exec can bring one back."""
    _get(server, "/healthz")
    for task in Path(f"/proc/{_child(server)}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"


def test_slow_and_broken_clients_starve_nobody(server: ServerProcess) -> None:
    """A few that say nothing, one that talks nonsense, one with a huge header."""
    host, _, port = server.address.rpartition(":")
    held = [socket.create_connection((host, int(port)), timeout=20) for _ in range(2)]
    for nonsense in (b"\x16\x03\x01" * 50 + b"\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.settimeout(10)
            try:
                client.sendall(nonsense)
                client.recv(100)
            except OSError:
                pass  # being thrown out is a fine answer
    assert _get(server, "/healthz")[0].status == 200
    for client in held:
        client.close()


def test_when_the_auditing_process_ends_so_does_the_listening_one() -> None:
    """The pipe ends."""
    with ServerProcess(ServerSettings(port=0)) as server:
        pid = _child(server)
    assert not Path(f"/proc/{pid}").exists()


def test_when_the_listening_process_dies_its_descriptor_says_so(server: ServerProcess) -> None:
    """The auditing process then ends too, and monit starts both."""
    import select  # noqa: PLC0415 - used here only

    os.kill(_child(server), signal.SIGKILL)
    ready, _, _ = select.select([server.sentinel], [], [], 5)
    assert ready
    server.publish(clean_report())


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    """Which one, and which setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match=r"server\.port"):
        ServerProcess(ServerSettings(port=taken.getsockname()[1]))


def _tls(folder: Path, ca: trustme.CA) -> TlsSettings:
    leaf = ca.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(folder / "server.crt"))
    leaf.private_key_pem.write_to_path(str(folder / "server.key"))
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    return TlsSettings(certificate=folder / "server.crt", key=folder / "server.key", client_ca=folder / "ca.crt")


def _status(address: str, context: ssl.SSLContext) -> int:
    host, _, port = address.rpartition(":")
    connection = HTTPSConnection(host, int(port), timeout=5, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def test_with_a_client_ca_only_its_clients_are_let_in(tmp_path: Path) -> None:
    """TLS 1.2 and newer; a client without a certificate gets nothing."""
    ca = trustme.CA()
    with ServerProcess(ServerSettings(port=0, tls=_tls(tmp_path, ca))) as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _status(server.address, context)
        ca.issue_cert("prom-scraper").configure_cert(context)
        assert _status(server.address, context) == 200


def test_sighup_takes_new_certificates(tmp_path: Path) -> None:
    """Without a restart; the old ones stay when the new ones are broken."""
    old, new = trustme.CA(), trustme.CA()
    settings = _tls(tmp_path, old)
    with ServerProcess(ServerSettings(port=0, tls=evolve(settings, client_ca=None))) as server:
        (tmp_path / "server.crt").write_text("broken")
        with pytest.raises(ConfigError, match=r"server\.crt"):
            server.reload()
        _tls(tmp_path, new)
        server.reload()
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        for _ in range(50):
            with suppress(ssl.SSLError):
                assert _status(server.address, context) == 200
                return
            time.sleep(0.1)
        pytest.fail("the new certificate was never served")


def test_broken_certificates_are_named(tmp_path: Path) -> None:
    """Before anything is served."""
    (tmp_path / "server.crt").write_text("broken")
    (tmp_path / "server.key").write_text("broken")
    with pytest.raises(ConfigError, match=r"server\.crt"):
        ServerProcess(ServerSettings(port=0, tls=TlsSettings(certificate=tmp_path / "server.crt", key=tmp_path / "server.key")))
