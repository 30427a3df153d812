"""Commits to nf_tables without a program: as many in a second as a test asks for."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_NETLINK_NETFILTER = 12
_BEGIN, _END = 0x10, 0x11
_NFTABLES = 10
_NEWRULE, _DELRULE = _NFTABLES << 8 | 6, _NFTABLES << 8 | 8
_REQUEST, _ACK, _APPEND = 0x1, 0x4, 0x400 | 0x800
_IPV4 = 2
_BATCH = struct.pack("!BBH", 0, 0, _NFTABLES)


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body


def _name(kind: int, text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


class Committer:
    """Adds an empty rule to a chain of filter, or empties it: one commit each. Use as a context manager."""

    def __init__(self, chain: str) -> None:
        self._where = _name(1, "filter") + _name(2, chain)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)

    def __enter__(self) -> Committer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def add(self) -> None:
        """A rule that asks for nothing and does nothing, behind all others."""
        self._commit(_NEWRULE, _APPEND)

    def flush(self) -> None:
        """All rules of the chain gone."""
        self._commit(_DELRULE, 0)

    def _commit(self, kind: int, flags: int) -> None:
        self._socket.send(
            _message(_BEGIN, _REQUEST, 1, _BATCH)
            + _message(kind, _REQUEST | _ACK | flags, 2, struct.pack("!BBH", _IPV4, 0, 0) + self._where)
            + _message(_END, _REQUEST, 3, _BATCH)
        )
        answer = self._socket.recv(1 << 16)
        (code,) = struct.unpack_from("=i", answer, 16)
        assert code == 0, f"the kernel refused a commit: {-code}"


@contextmanager
def commits_to(chain: str, *, a_second: int) -> Iterator[list[int]]:
    """Commit to ``chain``, which must be there, from a thread of its own; the list holds how many there were."""
    count = [0]
    stop = threading.Event()

    def work() -> None:
        began = time.monotonic()
        with Committer(chain) as committer:
            while not stop.is_set():
                (committer.flush if count[0] % 10 == 9 else committer.add)()
                count[0] += 1
                stop.wait(max(0.0, began + count[0] / a_second - time.monotonic()))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()
