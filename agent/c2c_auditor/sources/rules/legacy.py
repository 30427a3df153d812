"""Rules of the legacy backend, through python-iptables' handle of libiptc: a copy of each table, from which only bytes are taken.

python-iptables' own Rule objects cost 0.3 ms each and leak, so they are not used; its libiptc functions are. The bytes
that make a rule stay equal as long as it does, so each distinct rule is understood once, and a steady reading only
looks rules up.

Nothing is changed, locked or created. libiptc does not know the xtables lock (iptables takes it, around libiptc). But
opening a legacy table that is not there *makes* it, so only tables that are there are opened. And importing
python-iptables runs ``modprobe ip_tables``, so it is imported at the first reading that finds tables: ip_tables is in
the kernel then, and modprobe has nothing to do.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from pathlib import Path

from c2c_auditor.errors import NotUnderstood, Reason
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.binary.entries import is_jump
from c2c_auditor.sources.rules.entry_rules import EntryRules
from c2c_auditor.sources.rules.libiptc import Libiptc, failed, load

TABLES = ("filter", "nat", "mangle")
_ATTEMPTS = 4
_LIST = Path("/proc/thread-self/net/ip_tables_names")
_MODULES = Path("/sys/module")
_NUMBERS = struct.Struct("=HH4xQ")
_NUMBERS_AT = 88
"""Where an entry has the offset of its target, its size and its packets."""


def tables_in_use() -> bool | None:
    """Whether this network namespace has legacy tables; None if it cannot be told. Makes none."""
    present, certain = _tables_present()
    if not present:
        return False
    return True if certain else None


def _tables_present() -> tuple[frozenset[str], bool]:
    """The tables that may be there, and whether they certainly are.

    The kernel lists them for root alone. For others the list's mere presence tells that ip_tables is in the kernel, and
    loaded modules tell which tables there can be, unless ip_tables was built in.
    """
    try:
        return frozenset(_LIST.read_text(encoding="ascii").split()), True
    except FileNotFoundError:
        if _LIST.parent.is_dir():
            return frozenset(), True
    except OSError:
        if (_MODULES / "ip_tables").is_dir():
            return frozenset(name for name in TABLES if (_MODULES / f"iptable_{name}").is_dir()), False
    return frozenset(TABLES), False


class LegacyReader:
    """Reads ``tables``, and remembers the rules of the last reading by their bytes.

    The kernel copies one table at a time, and libiptc asks for a table's layout before it asks for its rules. So one
    reading proves little: what `read` returns was read twice in a row with nothing different but counters, and hence
    stood in all tables at once. The last reading of the call before counts as the first of the two, so as long as
    nothing changes, each call reads once.
    """

    def __init__(self, *, tables: Sequence[str] = TABLES) -> None:
        self._names = tuple(tables)
        self._libiptc: Libiptc | None = None
        self._rules = EntryRules()
        self._last: r.Ruleset | None = None

    def read(self) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when they may not be read, libiptc is not to be had, or the rules do not hold still.
        """
        for _ in range(_ATTEMPTS):
            before, self._last = self._last, self._once()
            if self._last == before:
                return self._last
        raise failed(
            Reason.INCONSISTENT,
            f"no two of {_ATTEMPTS} readings in a row agree",
            "somebody rewrites the rules all the time",
        )

    def _once(self) -> r.Ruleset:
        present, _ = _tables_present()
        tables = {}
        for name in self._names:
            if name in present:
                chains = self._chains(name)
                if chains is not None:
                    tables[name] = r.Table(name=name, chains=chains)
        self._rules.forget_unused()
        return r.Ruleset(tables=tables, backend=r.Backend.LEGACY, origin="libiptc")

    def _chains(self, table: str) -> dict[str, r.Chain] | None:
        """The chains of ``table``; None if there is no such table."""
        if self._libiptc is None:
            self._libiptc = load()
        with self._libiptc.opened(table) as handle:
            return _chains(self._libiptc, handle, self._rules) if handle else None


def _chains(libiptc: Libiptc, handle: int, memory: EntryRules) -> dict[str, r.Chain]:
    found: dict[str, r.Chain] = {}
    counters = ctypes.create_string_buffer(16)
    name = libiptc.first_chain(handle)
    while name is not None:
        policy = libiptc.get_policy(name, counters, handle)
        chain = name.decode("utf-8", "surrogateescape")
        rules, packets = _rules(libiptc, handle, chain=name, memory=memory)
        found[chain] = r.Chain(
            name=chain, policy=None if policy is None else policy.decode(), rules=rules, packets=packets
        )
        name = libiptc.next_chain(handle)
    return found


def _rules(
    libiptc: Libiptc, handle: int, *, chain: bytes, memory: EntryRules
) -> tuple[tuple[r.Rule, ...], tuple[int, ...]]:
    """A chain's rules and their packets: the hot path, 20,000 times round in 60 ms."""
    copy, numbers, next_rule, rule = ctypes.string_at, _NUMBERS.unpack, libiptc.next_rule, memory.rule
    rules: list[r.Rule] = []
    packets: list[int] = []
    at = libiptc.first_rule(chain, handle)
    while at:
        target_offset, size, count = numbers(copy(at + _NUMBERS_AT, _NUMBERS.size))
        entry = copy(at, size)
        try:
            rules.append(rule(entry, libiptc.get_target(at, handle) if is_jump(entry, target_offset) else None))
        except NotUnderstood as error:
            raise failed(
                Reason.MALFORMED,
                f"an entry that no kernel writes: {entry.hex()}",
                "report it, with the output of uname -a",
            ) from error
        packets.append(count)
        at = next_rule(at, handle)
    return tuple(rules), tuple(packets)
