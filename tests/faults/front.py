"""What stands between the agent and the policy server: a TCP relay that passes bytes on well or badly.

TLS goes through it untouched, so the server behind it stays itself, and goes on answering others.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

_CHUNK = 1 << 16
_TORN_BYTES = 3000
_SLOW_SECONDS = 0.15
_FLAP_SECONDS = 0.4


class Mode(Enum):
    """How the relay treats a connection."""

    PASS = "pass"  # noqa: S105 - a mode's name
    REFUSE = "refuse"
    HANG = "hang"
    SLOW = "slow"
    TORN = "torn"
    FLAP = "flap"


class Front:
    """A relay to ``target`` (a port on loopback). `become` changes the mode and cuts the connections that are open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode = Mode.PASS
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[Front]:
        """Relay in threads of its own for as long as the block lasts."""
        thread = threading.Thread(target=self._accept, name="front", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._cut()
            thread.join()

    @contextmanager
    def being(self, mode: Mode) -> Iterator[None]:
        """``mode`` for as long as the block lasts."""
        self.become(mode)
        try:
            yield
        finally:
            self.become(Mode.PASS)

    def become(self, mode: Mode) -> None:
        """Another mode, for connections to come; those that are open end."""
        self._mode = mode
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._relay, args=(client,), name="relay", daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        mode = self._mode
        if mode is Mode.FLAP:
            mode = Mode.PASS if time.monotonic() % (2 * _FLAP_SECONDS) < _FLAP_SECONDS else Mode.REFUSE
        with client, suppress(OSError):
            if mode is Mode.REFUSE:
                return
            if mode is Mode.HANG:
                while client.recv(_CHUNK):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                asking = threading.Thread(target=_pump, args=(client, server, Mode.PASS), name="asking", daemon=True)
                asking.start()
                _pump(server, client, mode)
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                asking.join()


def _pump(source: socket.socket, sink: socket.socket, mode: Mode) -> None:
    """Bytes from ``source`` to ``sink`` until one of them ends."""
    passed = 0
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            if mode is Mode.SLOW:
                time.sleep(_SLOW_SECONDS)
            if mode is Mode.TORN and passed + len(data) > _TORN_BYTES:
                sink.sendall(data[: _TORN_BYTES - passed])
                break
            sink.sendall(data)
            passed += len(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
