"""The real listening process: forked, without capabilities, over HTTP and TLS, with clients of every kind."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import signal
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest
import trustme
from attrs import evolve
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
from prometheus_client.parser import text_string_to_metric_families

from c2c_auditor.audit.overdue import overdue_report
from c2c_auditor.config import ServerSettings, TlsSettings
from c2c_auditor.errors import ConfigError
from c2c_auditor.export.catalogue import PROCESS_METRICS
from c2c_auditor.model.report import Report
from c2c_auditor.server import ServerProcess
from c2c_auditor.server.questions import Answer, refusal
from support.clients import certificates
from support.reports import blind_report, clean_report, flushed_report
from support.waiting import turns


def _silent(subject: str, arguments: Mapping[str, str]) -> Answer:
    """Nobody asks."""
    return refusal(503, f"{subject} {len(arguments)}")


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server on a port of the system's choice."""
    with ServerProcess(ServerSettings(port=0), _silent) as running:
        yield running


def _get(
    server: ServerProcess, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
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
    for _ in turns():
        response, body = _get(server, path)
        if response.status == status:
            return body
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
    """Metrics in text format 0.0.4 for clients that do not say otherwise.

    The process metrics are those of the process that audits.
    """
    server.publish(_now(clean_report()))
    assert b'"result": "clean"' in _until(server, "/api/v1/report", 200)
    assert _get(server, "/readyz")[0].status == 200
    response, body = _get(server, "/metrics")
    assert response.getheader("Content-Type", "").startswith("text/plain; version=0.0.4")
    assert b'c2c_auditor_findings{effect="outage",kind="mark_missing",state="confirmed"} 0.0' in body
    assert set(re.findall(rb"^process_\w+", body, re.MULTILINE)) == {name.encode() for name in PROCESS_METRICS}
    response, body = _get(server, "/metrics", headers={"Accept-Encoding": "gzip"})
    assert (response.getheader("Content-Encoding"), response.getheader("Vary")) == ("gzip", "Accept, Accept-Encoding")
    assert b"c2c_auditor_findings" in gzip.decompress(body)
    assert _get(server, "/")[1].startswith(b"CLEAN: 3 policy rules are as they should be\nThe last audit ended ")
    assert _get(server, "/status")[1].startswith(b"CLEAN")
    response, body = _get(server, "/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (response.getheader("Content-Type"), response.getheader("Vary")) == ("text/html; charset=utf-8", "Accept")
    assert b"CLEAN: 3 policy rules" in body


def test_who_asks_for_openmetrics_gets_the_same_samples_in_it(server: ServerProcess) -> None:
    """As Prometheus does by its Accept header; what is not text in that header harms nothing."""
    server.publish(_now(flushed_report()))
    _until(server, "/api/v1/report", 200)
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    response, body = _get(server, "/metrics", headers={"Accept": asked})
    assert response.getheader("Content-Type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    samples, plain = (
        {(sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples}
        for families in (
            text_fd_to_metric_families(io.StringIO(body.decode())),  # type: ignore[no-untyped-call]  # the library's gap
            text_string_to_metric_families(_get(server, "/metrics")[1].decode()),
        )
    )
    assert samples == plain
    response, _ = _get(server, "/metrics", headers={"Accept": "\xff;version=x,application/openmetrics;version=,"})
    assert (response.status, response.getheader("Content-Type", "").partition(";")[0]) == (200, "text/plain")


def test_an_audit_that_takes_too_long_is_bad_health_until_it_ends(server: ServerProcess) -> None:
    """At once, and in the metrics too; a report of an audit that ended is good health again, whatever it found."""
    server.publish(overdue_report(flushed_report(), 120))
    assert b"stuck: an audit did not end within 120 s and was given up" in _until(server, "/healthz", 503)
    metrics = _get(server, "/metrics")[1]
    assert b'c2c_auditor_source_up{source="audit"} 0.0' in metrics
    assert b"c2c_auditor_findings{" not in metrics
    server.publish(flushed_report())
    assert _until(server, "/healthz", 200) == b"alive\n"


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
    assert "GET" in response.getheader("Allow", "")
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
    tasks = list(Path(f"/proc/{_child(server)}/task").iterdir())
    assert len(tasks) > ServerSettings().threads  # those that answer, and the one that accepts
    for task in tasks:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"


def _connect(server: ServerProcess) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _said(client: socket.socket) -> bytes:
    """All that the server answers until it hangs up."""
    answer = b""
    with contextlib.suppress(OSError):
        while part := client.recv(4096):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01" * 50 + b"\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"413"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"413"),
    ],
)
def test_nonsense_and_oversize_are_refused(server: ServerProcess, request_: bytes, status: bytes) -> None:
    """In one line, and the next client is served."""
    with _connect(server) as client:
        client.sendall(request_)
        answer = _said(client)
    # A client that is still sending when the answer comes may lose it.
    assert not answer or answer.split(b" ")[1] == status
    assert b"Traceback" not in answer
    assert _get(server, "/healthz")[0].status == 200


def test_clients_that_say_nothing_hold_up_nobody(server: ServerProcess) -> None:
    """Many more of them than there are threads, and than connections are kept; the newcomer is served all the same."""
    silent = [_connect(server) for _ in range(300)]
    assert _get(server, "/healthz")[0].status == 200
    for client in silent:
        client.close()


def test_clients_that_never_finish_hold_up_nobody(server: ServerProcess) -> None:
    """A byte now and then keeps no thread for good: such clients are closed, and waiting ones are served."""
    slow = [_connect(server) for _ in range(2 * ServerSettings().threads)]
    stop = threading.Event()

    def drip() -> None:
        for client in slow:
            client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        while not stop.wait(0.1):
            for client in slow:
                with contextlib.suppress(OSError):
                    client.send(b"y")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert _get(server, "/healthz")[0].status == 200
    finally:
        stop.set()
        thread.join()
        for client in slow:
            client.close()


def test_a_connection_serves_several_requests(server: ServerProcess) -> None:
    """A scraper that comes often shakes hands once."""
    host, _, port = server.address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=5)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"alive\n"
    assert connection.sock is first
    connection.close()


def _large(report: Report, number: int) -> Report:
    """A report of many times what a pipe holds."""
    notes = tuple(f"report {number}, note {index}" for index in range(50_000))
    return evolve(_now(report), notes=notes)


def test_a_listening_process_that_takes_no_reports_holds_up_no_audit(server: ServerProcess) -> None:
    """`publish` never waits; once the listener is back, it has the last report."""
    child = _child(server)
    os.kill(child, signal.SIGSTOP)
    for number in range(4):
        server.publish(_large(clean_report(), number))
    os.kill(child, signal.SIGCONT)
    for _ in turns():
        if b"report 3, note 49999" in _get(server, "/api/v1/report")[1]:
            return
    pytest.fail("the last report never arrived")


def test_a_listening_process_that_hangs_is_ended_with_the_audits() -> None:
    """Also when it took no report to the end."""
    with ServerProcess(ServerSettings(port=0), _silent) as server:
        child = _child(server)
        os.kill(child, signal.SIGSTOP)
        server.publish(_large(clean_report(), 0))
    assert not Path(f"/proc/{child}").exists()


def test_when_the_auditing_process_ends_so_does_the_listening_one() -> None:
    """The pipe ends."""
    with ServerProcess(ServerSettings(port=0), _silent) as server:
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
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match=r"server\.port"),
        ServerProcess(ServerSettings(port=taken.getsockname()[1]), _silent),
    ):
        pass


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
    with ServerProcess(ServerSettings(port=0, tls=certificates(tmp_path, ca)), _silent) as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _status(server.address, context)
        ca.issue_cert("prom-scraper").configure_cert(context)
        assert _status(server.address, context) == 200


def test_clients_that_do_not_shake_hands_hold_up_nobody(tmp_path: Path) -> None:
    """Neither those that say nothing nor those that begin and stop."""
    ca = trustme.CA()
    with ServerProcess(
        ServerSettings(port=0, tls=evolve(certificates(tmp_path, ca), client_ca=None)), _silent
    ) as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        held = [_connect(server) for _ in range(20)]
        for client in held[: 2 * ServerSettings().threads]:
            client.sendall(b"\x16\x03\x01\x02\x00")  # the head of a ClientHello that never comes
        assert _status(server.address, context) == 200
        for client in held:
            client.close()


def test_tls_1_1_and_plain_http_are_refused(tmp_path: Path) -> None:
    """And the next client is served."""
    ca = trustme.CA()
    with ServerProcess(
        ServerSettings(port=0, tls=evolve(certificates(tmp_path, ca), client_ca=None)), _silent
    ) as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        old = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that it is out of date is the point
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _status(server.address, old)
        with _connect(server) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in _said(client)
        assert _status(server.address, context) == 200


def test_each_of_several_client_cas_in_one_file_is_trusted(tmp_path: Path) -> None:
    """While one replaces the other; a third is not."""
    ca, other, stranger = trustme.CA(), trustme.CA(), trustme.CA()
    settings = certificates(tmp_path, ca)
    both = tmp_path / "both.crt"
    both.write_bytes(ca.cert_pem.bytes() + other.cert_pem.bytes())
    with ServerProcess(ServerSettings(port=0, tls=evolve(settings, client_ca=both)), _silent) as server:
        for issuer in (ca, other):
            context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
            issuer.issue_cert("prom-scraper").configure_cert(context)
            assert _status(server.address, context) == 200
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        stranger.issue_cert("prom-scraper").configure_cert(context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _status(server.address, context)


def test_sighup_takes_new_certificates(tmp_path: Path) -> None:
    """Without a restart. Broken ones are refused aloud, and the old ones stay."""
    old, new = trustme.CA(), trustme.CA()
    settings = certificates(tmp_path, old)
    with ServerProcess(ServerSettings(port=0, tls=evolve(settings, client_ca=None)), _silent) as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        (tmp_path / "server.crt").write_text("broken")
        with pytest.raises(ConfigError, match=r"server\.crt"):
            server.reload()
        assert _status(server.address, context) == 200
        certificates(tmp_path, new)
        server.reload()
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        for _ in turns():
            with contextlib.suppress(ssl.SSLError):
                assert _status(server.address, context) == 200
                return
        pytest.fail("the new certificate was never served")


def test_a_key_behind_a_password_is_an_error_and_no_question(tmp_path: Path) -> None:
    """Nobody sits at the agent's terminal."""
    settings = certificates(tmp_path, trustme.CA())
    key = load_pem_private_key(settings.key.read_bytes(), None)
    settings.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigError, match=r"server\.crt"), ServerProcess(ServerSettings(port=0, tls=settings), _silent):
        pass


def test_broken_certificates_are_named(tmp_path: Path) -> None:
    """Before anything is served."""
    (tmp_path / "server.crt").write_text("broken")
    (tmp_path / "server.key").write_text("broken")
    with (
        pytest.raises(ConfigError, match=r"server\.crt"),
        ServerProcess(
            ServerSettings(port=0, tls=TlsSettings(certificate=tmp_path / "server.crt", key=tmp_path / "server.key")),
            _silent,
        ),
    ):
        pass


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that demands client certificates, with a door for supervisors beside it."""
    with ServerProcess(
        ServerSettings(port=0, health_port=0, tls=certificates(tmp_path, trustme.CA())), _silent
    ) as running:
        yield running


def _ask_health(server: ServerProcess, path: str, method: str = "GET") -> tuple[int, bytes]:
    assert server.health_address is not None
    host, _, port = server.health_address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_supervisor_without_a_certificate_learns_how_the_agent_is(guarded: ServerProcess) -> None:
    """In plain HTTP on the machine itself, although everybody else must show a certificate."""
    assert _ask_health(guarded, "/healthz") == (200, b"alive\n")
    assert _ask_health(guarded, "/readyz")[0] == 503
    guarded.publish(_now(clean_report()))
    for _ in turns():
        if _ask_health(guarded, "/readyz")[0] == 200:
            return
    pytest.fail("never ready")


def test_a_supervisor_learns_nothing_else(guarded: ServerProcess) -> None:
    """Reports and metrics stay behind the certificate."""
    guarded.publish(_now(clean_report()))
    assert {_ask_health(guarded, path)[0] for path in ("/", "/metrics", "/api/v1/report", "/healthz/", "/nothing")} == {
        404
    }
    assert _ask_health(guarded, "/readyz", "POST")[0] == 405


def test_supervisors_are_answered_on_loopback_only(tmp_path: Path) -> None:
    """Wherever the others are answered."""
    with ServerProcess(
        ServerSettings(address="0.0.0.0", port=0, health_port=0, tls=certificates(tmp_path, trustme.CA())),  # noqa: S104
        _silent,
    ) as server:
        assert (server.health_address or "").startswith("127.0.0.1:")


def test_with_a_second_listener_no_thread_holds_a_capability(guarded: ServerProcess) -> None:
    """It lives in the same process, and neither of the two lets the other in."""
    assert _ask_health(guarded, "/healthz")[0] == 200
    tasks = list(Path(f"/proc/{_child(guarded)}/task").iterdir())
    assert len(tasks) > ServerSettings().threads + 2  # its own that accepts and its own that answers
    for task in tasks:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}


def test_silent_supervisors_hold_up_nobody(guarded: ServerProcess) -> None:
    """Neither those who come after them nor those who come with a certificate."""
    assert guarded.health_address is not None
    host, _, port = guarded.health_address.rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(200)]
    silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nX: ")
    assert _ask_health(guarded, "/healthz")[0] == 200
    for client in silent:
        client.close()


def test_a_health_port_that_is_taken_is_a_clear_error() -> None:
    """Which one, and which setting."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match=r"server\.health_port"),
        ServerProcess(ServerSettings(port=0, health_port=taken.getsockname()[1]), _silent),
    ):
        pass


def test_without_a_health_port_there_is_no_second_listener(server: ServerProcess) -> None:
    """Nothing listens that the settings do not name."""
    assert server.health_address is None
