"""Clients of the listening process by the thousand: scrapes, connections that bring no certificate, halves of hellos.

All of it on loopback, and all of it bounded by a number or by a `with` block.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import trustme

from c2c_auditor.config import TlsSettings

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: cell\r\nConnection: close\r\n\r\n"
# The first bytes of a TLS 1.2 record that announces a ClientHello of 512 bytes.
_HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64


def certificates(folder: Path, ca: trustme.CA) -> TlsSettings:
    """A server's files in ``folder``, which demand that clients show a certificate of ``ca``."""
    leaf = ca.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(folder / "server.crt"))
    leaf.private_key_pem.write_to_path(str(folder / "server.key"))
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    return TlsSettings(certificate=folder / "server.crt", key=folder / "server.key", client_ca=folder / "ca.crt")


def client_context(ca: trustme.CA, *, certificate: bool = True) -> ssl.SSLContext:
    """A scraper's side of TLS, with a certificate of its own or without."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if certificate:
        ca.issue_cert("scraper").configure_cert(context)
    return context


def connect(address: str, *, timeout: float = 20.0) -> socket.socket:
    """A connection that has said nothing yet."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def half_hello(address: str) -> socket.socket:
    """A connection that has sent half of a ClientHello."""
    client = connect(address)
    client.sendall(_HALF_HELLO)
    return client


def scrape(address: str, context: ssl.SSLContext | None = None, *, timeout: float = 20.0) -> str:
    """The status line's number, or how the server closed the connection instead."""
    try:
        with connect(address, timeout=timeout) as plain:
            client = context.wrap_socket(plain, server_hostname="127.0.0.1") if context is not None else plain
            with client:
                client.sendall(_REQUEST)
                answer = b""
                while part := client.recv(1 << 16):
                    answer += part
    except TimeoutError:
        return "timeout"
    except OSError:
        return "closed"
    return answer[9:12].decode() or "closed"


def many(what: Callable[[], str], count: int, *, parallel: int) -> Counter[str]:
    """``what`` called ``count`` times in ``parallel`` threads, by its results."""
    with ThreadPoolExecutor(parallel) as pool:
        return Counter(pool.map(lambda _: what(), range(count)))


@contextlib.contextmanager
def half_hellos(address: str, *, per_second: float) -> Iterator[None]:
    """Connections that send half of a ClientHello and stay open, so many per second until the block ends."""
    stop = threading.Event()
    held: list[socket.socket] = []

    def run() -> None:
        while not stop.wait(1 / per_second):
            held.append(half_hello(address))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for client in held:
            client.close()


def timed(what: Callable[[], str]) -> tuple[float, str]:
    """How long one call took (seconds), and its result."""
    started = time.perf_counter()
    found = what()
    return time.perf_counter() - started, found


def memory(pid: int) -> float:
    """A process's resident memory in MiB.

    What it still shares with its parent counts, so that it does not seem to grow.

    The part of its own would: a page that the parent writes to is no longer shared.
    """
    return float(psutil.Process(pid).memory_info().rss) / (1 << 20)
