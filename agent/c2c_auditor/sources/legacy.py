"""Rules of the legacy backend, through python-iptables' handle of libiptc: a copy of each table, from which only bytes are taken.

python-iptables' own Rule objects cost 0.3 ms each and leak, so they are not used; its libiptc functions are. The bytes of a rule that did not change
are equal, so each distinct rule is understood once, and a steady reading only looks rules up.

Nothing is changed, locked or created. libiptc takes the xtables lock nowhere (iptables does, for itself). But opening a legacy table that is not
there *makes* it, so only tables that are there are opened. And importing python-iptables runs ``modprobe ip_tables``, so it is imported at
the first reading that finds tables: then ip_tables is in the kernel already, and modprobe has nothing to do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.sources.xtables import ENTRY_SIZE, FINAL_VERDICTS, KEPT_SIZE, cleaned, decode_entry

TABLES = ("filter", "nat", "mangle")
_ATTEMPTS = 4
_NAMES = Path("/proc/thread-self/net/ip_tables_names")
_MODULES = Path("/sys/module")
_ABSENT = (errno.ENOENT, errno.ENOPROTOOPT)
_SIZES = struct.Struct("=88xHH4xQ8x")
_STANDARD_TARGET_SIZE = 40
_M_MMAP_THRESHOLD, _LARGE = -3, 256 << 10
_NAME_OF_TARGET = KEPT_SIZE - ENTRY_SIZE + 2

Key = bytes | tuple[bytes, bytes]


def tables_in_use() -> bool | None:
    """Whether this network namespace has legacy tables; None if it cannot be told. Makes none."""
    present, certain = _tables_present()
    if not present:
        return False
    return True if certain else None


def _tables_present() -> tuple[frozenset[str], bool]:
    """The tables that may exist here, and whether they certainly do.

    The list is root's to read. Its mere presence tells that ip_tables is in the kernel; which tables that has is told by the modules that are loaded,
    unless it was built in.
    """
    try:
        return frozenset(_NAMES.read_text(encoding="ascii").split()), True
    except FileNotFoundError:
        if _NAMES.parent.is_dir():
            return frozenset(), True
    except OSError:
        if (_MODULES / "ip_tables").is_dir():
            return frozenset(name for name in TABLES if (_MODULES / f"iptable_{name}").is_dir()), False
    return frozenset(TABLES), False


class LegacyReader:
    """Reads ``tables``, and remembers the rules of the last reading by their bytes.

    The kernel copies one table at a time, and libiptc asks for a table's layout before it asks for its rules. So one reading proves little: what `read`
    returns was read twice in a row with nothing different but counters, and hence stood in all tables at once. The reading of the call before counts
    as the first of the two, so as long as nothing changes, each call reads once.
    """

    def __init__(self, *, tables: Sequence[str] = TABLES) -> None:
        self._names = tuple(tables)
        self._libiptc: _Libiptc | None = None
        self._rules: dict[Key, r.Rule] = {}
        self._last: r.Ruleset | None = None

    def read(self) -> r.Ruleset:
        """The rules in force. Raises SourceError when they may not be read, libiptc cannot be loaded, or the rules do not hold still."""
        for _ in range(_ATTEMPTS):
            before, self._last = self._last, None
            self._last = self._once()
            if self._last == before:
                return self._last
        raise _failed(Reason.INCONSISTENT, f"no two of {_ATTEMPTS} readings in a row agree", "somebody rewrites the rules all the time")

    def _once(self) -> r.Ruleset:
        present, _ = _tables_present()
        reading = _Reading(known=self._rules)
        tables = {}
        for name in self._names:
            if name in present:
                chains = self._chains(name, reading)
                if chains is not None:
                    tables[name] = r.Table(name=name, chains=chains)
        self._rules = reading.used
        return r.Ruleset(tables=tables, backend=r.Backend.LEGACY, origin="libiptc")

    def _chains(self, table: str, reading: _Reading) -> dict[str, r.Chain] | None:
        """The chains of ``table``; None if there is no such table."""
        if self._libiptc is None:
            self._libiptc = _load()
        with self._libiptc.opened(table) as handle:
            return reading.chains(self._libiptc, handle) if handle else None


@frozen(kw_only=True)
class _Libiptc:
    """libiptc's functions with plain addresses in and out: the pointer objects that python-iptables declares cost more than the walk."""

    init: Any
    free: Any
    first_chain: Any
    next_chain: Any
    policy: Any
    first_rule: Any
    next_rule: Any
    target: Any

    @contextmanager
    def opened(self, table: str) -> Iterator[int | None]:
        """A copy of ``table`` as a handle, None if the table does not exist."""
        handle = self.init(table.encode())
        number = ctypes.get_errno()
        if not handle and number not in _ABSENT:
            denied = number in (errno.EPERM, errno.EACCES)
            raise _failed(
                Reason.PERMISSION if denied else Reason.FAILED,
                f"cannot open table {table}: {os.strerror(number)}",
                "give the agent CAP_NET_ADMIN and CAP_NET_RAW" if denied else f"try `iptables-legacy-save -t {table}`",
            )
        try:
            yield handle
        finally:
            if handle:
                self.free(handle)


def _load() -> _Libiptc:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its source has invalid escapes, and files that it never closes
            from iptc.ip4tc import iptc  # noqa: PLC0415 - importing it runs programs; see the top of this module
    except Exception as error:  # its import looks for libraries and runs ldconfig; what that raises is of any kind
        raise _failed(
            Reason.MISSING,
            f"python-iptables cannot be loaded: {error}",
            "install libip4tc and libxtables (package iptables), or set XTABLES_LIBDIR",
        ) from error
    address, text, handle = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p

    def function(name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes' types have no common name
        pointer = ctypes.cast(getattr(iptc, f"iptc_{name}"), ctypes.c_void_p).value
        return ctypes.CFUNCTYPE(result, *arguments, use_errno=True)(pointer)

    return _Libiptc(
        init=function("init", handle, text),
        free=function("free", None, handle),
        first_chain=function("first_chain", text, handle),
        next_chain=function("next_chain", text, handle),
        policy=function("get_policy", text, text, ctypes.c_char_p, handle),
        first_rule=function("first_rule", address, text, handle),
        next_rule=function("next_rule", address, address, handle),
        target=function("get_target", text, address, handle),
    )


class _Shape:
    """Entries of one layout, and their rules by the bytes that count: those ``known`` from the last reading, those ``used`` in this one."""

    def __init__(self, entry: bytes) -> None:
        self.parts = layout(entry).unpack
        self.jumps = is_standard(entry)
        self.known: dict[Key, r.Rule] = {}
        self.used: dict[Key, r.Rule] = {}


class _Memory:
    """The rules of the last reading. An entry is looked up among those of its size; few sizes have more than one or two layouts."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, list[_Shape]] = {}

    def __len__(self) -> int:
        return sum(len(shape.known) for shapes in self._shapes.values() for shape in shapes)

    def forget(self) -> None:
        """Drop what was not used since the last call."""
        for sizes, shapes in list(self._shapes.items()):
            for shape in shapes:
                shape.known, shape.used = shape.used, {}
            self._shapes[sizes] = [shape for shape in shapes if shape.known]
            if not self._shapes[sizes]:
                del self._shapes[sizes]

    def chains(self, libiptc: _Libiptc, handle: int) -> dict[str, r.Chain]:
        """The chains of an opened table."""
        found: dict[str, r.Chain] = {}
        counters = ctypes.create_string_buffer(16)
        name = libiptc.first_chain(handle)
        while name is not None:
            policy = libiptc.policy(name, counters, handle)
            rules, packets = self._rules(libiptc, handle, libiptc.first_rule(name, handle))
            chain = _text(name)
            found[chain] = r.Chain(name=chain, policy=None if policy is None else _text(policy), rules=rules, packets=packets)
            name = libiptc.next_chain(handle)
        return found

    def _rules(self, libiptc: _Libiptc, handle: int, entry: int | None) -> tuple[tuple[r.Rule, ...], tuple[int, ...]]:
        """Rules and their packets from ``entry`` to the end of its chain: the hot path, 20,000 times round in 60 ms."""
        copy, numbers, shapes, next_rule = ctypes.string_at, _NUMBERS.unpack, self._shapes, libiptc.next_rule
        rules: list[r.Rule] = []
        packets: list[int] = []
        while entry:
            target_offset, size, count = numbers(copy(entry + _NUMBERS_AT, _NUMBERS.size))
            raw = copy(entry, size)
            for shape in shapes.get((target_offset, size), ()):
                key = shape.key(raw, libiptc.target, entry, handle)
                rule = shape.known.get(key)
                if rule is not None:
                    shape.used[key] = rule
                    break
            else:
                rule = self._learn((target_offset, size), raw)
            rules.append(rule)
            packets.append(count)
            entry = next_rule(entry, handle)
        return tuple(rules), tuple(packets)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _failed(reason: Reason, problem: str, remedy: str) -> SourceError:
    return SourceError(source="rules", reason=reason, where="legacy iptables", problem=problem, remedy=remedy)
