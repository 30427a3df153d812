"""Many datagrams in one call, as the same socket gives them one by one."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from c2c_auditor.sources.rules.many import Many


def test_what_is_there_comes_in_one_call_and_the_rest_in_the_next() -> None:
    """In order, whole, empty ones too; what comes later is waited for, as long as the socket waits."""
    given = [bytes([number]) * (number * 1000 % 32_769) for number in range(40)]
    sending, receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sending, receiving:
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        receiving.settimeout(30)
        many = Many(receiving)
        thread = threading.Thread(target=lambda: [sending.send(data) for data in given])  # a queue holds few at a time
        thread.start()
        found: list[bytes] = []
        while len(found) < len(given):
            found += many.receive()
        thread.join()
        assert found == given
        receiving.settimeout(0.01)
        with pytest.raises(TimeoutError):
            many.receive()


def test_what_the_system_refuses_is_its_error() -> None:
    """By its number."""
    receiving = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    many = Many(receiving)
    receiving.close()
    with pytest.raises(OSError, match="descriptor") as caught:
        many.receive()
    assert caught.value.errno == errno.EBADF
