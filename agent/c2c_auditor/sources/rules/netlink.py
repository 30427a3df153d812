"""Speaks netlink with nf_tables, by hand: questions and their answers, and the announcements of commits. Read only.

Two sockets. One sends GETGEN (the number of the ruleset in force: microseconds, whatever the number of rules) and asks
for dumps. The other belongs to multicast group NFNLGRP_NFTABLES, on which each commit is announced: what it added and
deleted, and last NEWGEN with the new number and the process. Messages are walked by hand, because a restore of 20,000
rules announces 20,000 of them. Sources: Linux include/uapi/linux/netlink.h, include/uapi/linux/netfilter/nf_tables.h,
nfnetlink.h; net/netfilter/nf_tables_api.c (``nf_tables_fill_gen_info``).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import struct
import sys
from collections.abc import Iterator

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.netfilter.native.attributes import attributes, number, text
from c2c_auditor.netfilter.native.datagrams import HEADER, LEAST, messages_in
from c2c_auditor.sources.rules.many import Many

_NETLINK_NETFILTER = 12
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
GROUP_NFTABLES = 7
_SUBSYSTEM = 10 << 8
NEWTABLE, _GETTABLE, DELTABLE = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
NEWCHAIN, _GETCHAIN, DELCHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 4, _SUBSYSTEM | 5
NEWRULE, _GETRULE, DELRULE = _SUBSYSTEM | 6, _SUBSYSTEM | 7, _SUBSYSTEM | 8
NEWGEN, _GETGEN = _SUBSYSTEM | 15, _SUBSYSTEM | 16
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_GEN_ID, _GEN_PID, _GEN_NAME = 1, 2, 3
# A restore of 20,000 rules announces 17 MB, and the kernel counts the memory around them too.
_BUFFER = 32 << 20
# The kernel fills 32 KiB of a dump at a time; more than that would only be memory that is taken and given back.
_MOST = 1 << 16
_SECONDS = 2.0

_ALL = bytes(4)
"""The header of nf_tables' own for a question about every family."""

Message = tuple[int, int, bytes]
"""Kind (`NEWCHAIN`, …), flags, and what stands behind the header."""


@frozen
class Commit:
    """One commit: the new generation, and the process that made it, its name cut at 15 bytes by the kernel."""

    generation: int
    pid: int
    name: str


class Requests:
    """Asks, in the network namespace of the caller. Use as a context manager, or `close`.

    ``many``: answers are long, and are received many datagrams at a time.
    """

    def __init__(self, *, many: bool = False) -> None:
        with failures():
            self._socket = opened()
            self._socket.settimeout(_SECONDS)
        self._many = Many(self._socket) if many else None
        self._number = 0

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()

    def generation(self) -> int:
        """The number of the ruleset in force in this namespace; it moves with each commit and with nothing else.

        Raises SourceError.
        """
        with failures():
            asked = self._next()
            self._socket.send(HEADER.pack(LEAST + 4, _GETGEN, _REQUEST, asked, 0) + _ALL)
            for kind, _, sequence, payload in messages_in(self._socket.recv(_MOST)):
                found = attributes(payload, 4).get(_GEN_ID) if kind == NEWGEN and sequence == asked else None
                if found is not None:
                    return number(found)
        raise SourceError(
            source="rules",
            reason=Reason.INCOMPATIBLE,
            where="netlink nf_tables",
            problem="the kernel did not answer with its generation",
            remedy="is CONFIG_NF_TABLES there, and does the agent have CAP_NET_ADMIN?",
        )

    def tables(self) -> Iterator[bytes]:
        """What stands behind the header of each message of a dump of all tables.

        Of this and every dump: a commit in between may make it wrong, and the caller must compare generations. Raises
        SourceError.
        """
        asked = self._next()
        header = HEADER.pack(LEAST + 4, _GETTABLE, _REQUEST | _DUMP, asked, 0)
        return _messages(self._dump(asked, header + _ALL))

    def chains(self) -> Iterator[bytes]:
        """The same of all chains."""
        asked = self._next()
        header = HEADER.pack(LEAST + 4, _GETCHAIN, _REQUEST | _DUMP, asked, 0)
        return _messages(self._dump(asked, header + _ALL))

    def rules(self, family: int, table: str, chain: str) -> Iterator[bytes]:
        """The same of one chain's rules; nothing comes of a chain that is not there."""
        return _messages(self.rules_together(family, table, chain))

    def rules_together(self, family: int, table: str, chain: str) -> Iterator[list[bytes]]:
        """The same as datagrams, as many together as come at a time; messages of other kinds may stand in them."""
        asked = self._next()
        body = struct.pack("=BBH", family, 0, 0) + _attribute(1, table) + _attribute(2, chain)
        header = HEADER.pack(LEAST + len(body), _GETRULE, _REQUEST | _DUMP, asked, 0)
        return self._dump(asked, header + body)

    def _dump(self, asked: int, request: bytes) -> Iterator[list[bytes]]:
        """The datagrams of the answer, up to the end."""
        with failures():
            self._socket.send(request)
            code = None
            while code is None:
                received = [self._socket.recv(_MOST)] if self._many is None else self._many.receive()
                # Others are the rest of an answer that nobody waited for.
                answers = [data for data in received if len(data) >= LEAST and HEADER.unpack_from(data)[3] == asked]
                for data in answers:
                    code = _end_in(data)
                if code not in (None, 0, errno.ENOENT):
                    raise OSError(code, os.strerror(code))
                yield answers

    def _next(self) -> int:
        self._number = self._number % 0xFFFFFFFF + 1
        return self._number


def _messages(together: Iterator[list[bytes]]) -> Iterator[bytes]:
    """What stands behind the header of each message of an answer."""
    for data in itertools.chain.from_iterable(together):
        for kind, _, _, payload in messages_in(data):
            if kind not in (_DONE, _ERROR):
                yield payload


def _end_in(data: bytes) -> int | None:
    """The errno that an answer ends with in ``data``, 0 if all went well; None if it goes on."""
    at, end, unpack = 0, len(data), HEADER.unpack_from
    while at + LEAST <= end:
        length, kind, *_ = unpack(data, at)
        if kind == _ERROR:
            return -int.from_bytes(data[at + LEAST : at + LEAST + 4], sys.byteorder, signed=True)
        if kind == _DONE:
            return 0
        if length < LEAST:
            break
        at += (length + 3) & ~3
    return None


def _attribute(kind: int, value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape") + b"\0"
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


class Announcements:
    """Hears what commits did, in the network namespace of the caller. Use as a context manager, or `close`.

    ``buffer`` is how many bytes may wait to be read; ``overflows`` counts how often there were more.
    """

    def __init__(self, buffer: int) -> None:
        with failures():
            self._socket = opened()
            self._socket.settimeout(0)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
            except PermissionError:  # without CAP_NET_ADMIN net.core.rmem_max caps it
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, GROUP_NFTABLES)
            # The kernel doubles what is asked for, for its own bookkeeping.
            self.buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._room = memoryview(bytearray(2 * _MOST))
        self.overflows = 0

    def __enter__(self) -> Announcements:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when something is committed."""
        return self._socket.fileno()

    def read(self) -> Iterator[bytes | None]:
        """What was announced and not yet read, in order: messages, as many together as there are. Never waits.

        None stands where announcements were lost. Raises SourceError.
        """
        lost, left = False, True
        while left:
            filled = 0
            try:
                while filled <= _MOST:
                    filled += (self._socket.recv_into(self._room[filled:]) + 3) & ~3
            except BlockingIOError:
                left = False
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _failed(error) from error
                lost = True
            if filled:
                yield bytes(self._room[:filled])
            if lost:
                self.overflows += 1
                lost = False
                yield None


class Netlink:
    """Both sockets. Use as a context manager, or `close`. Raises SourceError where nf_tables does not answer."""

    def __init__(self, buffer: int = _BUFFER) -> None:
        self.requests = Requests()
        try:
            self.requests.generation()
            self.announcements = Announcements(buffer)
        except SourceError:
            self.requests.close()
            raise

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both; may be called twice."""
        self.requests.close()
        self.announcements.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when something is committed."""
        return self.announcements.fileno()


def commit_in(payload: bytes) -> Commit:
    """What NEWGEN says."""
    found = attributes(payload, 4)
    return Commit(number(found.get(_GEN_ID, b"")), number(found.get(_GEN_PID, b"")), text(found.get(_GEN_NAME, b"")))


def opened() -> socket.socket:
    """A netlink socket in the network namespace of the caller."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """What the system refuses, as SourceError."""
    try:
        yield
    except OSError as error:
        raise _failed(error) from error


def _failed(error: OSError) -> SourceError:
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return SourceError(
        source="rules",
        reason=Reason.PERMISSION if denied else Reason.FAILED,
        where="netlink nf_tables",
        problem=f"{error.strerror or error}",
        remedy="give the agent CAP_NET_ADMIN" if denied else "see the kernel's log",
    )
