"""Receives many datagrams in one call of recvmmsg(2), while other threads run: `socket` has one for each only.

Between two calls a thread of Python waits for its turn. Sources: recvmmsg(2); Linux net/netlink/af_netlink.c
(``netlink_recvmsg``: 32 KiB of a dump at most, whatever room there is).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

_MANY, _SIZE = 16, 1 << 15
_MSG_WAITFORONE = 0x10000
_libc = ctypes.CDLL(None, use_errno=True)  # each is a class of its own, in a cycle


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vectors_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Many:
    """What ``source`` gives, up to 512 KiB at a time."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        room = (ctypes.c_char * (_MANY * _SIZE))()
        self._room = memoryview(room)
        places = (ctypes.addressof(room) + at * _SIZE for at in range(_MANY))
        self._vectors = (_Vector * _MANY)(*(_Vector(place, _SIZE) for place in places))
        self._messages = (_Message * _MANY)()
        for message, vector in zip(self._messages, self._vectors, strict=True):
            message.header.vectors, message.header.vectors_length = ctypes.pointer(vector), 1

    def receive(self) -> list[bytes]:
        """The datagrams that are there; one if it must be waited for. Raises OSError."""
        count = _libc.recvmmsg(self._source.fileno(), self._messages, _MANY, _MSG_WAITFORONE, None)
        if count <= 0:
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):
                raise OSError(number, os.strerror(number))
            return [self._source.recv(_SIZE)]
        return [bytes(self._room[at * _SIZE : at * _SIZE + self._messages[at].length]) for at in range(count)]
