"""L7: the process that listens: metrics, health, readiness, reports. It is forked before any thread exists and holds no capability.

Reports come over a pipe from the process that audits; nothing is ever sent back, so the privileged side reads nothing that this side could have
written. When the pipe ends, so does this process.
"""

from __future__ import annotations

import contextlib
import gzip
import multiprocessing
import os
import signal
import ssl
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType

import bottle
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector

from c2c_auditor.config import ServerSettings, TlsSettings
from c2c_auditor.errors import AuditorError, ConfigError
from c2c_auditor.export.document import to_json
from c2c_auditor.export.metrics import ReportCollector
from c2c_auditor.export.page import landing_page
from c2c_auditor.model.report import Report
from c2c_auditor.privileges import drop_all

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_STARTUP_SECONDS = 15.0
_STOP_SECONDS = 0.8


class Latest:
    """The last report, swapped in as a whole; its JSON is made once per report, by the first who asks."""

    def __init__(self) -> None:
        self._report: Report | None = None
        self._json: tuple[Report, bytes] | None = None

    def put(self, report: Report) -> None:
        """A new report."""
        self._report = report

    def get(self) -> Report | None:
        """The last one, None before the first."""
        return self._report

    def json(self) -> bytes | None:
        """The last one as JSON."""
        report = self._report
        if report is None:
            return None
        made = self._json
        if made is None or made[0] is not report:
            made = self._json = report, to_json(report).encode("ascii")
        return made[1]


def _answer(body: str | bytes, kind: str = "text/plain; charset=utf-8", status: int = 200) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(body, status=status, headers={"Content-Type": kind, **_HEADERS})


class _Routes:
    """What each path answers. ``pid`` is the process that audits, whose cost the process metrics tell."""

    def __init__(self, latest: Latest, *, ready_max_age: float, pid: int) -> None:
        self._latest = latest
        self._ready_max_age = ready_max_age
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ReportCollector(latest.get))
        ProcessCollector(pid=lambda: pid, registry=self._registry)

    def index(self) -> bottle.HTTPResponse:
        """The page."""
        return _answer(landing_page(self._latest.get()), "text/html; charset=utf-8")

    def metrics(self) -> bottle.HTTPResponse:
        """Text format 0.0.4, which every scraper reads; compressed for those that ask."""
        response = _answer(generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)
        if "gzip" in bottle.request.get_header("Accept-Encoding", ""):
            response.body = gzip.compress(response.body, compresslevel=1)
            response.set_header("Content-Encoding", "gzip")
        return response

    def healthz(self) -> bottle.HTTPResponse:
        """Alive: whoever can say so is."""
        return _answer("alive\n")

    def readyz(self) -> bottle.HTTPResponse:
        """A conclusive audit lately."""
        report = self._latest.get()
        last = report.last_conclusive if report is not None else None
        if last is None:
            return _answer("no audit could judge everything yet: see /api/v1/report\n", status=503)
        age = time.time() - last
        return _answer(f"the last conclusive audit was {age:.0f} s ago\n", status=200 if age <= self._ready_max_age else 503)

    def report(self) -> bottle.HTTPResponse:
        """The last report as JSON."""
        body = self._latest.json()
        if body is None:
            return _answer('{"error": "no audit yet"}', "application/json", status=503)
        return _answer(body, "application/json")


def application(latest: Latest, *, ready_max_age: float, pid: int) -> bottle.Bottle:
    """The WSGI application."""
    routes = _Routes(latest, ready_max_age=ready_max_age, pid=pid)
    app = bottle.Bottle()
    for path, answer in (
        ("/", routes.index),
        ("/metrics", routes.metrics),
        ("/healthz", routes.healthz),
        ("/readyz", routes.readyz),
        ("/api/v1/report", routes.report),
    ):
        app.route(path, "GET", answer)
    app.default_error_handler = _refused
    return app


def _refused(error: bottle.HTTPError) -> str:
    bottle.response.content_type = "text/plain; charset=utf-8"
    for name, value in _HEADERS.items():
        bottle.response.set_header(name, value)
    return f"{error.status_line}\n"


class _Tls(BuiltinSSLAdapter):
    """TLS 1.2 and newer; with a client CA, certificates are demanded of clients."""

    def __init__(self, settings: TlsSettings) -> None:
        context = tls_context(settings)  # first: it says what is wrong with the files
        super().__init__(str(settings.certificate), str(settings.key))
        self.context = context


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A server's context. Raises ConfigError that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what = settings.certificate
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca is not None:
            what = settings.client_ca
            context.load_verify_locations(cafile=settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{what}: not a usable certificate: {error} (server.tls)") from error
    return context


def make_server(settings: ServerSettings, app: bottle.Bottle) -> Server:
    """A server, not yet bound: few threads, short time-outs, small requests, so that a slow or large client starves nobody."""
    server = Server(
        (settings.address, settings.port),
        app,
        numthreads=settings.threads,
        max=settings.threads,
        request_queue_size=32,
        timeout=5,
        shutdown_timeout=1,
    )
    server.max_request_header_size = 16 << 10
    server.max_request_body_size = 1
    server.server_name = "c2c-auditor"
    server.version = "c2c-auditor"
    if settings.tls is not None:
        server.ssl_adapter = _Tls(settings.tls)
    return server


def listen(server: Server, settings: ServerSettings) -> None:
    """Bind, and start the threads that answer."""
    try:
        server.prepare()
    except OSError as error:
        raise ConfigError(f"{settings.address} port {settings.port}: cannot listen: {error} (server.address, server.port)") from error


def _serve(reports: Connection, ready: Connection, settings: ServerSettings, pid: int) -> None:
    """The child's life."""
    latest = Latest()
    try:
        server = make_server(settings, application(latest, ready_max_age=settings.ready_max_age, pid=pid))
        drop_all()  # after the keys were read, before the first thread and the first connection
        listen(server, settings)
    except AuditorError as error:
        ready.send_bytes(f"error {error}".encode())
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the auditing process decides
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, lambda *_: _renew(server, settings))
    ready.send_bytes(f"{settings.address}:{server.bind_addr[1]}".encode())
    ready.close()
    threading.Thread(target=server.serve, name="http", daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            latest.put(reports.recv())
    os._exit(0)


def _renew(server: Server, settings: ServerSettings) -> None:
    """Certificates again; broken ones leave the old in place."""
    if settings.tls is not None:
        with contextlib.suppress(ConfigError):
            server.ssl_adapter.context = tls_context(settings.tls)


class ServerProcess:
    """The forked child, from the auditing process's side. Use as a context manager; raises ConfigError when the child cannot serve."""

    def __init__(self, settings: ServerSettings) -> None:
        context = multiprocessing.get_context("fork")
        self._reports: Connection
        receiving, self._reports = context.Pipe(duplex=False)
        told, telling = context.Pipe(duplex=False)
        self._child: BaseProcess = context.Process(target=self._run, args=(receiving, telling, settings, os.getpid()), daemon=True)
        self._child.start()
        receiving.close()
        telling.close()
        try:
            said = told.recv_bytes(4096).decode() if told.poll(_STARTUP_SECONDS) else "error the server did not start in time"
        except EOFError:
            said = "error the server ended before it could say why: see standard error"
        told.close()
        if said.startswith("error "):
            self._child.join(_STOP_SECONDS)
            raise ConfigError(said.removeprefix("error "))
        self.address = said

    def _run(self, receiving: Connection, telling: Connection, settings: ServerSettings, pid: int) -> None:
        self._reports.close()  # the child's copy of the sending end: without this the pipe would never end
        _serve(receiving, telling, settings, pid)

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the child has ended."""
        return self._child.sentinel

    def publish(self, report: Report) -> None:
        """Hand over a report. A child that is gone is noticed through `sentinel`."""
        with contextlib.suppress(BrokenPipeError):
            self._reports.send(report)

    def reload(self) -> None:
        """Make the child read its certificates again."""
        if self._child.pid is not None and self._child.is_alive():
            os.kill(self._child.pid, signal.SIGHUP)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reports.close()
        self._child.join(_STOP_SECONDS)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
