"""Looks at each process that commits to nf_tables at once, while it is still there: how it was called, who started it.

iptables ends within a millisecond after its commit, and the kernel announces the commit just before. So a thread waits
on a socket of its own, which by a filter in the kernel gets nothing but NEWGEN. It holds no capability, and spends at
most 5 % of a core: a look takes some 0.1 ms, so bursts of hundreds are looked at one by one, and of a storm without end
only some. Whom it misses is not known. Sources: Linux net/netfilter/nf_tables_api.c (``nf_tables_gen_notify`` sends a
message of its own), Documentation/networking/filter.rst (classic BPF; it loads in network order).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shlex
import socket
import struct
import sys
import threading
import time

from attrs import evolve, frozen

from c2c_auditor.netfilter.native.datagrams import messages_in
from c2c_auditor.privileges import drop_in_thread
from c2c_auditor.sources.rules.netlink import (
    ADD_MEMBERSHIP,
    GROUP_NFTABLES,
    NEWGEN,
    SOL_NETLINK,
    Commit,
    commit_in,
    failures,
    opened,
)

_SO_ATTACH_FILTER = 26
# Load the half word at byte 4, a message's type; keep the packet if it is NEWGEN, else drop it.
_LOAD_HALF, _IF_EQUAL, _RETURN = 0x28, 0x15, 0x06
_FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (_LOAD_HALF, 0, 0, 4),
        (_IF_EQUAL, 0, 1, socket.htons(NEWGEN)),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    )
)
_MOST_BYTES = 1 << 14
# While another thread works, this one waits so long for its turn: Python's usual 5 ms are longer than a process lasts.
TURN_SECONDS = 0.0005
_MOST_KNOWN = 1000
_MOST_OF_A_COMMAND = 200
_SHARE, _AHEAD = 0.05, 0.05
"""The part of a core that may be spent in the long run, and the seconds of work that may be spent ahead of that."""


@frozen(kw_only=True)
class Process:
    """A process: ``name`` is cut at 15 bytes; ``command`` and ``parent`` (a name) are empty where nobody knows.

    ``seen`` is when it was looked at, in seconds since the epoch; None if that was not at once.
    """

    pid: int
    name: str
    command: str = ""
    parent: str = ""
    parent_pid: int = 0
    seen: float | None = None


def process_of(commit: Commit) -> Process:
    """What /proc says of who made ``commit``, if that process is still there and is the one that is meant.

    The command line is gone first when a process ends, so it is read first.
    """
    unknown = Process(pid=commit.pid, name=commit.name)
    try:
        command = _read(f"/proc/{commit.pid}/cmdline")
        fields = _status(_read(f"/proc/{commit.pid}/status"))
        parent = int(fields.get("PPid", "0"))
        name = _read(f"/proc/{parent}/comm").strip() if parent else ""
    except (OSError, ValueError):
        return unknown
    if fields.get("Name") != commit.name:
        return unknown
    return Process(
        pid=commit.pid, name=commit.name, command=_command(command), parent=name, parent_pid=parent if name else 0
    )


def _command(text: str) -> str:
    """A command line as a shell takes it; empty for a process that is about to end.

    iptables wipes out each ``!`` of its own arguments while it reads them (seen with 1.8.9).
    """
    words = text.rstrip("\0").replace("\0\0\0", "\0!\0").split("\0")
    command = " ".join(word if word == "!" else shlex.quote(word) for word in words) if words != [""] else ""
    return command if len(command) <= _MOST_OF_A_COMMAND else f"{command[:_MOST_OF_A_COMMAND]} …"


def _status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _read(path: str) -> str:
    """A small file, by as few calls as can be: whoever is slow finds nobody."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MOST_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


class Committers(threading.Thread):
    """Remembers who made the last thousand commits in the network namespace of the caller. `start` it; `close` ends it.

    Raises SourceError where commits are not announced.
    """

    def __init__(self) -> None:
        super().__init__(name="committers", daemon=True)
        self._lock = threading.Lock()
        self._known: dict[int, Process] = {}
        with failures():
            self._socket = opened()
            try:
                program = ctypes.create_string_buffer(_FILTER)
                attached = struct.pack("@HP", len(_FILTER) // 8, ctypes.addressof(program))
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
                self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, GROUP_NFTABLES)
                self._socket.settimeout(0)
            except OSError:
                self._socket.close()
                raise
        self._end, self._ended = os.pipe2(os.O_CLOEXEC)

    def of(self, commit: Commit) -> Process | None:
        """Who made ``commit``; None if nobody looked."""
        process = self.of_generation(commit.generation)
        return process if process is not None and process.pid == commit.pid else None

    def of_generation(self, generation: int) -> Process | None:
        """Who made the commit that this generation began with; None if nobody looked."""
        with self._lock:
            return self._known.get(generation)

    def close(self) -> None:
        """End the thread, if it was started, and close the socket."""
        os.close(self._ended)
        if self.ident is not None:
            self.join()
        os.close(self._end)
        self._socket.close()

    def run(self) -> None:
        """Look at each process until the end."""
        drop_in_thread()
        sys.setswitchinterval(min(sys.getswitchinterval(), TURN_SECONDS))
        ahead, last, used = 0.0, time.monotonic(), time.thread_time()
        waiting = select.poll()
        for descriptor in (self._socket.fileno(), self._end):
            waiting.register(descriptor, select.POLLIN | select.POLLHUP)
        while self._end not in (descriptor for descriptor, _ in waiting.poll()):
            with contextlib.suppress(OSError):  # more was announced than the socket holds: those are not known
                self._look()
            now, cost = time.monotonic(), time.thread_time()
            ahead, last, used = max(0.0, ahead - _SHARE * (now - last)) + cost - used, now, cost
            if ahead > _AHEAD:
                time.sleep((ahead - _AHEAD) / _SHARE)

    def _look(self) -> None:
        for kind, _, _, payload in messages_in(self._socket.recv(_MOST_BYTES)):
            if kind == NEWGEN:
                commit = commit_in(payload)
                process = evolve(process_of(commit), seen=time.time())
                with self._lock:
                    self._known[commit.generation] = process
                    if len(self._known) > _MOST_KNOWN:
                        del self._known[next(iter(self._known))]
