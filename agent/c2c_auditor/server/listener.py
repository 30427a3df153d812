"""Sockets and threads of the HTTP server: cheroot, changed so that slow, silent or many clients delay no other client.

Unchanged, cheroot gives each new connection to a worker thread at once, does the TLS handshake in the accepting thread,
and waits as long as the client sends a byte now and then. So two silent connections block all others.
Here the accepting thread also receives handshakes and requests, without waiting for the rest of them. An incomplete one
takes one of a fixed number of places; when these are used up, the oldest connection is closed. A worker thread gets
only complete requests. When too many of these are queued, the next is answered with 503.

Internals of cheroot that this relies on: `process_conn`, `put_conn`, `serve` and `_connections` of the server,
`communicate` of a connection and its reader's buffer, `read_request_headers` of a request. So pyproject.toml bounds
cheroot's version.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import time
import traceback as traceback_
from collections.abc import Callable

import bottle
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from c2c_auditor.config import ServerSettings
from c2c_auditor.errors import ConfigError

# Seconds that one request may occupy a thread, to the last byte of its answer; fewer while other requests wait.
_ANSWER_SECONDS = 10.0
_ANSWER_UNDER_LOAD_SECONDS = 1.0
# Seconds for a client to bring its handshake and its whole request; also how long an idle connection is kept. Less than
# most scrape intervals, so most scrapes shake hands anew, which is cheap.
_ARRIVAL_SECONDS = 5
# Connections whose handshake or request is incomplete: far more than every Prometheus and load balancer there is. At
# 10,000 new ones a second each still has 12 ms, several times what a handshake takes in one network.
_WAITING = 128
# Complete requests that wait for a thread: a quarter of a second's work on one core, well within a scrape's time-out.
_QUEUED = 256
# Connections that the kernel holds until they are accepted. A short queue overflows in a burst, and a client that is
# left out tries again only after a second.
_BACKLOG = 1024
_FAILED_SECONDS = 0.05
_LONGEST_HEAD = 16 << 10
_HEAD_ENDS = b"\r\n\r\n"
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
    b"Connection: close\r\n\r\nbusy\n"
)
_NOT_YET = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


class _Request(HTTPRequest):
    """One request. A request with a body is refused: no path takes one, and a thread would have to wait for it."""

    def read_request_headers(self) -> bool:
        """Whether the request can be answered; one that announces a body is refused."""
        if not super().read_request_headers():  # type: ignore[no-untyped-call]  # cheroot's stubs leave it bare
            return False
        if self.inheaders.get(b"Content-Length", b"0") != b"0" or b"Transfer-Encoding" in self.inheaders:
            self.simple_response("413 Request Entity Too Large")
            return False
        return True


class _Connection(HTTPConnection):
    """One client's connection.

    ``waiting_since`` is the time since which its handshake or request is incomplete, ``started`` the time at which a
    worker thread began to answer it, None if none does. Both are monotonic.
    """

    RequestHandlerClass = _Request

    def __init__(self, server: Listener, sock: socket.socket, makefile: Callable[..., object]) -> None:
        super().__init__(server, sock, makefile)
        # cheroot wraps these two methods in caches of the instance's own, a circle that only the collector could free.
        del self.get_peer_creds, self.resolve_peer_creds
        sock.settimeout(0)
        self.waiting_since = time.monotonic()
        self.started: float | None = None
        self._encrypted = isinstance(sock, ssl.SSLSocket)
        self._handshake_done = not self._encrypted
        self._head = bytearray()

    def advance(self) -> bool:
        """Receive what the client has sent, without waiting. True if the request is complete.

        Raises OSError when the connection has ended.
        """
        try:
            if not self._handshake_done:
                self.socket.do_handshake()
                self._handshake_done = True
            while _HEAD_ENDS not in self._head and len(self._head) <= _LONGEST_HEAD:
                part = self.socket.recv(_LONGEST_HEAD)
                if not part:
                    raise ConnectionResetError
                self._head += part
        except _NOT_YET:
            return False
        return True

    def communicate(self) -> bool:
        """Answer the request that `advance` received. True if the connection stays open for another."""
        self.started = time.monotonic()
        self.rfile._reset_read_buf()  # noqa: SLF001 - as below
        self.rfile._read_buf = bytes(self._head)  # noqa: SLF001 - received before cheroot's reader
        self._head.clear()
        try:
            self.socket.settimeout(_ARRIVAL_SECONDS)
            again = bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot's stubs leave it bare
            self.socket.settimeout(0)
        except OSError:  # a client that left
            return False
        finally:
            self.started = None
        # A second request sent before the answer to the first (pipelining) would wait unseen in a buffer: no scraper
        # does it, and HTTP lets a server close instead (RFC 9112 section 9.3.2).
        return again and not self.rfile.has_data() and not (self._encrypted and self.socket.pending())

    def refuse(self) -> None:
        """Answer 503 and close, without waiting for a client that does not read."""
        with contextlib.suppress(OSError):
            self.socket.send(_REFUSAL)
        self.close()

    def hang_up(self) -> None:
        """End the connection from another thread, past the TLS layer, whose own shutdown is for its own thread only."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket and remove the connection from the server's lists."""
        self.server.forget(self)
        super().close()


class _Tls(BuiltinSSLAdapter):
    """cheroot's adapter around a context that is made elsewhere (`server.tls`)."""

    def __init__(self, context: ssl.SSLContext) -> None:  # the base class would read the files itself
        self.context = context

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """No handshake yet: the thread that accepts must not wait for a client."""
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {
            "wsgi.url_scheme": "https"
        }


def bind(settings: ServerSettings) -> socket.socket:
    """A socket at the address of ``settings``, not yet listening. Raises ConfigError."""
    where = settings.address, settings.port
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    try:
        sock: socket.socket = Server.prepare_socket(
            where, family, socket.SOCK_STREAM, 0, nodelay=True, ssl_adapter=None
        )
        try:
            sock.bind(where)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"{settings.address} port {settings.port}: cannot listen: {error} "
            "(server.address, server.port, server.health_port, server.local_port)"
        ) from error
    return sock


class Listener(Server):
    """An HTTP server on the socket ``bound``; with a ``context`` it speaks TLS."""

    ConnectionClass = _Connection

    def __init__(
        self, bound: socket.socket, app: bottle.Bottle, *, threads: int, context: ssl.SSLContext | None = None
    ) -> None:
        name = bound.getsockname()
        super().__init__(
            name if isinstance(name, str) else name[:2],
            app,
            numthreads=threads,
            max=threads,
            server_name="c2c-auditor",
            request_queue_size=_BACKLOG,
            timeout=_ARRIVAL_SECONDS,
            shutdown_timeout=1,
        )
        self.version = "c2c-auditor"
        self.expiration_interval = (
            _ARRIVAL_SECONDS  # `close_overdue` is stricter than cheroot, which looks twice a second
        )
        self.max_request_header_size = _LONGEST_HEAD
        self._bound = bound
        # Oldest first; single operations on a dict need no lock.
        self._waiting: dict[_Connection, None] = {}
        self._in_progress: dict[_Connection, None] = {}
        if context is not None:
            self.ssl_adapter = _Tls(context)

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002, ARG002 - cheroot's signature
        """The socket that was bound before the process gave up its rights."""
        self.socket = self._bound
        return self._bound

    def bind_unix_socket(self, bind_addr: str) -> socket.socket:  # noqa: ARG002 - cheroot's signature
        """Likewise, where it is one of the file system."""
        self.socket = self._bound
        return self._bound

    def serve(self) -> None:
        """Accept clients and take what they send, until the process ends."""
        while self.ready:
            try:
                self._connections.run(self.expiration_interval)  # type: ignore[attr-defined]  # stubs leave it out
            except Exception as error:  # noqa: BLE001 - no client may end this thread
                if not isinstance(error, OSError):  # else no descriptor is free: the kernel holds new clients meanwhile
                    self.error_log("the listener's loop failed", logging.ERROR, traceback=True)
                time.sleep(_FAILED_SECONDS)

    def renew(self, context: ssl.SSLContext) -> None:
        """Serve new connections with another certificate."""
        self.ssl_adapter.context = context

    def process_conn(self, conn: _Connection) -> None:
        """A new connection, or one that has sent something. Runs in the thread that accepts."""
        self._waiting.setdefault(conn)
        try:
            complete = conn.advance()
        except (OSError, ValueError):  # a handshake that failed, a client that left
            conn.close()
            return
        if not complete:
            super().put_conn(conn)
            self._close_oldest()
            return
        self._waiting.pop(conn, None)
        if self.requests.qsize >= _QUEUED:
            conn.refuse()
        else:
            self._in_progress[conn] = None
            self.requests.put(conn)

    def put_conn(self, conn: _Connection) -> None:
        """A connection whose request was answered waits for the next one."""
        self._in_progress.pop(conn, None)
        conn.waiting_since = time.monotonic()
        self._waiting[conn] = None
        super().put_conn(conn)

    def forget(self, conn: _Connection) -> None:
        """A connection is closed."""
        self._waiting.pop(conn, None)
        self._in_progress.pop(conn, None)

    def _close_oldest(self) -> None:
        if len(self._waiting) > _WAITING:
            oldest = tuple(self._waiting)[0]  # noqa: RUF015 - in one step: other threads take connections out meanwhile
            self._waiting.pop(oldest, None)
            oldest.hang_up()

    def close_overdue(self) -> bool:
        """Close connections whose request or answer takes too long. To be called about once a second.

        Whether there is a connection.
        """
        now = time.monotonic()
        bound = _ANSWER_UNDER_LOAD_SECONDS if self.requests.qsize else _ANSWER_SECONDS
        for conn in tuple(self._waiting):
            if conn.waiting_since < now - _ARRIVAL_SECONDS:
                conn.hang_up()
        for conn in tuple(self._in_progress):
            started = conn.started
            if started is not None and started < now - bound:
                conn.hang_up()
        return bool(self._waiting or self._in_progress)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's signature
        """Write errors of this server to standard error, if that does not block.

        cheroot also reports what clients do, which is no error and could be many lines: those are left out.
        """
        if level < logging.ERROR:
            return
        text = f"{msg}\n{traceback_.format_exc() if traceback else ''}"
        with contextlib.suppress(OSError):
            if select.select((), (2,), (), 0)[1]:
                os.write(2, text.encode("utf-8", "replace")[: select.PIPE_BUF])
