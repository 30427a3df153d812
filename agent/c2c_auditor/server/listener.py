"""Sockets and threads: cheroot, made so that clients who are slow, silent or many starve nobody.

As it comes, cheroot gives each new connection to a thread at once, shakes hands for TLS in the thread that accepts, and
lets a client take its time as long as a byte comes now and then: two connections that say nothing hold up everybody.
Here a connection meets a thread only when it has something to say, the handshake is part of its own time, that time is
short, and shorter while others wait.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable

import bottle
from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from c2c_auditor.config import ServerSettings, TlsSettings
from c2c_auditor.errors import ConfigError

# Seconds that one request may take from its first byte (of the handshake, with TLS) to the last byte of its answer:
# alone, and while others wait.
_PATIENCE_SECONDS = 10.0
_PATIENCE_UNDER_PRESSURE_SECONDS = 1.0
# How long a connection may say nothing before it is closed: less than most scrape intervals, so most scrapes shake
# hands anew, which is cheap.
_SILENCE_SECONDS = 5
# Far more than every Prometheus and load balancer there is, and far less than the descriptors a process may have.
_CONNECTIONS = 128
# Connections that the kernel holds until they are accepted. A short queue overflows in a burst, and whoever is left out
# tries again only after a second.
_BACKLOG = 512


class _Connection(HTTPConnection):
    """One client.

    ``heard``: it has said something; ``started``: since when (monotonic) a thread is busy with it, None if none is.
    """

    def __init__(self, server: Listener, sock: socket.socket, makefile: Callable[..., object]) -> None:
        super().__init__(server, sock, makefile)
        self.heard = False
        self.started: float | None = None
        server.admit(self)

    def communicate(self) -> bool:
        """One request; whether the connection stays open for another."""
        self.started = time.monotonic()
        try:
            if isinstance(self.socket, ssl.SSLSocket) and self.socket.version() is None:
                self.socket.do_handshake()
            return bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot's stubs leave it bare
        except OSError:  # a handshake that failed, a client that left
            return False
        finally:
            self.started = None

    def hang_up(self) -> None:
        """Wake whoever waits for this client with the end of its connection.

        Past the TLS layer, whose own shutdown is for its own thread only.
        """
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        self.server.forget(self)
        super().close()


class _Tls(BuiltinSSLAdapter):
    """TLS 1.2 and newer; with a client CA, certificates are demanded of clients."""

    def __init__(self, settings: TlsSettings) -> None:
        context = tls_context(settings)  # first: it says what is wrong with the files
        super().__init__(str(settings.certificate), str(settings.key))
        self.context = context

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """The handshake is left to the thread that serves the connection: the one that accepts must never wait for a client."""
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {
            "wsgi.url_scheme": "https"
        }


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A server's context. Raises ConfigError that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what = settings.certificate
    try:
        # Without a password given, an encrypted key would ask the terminal for one.
        context.load_cert_chain(settings.certificate, settings.key, password="")
        if settings.client_ca is not None:
            what = settings.client_ca
            context.load_verify_locations(cafile=settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{what}: not a usable certificate: {error} (server.tls)") from error
    return context


class Listener(Server):
    """An HTTP server.

    ``bound`` is called once the address is bound, before its first thread and its first connection.
    """

    ConnectionClass = _Connection

    def __init__(self, settings: ServerSettings, app: bottle.Bottle, *, bound: Callable[[], None]) -> None:
        super().__init__(
            (settings.address, settings.port),
            app,
            numthreads=settings.threads,
            max=settings.threads,
            server_name="c2c-auditor",
            request_queue_size=_BACKLOG,
            timeout=_SILENCE_SECONDS,
            shutdown_timeout=1,
        )
        self.version = "c2c-auditor"
        self.max_request_header_size = 16 << 10
        self.max_request_body_size = 1  # 0 would be no limit
        self._settings = settings
        self._bound = bound
        self._open: dict[_Connection, None] = {}  # oldest first; single operations on a dict need no lock
        if settings.tls is not None:
            self.ssl_adapter = _Tls(settings.tls)

    def listen(self) -> str:
        """Bind, and start the threads that answer; the address in use. Raises ConfigError."""
        try:
            self.prepare()
        except OSError as error:
            where = f"{self._settings.address} port {self._settings.port}"
            raise ConfigError(
                f"{where}: cannot listen: {error} (server.address, server.port, server.health_port)"
            ) from error
        return f"{self._settings.address}:{self.bind_addr[1]}"

    def bind(self, family: int, type: int, proto: int = 0) -> None:  # noqa: A002 - cheroot's name for it
        """Bind; what needs privileges is then done."""
        super().bind(family, type, proto)
        self._bound()

    def renew(self) -> None:
        """Certificates again; broken ones leave the old in place."""
        if self._settings.tls is not None:
            with contextlib.suppress(ConfigError):
                self.ssl_adapter.context = tls_context(self._settings.tls)

    def process_conn(self, conn: _Connection) -> None:
        """A new connection waits among the idle ones until it says something, and only then takes a thread."""
        if conn.heard:
            super().process_conn(conn)
        else:
            conn.heard = True
            self.put_conn(conn)

    def admit(self, conn: _Connection) -> None:
        """A new connection; when there are too many, the oldest goes."""
        self._open[conn] = None
        if len(self._open) > _CONNECTIONS:
            oldest = next(iter(self._open))
            self.forget(oldest)
            oldest.hang_up()

    def forget(self, conn: _Connection) -> None:
        """A connection is closed."""
        self._open.pop(conn, None)

    def lose_patience(self) -> None:
        """Hang up on clients that keep a thread too long. To be called about once a second."""
        patience = _PATIENCE_UNDER_PRESSURE_SECONDS if self.requests.qsize else _PATIENCE_SECONDS
        latest = time.monotonic() - patience
        for conn in list(self._open):
            started = conn.started
            if started is not None and started < latest:
                conn.hang_up()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's signature
        """Only what is wrong with this server is worth a line: what clients do could be many."""
        if level >= logging.ERROR:
            super().error_log(msg, level, traceback)
