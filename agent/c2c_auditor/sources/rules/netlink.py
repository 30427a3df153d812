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
import socket
import struct
from collections.abc import Iterator

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.netfilter.native.attributes import attributes, number, text

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_GROUP_NFTABLES = 7
_SUBSYSTEM = 10 << 8
NEWTABLE, GETTABLE, DELTABLE = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
NEWCHAIN, GETCHAIN, DELCHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 4, _SUBSYSTEM | 5
NEWRULE, GETRULE, DELRULE = _SUBSYSTEM | 6, _SUBSYSTEM | 7, _SUBSYSTEM | 8
_NEWGEN, _GETGEN = _SUBSYSTEM | 15, _SUBSYSTEM | 16
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_GEN_ID, _GEN_PID, _GEN_NAME = 1, 2, 3
_TABLE, _CHAIN_OF_RULE, _CHAIN_NAME = 1, 2, 3
_NAMES_A_CHAIN = {NEWRULE: _CHAIN_OF_RULE, DELRULE: _CHAIN_OF_RULE, NEWCHAIN: _CHAIN_NAME, DELCHAIN: _CHAIN_NAME}
"""The messages that tell of a chain, and which of their attributes is its name."""
_FAMILIES = {family.nfproto: family for family in AddressFamily}
_HEADER = struct.Struct("=IHHII")
_LEAST = 16
# A restore of 20,000 rules announces 17 MB, and the kernel counts the memory around them too.
_BUFFER = 32 << 20
_MOST = 1 << 18
_SECONDS = 2.0

Message = tuple[int, int, bytes]
"""Kind (`NEWRULE`, …), flags, and what stands behind the header."""


@frozen
class Commit:
    """One commit: the new generation, and the process that made it, its name cut at 15 bytes by the kernel."""

    generation: int
    pid: int
    name: str


class Requests:
    """Asks, in the network namespace of the caller. Use as a context manager, or `close`."""

    def __init__(self) -> None:
        with _failures():
            self._socket = _opened()
            self._socket.settimeout(_SECONDS)
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
        with _failures():
            asked = self._ask(_GETGEN, 0, 0, b"")
            for kind, _, sequence, payload in _messages(self._socket.recv(_MOST)):
                found = attributes(payload, 4).get(_GEN_ID) if kind == _NEWGEN and sequence == asked else None
                if found is not None:
                    return number(found)
        raise SourceError(
            source="rules",
            reason=Reason.INCOMPATIBLE,
            where="netlink nf_tables",
            problem="the kernel did not answer with its generation",
            remedy="is CONFIG_NF_TABLES there, and does the agent have CAP_NET_ADMIN?",
        )

    def dump(self, kind: int, family: int = 0, given: bytes = b"") -> Iterator[bytes]:
        """What stands behind the header of each message of a dump.

        ``kind`` is `GETTABLE`, `GETCHAIN` or `GETRULE`; ``family`` 0 is all, ``given`` are attributes that choose less.
        Nothing comes for what is not there. A commit in between may make it wrong: the caller must compare generations.
        Raises SourceError.
        """
        with _failures():
            asked = self._ask(kind, _DUMP, family, given)
            while True:
                for answer, _, sequence, payload in _messages(self._socket.recv(_MOST)):
                    if sequence != asked:
                        continue  # the rest of an answer that nobody waited for
                    if answer in (_DONE, _ERROR):
                        code = -int.from_bytes(payload[:4], "little", signed=True) if answer == _ERROR else 0
                        if code not in (0, errno.ENOENT):
                            raise OSError(code, "dump")
                        return
                    yield payload

    def _ask(self, kind: int, flags: int, family: int, given: bytes) -> int:
        self._number = self._number % 0xFFFFFFFF + 1
        self._socket.send(
            _HEADER.pack(_LEAST + 4 + len(given), kind, _REQUEST | flags, self._number, 0)
            + struct.pack("=BBH", family, 0, 0)
            + given
        )
        return self._number


class Announcements:
    """Hears what commits did, in the network namespace of the caller. Use as a context manager, or `close`.

    ``buffer`` is how many bytes may wait to be read; ``overflows`` counts how often there were more.
    """

    def __init__(self, buffer: int = _BUFFER) -> None:
        with _failures():
            self._socket = _opened()
            self._socket.settimeout(0)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
            except PermissionError:  # without CAP_NET_ADMIN net.core.rmem_max caps it
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
            # The kernel doubles what is asked for, for its own bookkeeping.
            self.buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
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

    def read(self) -> Iterator[Message | Commit | None]:
        """What was announced and not yet read, in order: a commit's messages, then the `Commit`. Never waits.

        None stands where announcements were lost. Raises SourceError.
        """
        while True:
            try:
                data = self._socket.recv(_MOST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _failed(error) from error
                self.overflows += 1
                yield None
                continue
            for kind, flags, _, payload in _messages(data):
                yield (kind, flags, payload) if kind != _NEWGEN else _commit(payload)


ChangedChain = tuple[AddressFamily, str, str]


@frozen(kw_only=True)
class Changes:
    """Commits since the last call.

    ``chains`` are (family, table, chain), None when notifications were lost: anything may have changed.

    ``generation`` is the newest that was announced, None if none was: a commit is in force a moment before it is
    announced. ``writers`` are (pid, name) of the processes that committed; empty when the notifications were lost.
    """

    chains: frozenset[ChangedChain] | None = frozenset()
    generation: int | None = None
    writers: frozenset[tuple[int, str]] = frozenset()


class Nftables:
    """Both sockets, for a reader that is told of chains' names alone. Use as a context manager, or `close`."""

    def __init__(self) -> None:
        self._requests = Requests()
        try:
            self._announcements = Announcements()
        except SourceError:
            self._requests.close()
            raise

    def __enter__(self) -> Nftables:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both sockets; may be called twice."""
        self._requests.close()
        self._announcements.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when something is committed."""
        return self._announcements.fileno()

    def generation(self) -> int:
        """The number of the ruleset in force. Raises SourceError."""
        return self._requests.generation()

    def changes(self) -> Changes:
        """Everything announced since the last call; never waits."""
        chains: set[ChangedChain] = set()
        commits: list[Commit] = []
        lost = False
        for announced in self._announcements.read():
            if announced is None:
                lost = True
            elif isinstance(announced, Commit):
                commits.append(announced)
            else:
                kind, _, payload = announced
                if kind in _NAMES_A_CHAIN and payload[0] in _FAMILIES:
                    found = attributes(payload, 4)
                    names = text(found.get(_TABLE, b"")), text(found.get(_NAMES_A_CHAIN[kind], b""))
                    chains.add((_FAMILIES[payload[0]], *names))
        if lost:
            return Changes(chains=None)
        return Changes(
            chains=frozenset(chains),
            generation=max((commit.generation for commit in commits), default=None),
            writers=frozenset((commit.pid, commit.name) for commit in commits),
        )


def _commit(payload: bytes) -> Commit:
    found = attributes(payload, 4)
    return Commit(number(found.get(_GEN_ID, b"")), number(found.get(_GEN_PID, b"")), text(found.get(_GEN_NAME, b"")))


def _opened() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    opened.bind((0, 0))
    return opened


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, sequence number and payload of each message of a datagram."""
    at = 0
    while at + _LEAST <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _LEAST:
            return
        yield kind, flags, sequence, data[at + _LEAST : at + length]
        at += (length + 3) & ~3


@contextlib.contextmanager
def _failures() -> Iterator[None]:
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
