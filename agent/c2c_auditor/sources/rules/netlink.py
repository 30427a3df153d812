"""Reads what nf_tables announces: the generation, and each commit with its changed chains and its process.

Two netlink sockets, read only: GETGEN requests the generation (microseconds, whatever the number of rules), and
multicast group NFNLGRP_NFTABLES announces commits. Messages are walked by hand, because a 20,000-rule restore announces
20,000 of them and only the chain's name matters in each. Sources: Linux include/uapi/linux/netfilter/nf_tables.h,
nfnetlink.h; net/netfilter/nf_tables_api.c (``nf_tables_fill_gen_info``).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.family import AddressFamily

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP_NFTABLES = 7
_SUBSYSTEM = 10 << 8
_NEWCHAIN, _DELCHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 5
_NEWRULE, _DELRULE = _SUBSYSTEM | 6, _SUBSYSTEM | 8
_NEWGEN, _GETGEN = _SUBSYSTEM | 15, _SUBSYSTEM | 16
_TABLE, _CHAIN_OF_RULE, _CHAIN_NAME = 1, 2, 3
_NAMES_A_CHAIN = {
    _NEWRULE: _CHAIN_OF_RULE,
    _DELRULE: _CHAIN_OF_RULE,
    _NEWCHAIN: _CHAIN_NAME,
    _DELCHAIN: _CHAIN_NAME,
}
"""The messages that tell of a chain, and which of their attributes is its name."""
_GEN_ID, _GEN_PID, _GEN_NAME = 1, 2, 3
_ATTRIBUTE_TYPE = 0x3FFF
_FAMILIES = {family.nfproto: family for family in AddressFamily}
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 8 << 20
_MOST = 1 << 18


ChangedChain = tuple[AddressFamily, str, str]


@frozen(kw_only=True)
class Changes:
    """Commits since the last call.

    ``chains`` are (family, table, chain), None when notifications were lost: anything may have changed.

    ``generation`` is the newest that was announced, None if none was: a commit is in force a moment before it is
    announced. ``writers`` are (pid, name) of the processes that committed, the name cut at 15 bytes; empty when the
    notifications were lost.
    """

    chains: frozenset[ChangedChain] | None = frozenset()
    generation: int | None = None
    writers: frozenset[tuple[int, str]] = frozenset()


class Nftables:
    """The two sockets, opened in the network namespace of the caller. Use as a context manager, or `close`."""

    def __init__(self) -> None:
        self._requests = self._events = None
        try:
            self._requests = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
            self._requests.bind((0, 0))
            self._requests.settimeout(2.0)
            self._events = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
            )
            self._events.bind((0, 0))
            self._events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        except OSError as error:
            self.close()
            raise _failed(error) from error

    def __enter__(self) -> Nftables:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both sockets; may be called twice."""
        for opened in (self._requests, self._events):
            if opened is not None:
                opened.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when something is committed."""
        return self._events.fileno() if self._events is not None else -1

    def generation(self) -> int:
        """The number of the ruleset in force in this namespace; it moves with each commit and with nothing else.

        Raises SourceError.
        """
        request = _HEADER.pack(20, _GETGEN, 1, 1, 0) + struct.pack("=BBH", 0, 0, 0)
        try:
            assert self._requests is not None  # noqa: S101 - open until `close`
            self._requests.send(request)
            for kind, payload in _messages(self._requests.recv(1 << 16)):
                number = dict(_attributes(payload, 4)).get(_GEN_ID) if kind == _NEWGEN else None
                if number is not None:
                    return int.from_bytes(number, "big")
        except OSError as error:
            raise _failed(error) from error
        raise SourceError(
            source="rules",
            reason=Reason.INCOMPATIBLE,
            where="netlink nf_tables",
            problem="the kernel did not answer with its generation",
            remedy="is CONFIG_NF_TABLES there, and does the agent have CAP_NET_ADMIN?",
        )

    def changes(self) -> Changes:
        """Everything announced since the last call; never waits."""
        chains: set[ChangedChain] = set()
        writers: dict[tuple[int, str], int] = {}
        lost = False
        while True:
            try:
                assert self._events is not None  # noqa: S101 - open until `close`
                data = self._events.recv(_MOST)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _failed(error) from error
                lost = True
                continue
            _collect(data, chains, writers)
        if lost:
            return Changes(chains=None)
        return Changes(
            chains=frozenset(chains), generation=max(writers.values(), default=None), writers=frozenset(writers)
        )


def _collect(data: bytes, chains: set[ChangedChain], writers: dict[tuple[int, str], int]) -> None:
    for kind, payload in _messages(data):
        if kind == _NEWGEN:
            found = dict(_attributes(payload, 4))
            writer = int.from_bytes(found.get(_GEN_PID, b""), "big"), _text(found.get(_GEN_NAME, b""))
            writers[writer] = int.from_bytes(found.get(_GEN_ID, b""), "big")
        elif kind in _NAMES_A_CHAIN and payload and payload[0] in _FAMILIES:
            # Table and chain stand first in these messages; the expressions behind them are not looked at.
            wanted = _NAMES_A_CHAIN[kind]
            table = chain = ""
            for attribute, value in _attributes(payload, 4):
                if attribute == _TABLE:
                    table = _text(value)
                elif attribute == wanted:
                    chain = _text(value)
                    break
            chains.add((_FAMILIES[payload[0]], table, chain))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < 16:  # noqa: PLR2004 - a header's size; less is no message
            return
        yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _attributes(payload: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    at = start
    while at + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if length < 4:  # noqa: PLR2004 - an attribute's header; less is none
            return
        yield kind & _ATTRIBUTE_TYPE, payload[at + 4 : at + length]
        at += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _failed(error: OSError) -> SourceError:
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return SourceError(
        source="rules",
        reason=Reason.PERMISSION if denied else Reason.FAILED,
        where="netlink nf_tables",
        problem=f"{error.strerror or error}",
        remedy="give the agent CAP_NET_ADMIN" if denied else "see the kernel's log",
    )
