"""Reads rules of the legacy backend with libiptc, as python-iptables brings it along.

python-iptables' own Rule objects cost 0.3 ms each and leak, so they are not used; its libiptc functions are. The bytes
that make a rule stay equal as long as it does, so each distinct rule is decoded once, and a reading of
unchanged tables only looks rules up.

Nothing is changed, locked or created. libiptc does not know the xtables lock (iptables takes it, around libiptc). But
opening a legacy table that is not there *makes* it, so only tables that are there are opened. And importing
python-iptables runs ``modprobe ip_tables``, so it is imported at the first reading that finds tables: ip_tables is in
the kernel then, and modprobe has nothing to do.

Where it cannot be loaded, iptables-legacy-save is read, and every reading says so. Without CAP_NET_RAW neither can
work, and the tables are copied here (`sockopt`).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from c2c_auditor.errors import NotUnderstood, Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Done
from c2c_auditor.model.table import READ_TABLES, TableSpec
from c2c_auditor.netfilter.binary.entries import LAYOUTS, is_jump
from c2c_auditor.netfilter.binary.tables import EntryChain
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.sources.rules.command import MOST_RULES, Limits
from c2c_auditor.sources.rules.counting import PolledCounting
from c2c_auditor.sources.rules.entry_rules import EntryRules
from c2c_auditor.sources.rules.journal import Journal
from c2c_auditor.sources.rules.libiptc import Libiptc, failed, load
from c2c_auditor.sources.rules.saved import read_table
from c2c_auditor.sources.rules.sockopt import copied, may_make_raw_sockets
from c2c_auditor.sources.rules.tools import Tools

_ATTEMPTS = 4
_NET = Path("/proc/thread-self/net")
_MODULES = Path("/sys/module")
_OF_FAMILY = {
    r.AddressFamily.IPV4: ("ip_tables", "iptable_"),
    r.AddressFamily.IPV6: ("ip6_tables", "ip6table_"),
}
"""The kernel's module of a family, and what the names of its tables' modules begin with."""


def tables_in_use(
    family: r.AddressFamily = r.AddressFamily.IPV4, tables: Sequence[TableSpec] = READ_TABLES
) -> bool | None:
    """Whether this network namespace has legacy tables of ``family``; None if that cannot be seen. Makes none."""
    present, certain = _tables_present(family, tables)
    if not present:
        return False
    return True if certain else None


def _tables_present(family: r.AddressFamily, tables: Sequence[TableSpec]) -> tuple[frozenset[str], bool]:
    """The tables that may be there, and whether they certainly are.

    The kernel lists them for root alone. For others the list's presence shows that the family's module is in the
    kernel, and the loaded modules show which tables can exist, unless they are built in.
    """
    module, prefix = _OF_FAMILY[family]
    names = frozenset(table.name for table in tables)
    try:
        return frozenset((_NET / f"{module}_names").read_text(encoding="ascii").split()), True
    except FileNotFoundError:
        if _NET.is_dir():
            return frozenset(), True
    except OSError:
        if (_MODULES / module).is_dir():
            return frozenset(name for name in names if (_MODULES / f"{prefix}{name}").is_dir()), False
    return names, False


class _Memory:
    """What is known of one family: the entries that were understood, and the last reading."""

    def __init__(self, family: r.AddressFamily) -> None:
        self.family = family
        self.numbers = struct.Struct(LAYOUTS[family].numbers)
        self.numbers_at = LAYOUTS[family].numbers_at
        self.libiptc: Libiptc | None = None
        self.refused: SourceError | None = None
        self.rules = EntryRules(family)
        self.parser = RuleParser(family)
        self.last: r.Ruleset | None = None


class LegacyReader:
    """Reads ``tables``, and remembers the rules of the last reading by their bytes.

    The kernel copies one table at a time, and libiptc asks for a table's layout before it asks for its rules. So one
    reading proves little: what `read` returns was read twice in a row with nothing different but counters, and hence
    stood in all tables at once. The last reading of the call before counts as the first of the two, so as long as
    nothing changes, each call reads once.
    """

    def __init__(
        self,
        *,
        bin_dir: Path | None = None,
        limits: Limits | None = None,
        tables: Sequence[TableSpec] = READ_TABLES,
    ) -> None:
        """``bin_dir`` (PATH if that is None) and ``limits`` are for iptables-legacy-save, where that is needed."""
        self._limits = limits if limits is not None else Limits()
        self._tools = Tools(bin_dir, self._limits.seconds)
        self._tables = tuple(tables)
        self._families: dict[r.AddressFamily, _Memory] = {}
        self._journal = Journal()
        self._counting = PolledCounting()

    def in_use(self, family: r.AddressFamily) -> bool | None:
        """Whether there are tables of ``family``; None if that cannot be seen without making some."""
        return tables_in_use(family, self._tables)

    def changes(self) -> Mapping[str, int]:
        """Nothing: ip_tables does not announce changes."""
        return {}

    def done(self) -> tuple[Done, ...]:
        """What is different from the reading before, since the last call; nobody is known to have done it."""
        return self._journal.take()

    def packets(self) -> Mapping[str, int] | None:
        """Packets by verdict since the first reading, as of the last minute; None before that."""
        return self._counting.sums()

    def read(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when they may not be read, neither libiptc nor iptables-legacy-save is to be had, or the
        rules keep changing.
        """
        memory = self._families.get(family)
        if memory is None:
            memory = self._families[family] = _Memory(family)
        first = memory.last
        for _ in range(_ATTEMPTS):
            before, memory.last = memory.last, self._once(memory)
            if memory.last == before:
                if first is not None and before is not first:
                    self._journal.note_difference(first, memory.last)
                if family is r.AddressFamily.IPV4:
                    self._counting.note(memory.last)
                return memory.last
        raise failed(
            Reason.INCONSISTENT,
            f"no two of {_ATTEMPTS} readings in a row agree",
            "somebody rewrites the rules all the time",
        )

    def _once(self, memory: _Memory) -> r.Ruleset:
        present, _ = _tables_present(memory.family, self._tables)
        names = [table.name for table in self._tables if table.name in present]
        if names and not may_make_raw_sockets():
            return _copies(memory, names)
        if names and memory.libiptc is None and memory.refused is None:
            try:
                memory.libiptc = load(memory.family)
            except SourceError as error:
                memory.refused = error
        if memory.refused is not None:
            return self._from_program(memory, names, memory.refused)
        tables = {}
        if memory.libiptc is not None:
            for name in names:
                with memory.libiptc.opened(name) as handle:
                    if handle:
                        tables[name] = r.Table(name=name, chains=_chains(memory.libiptc, handle, memory))
        memory.rules.forget_unused()
        return r.Ruleset(
            tables=tables, family=memory.family, backend=r.Backend.LEGACY, origin="libiptc", reader="libiptc"
        )

    def _from_program(self, memory: _Memory, names: Sequence[str], refused: SourceError) -> r.Ruleset:
        """The tables ``names`` as iptables-legacy-save prints them, because libiptc is ``refused``."""
        if len(memory.parser) > MOST_RULES:
            memory.parser.forget()
        program = f"{memory.family.tool}-legacy-save"
        try:
            tool = self._tools.find_legacy(program, f"{memory.family.tool}-save")
        except SourceError as error:
            raise refused from error
        tables: dict[str, r.Table] = {}
        for name in names:
            tables.update(read_table(tool, name, memory.parser, self._limits)[0])
        return r.Ruleset(
            tables=tables,
            family=memory.family,
            backend=r.Backend.LEGACY,
            origin=tool.path,
            reader=tool.version,
            warnings=(f"The legacy rules were read with {program}: {refused.problem}",),
        )


def _copies(memory: _Memory, names: Sequence[str]) -> r.Ruleset:
    """The tables ``names`` without libiptc."""
    tables = {}
    for name in names:
        found = copied(name, memory.family)
        if found is not None:
            _bound(sum(len(chain.entries) for chain in found))
            chains = [_copied_chain(chain, memory) for chain in found]
            tables[name] = r.Table(name=name, chains={chain.name: chain for chain in chains})
    memory.rules.forget_unused()
    return r.Ruleset(
        tables=tables, family=memory.family, backend=r.Backend.LEGACY, origin="getsockopt", reader="getsockopt"
    )


def _copied_chain(chain: EntryChain, memory: _Memory) -> r.Chain:
    rules = []
    for entry in chain.entries:
        try:
            rules.append(memory.rules.rule(entry.content, entry.chain))
        except NotUnderstood as error:
            raise _malformed(entry.content) from error
    return r.Chain(
        name=chain.name.decode("utf-8", "surrogateescape"),
        policy=chain.policy,
        rules=tuple(rules),
        packets=tuple(entry.packets for entry in chain.entries),
    )


def _bound(rules: int) -> None:
    if rules > MOST_RULES:
        raise failed(Reason.TOO_LARGE, f"a table has more than {MOST_RULES} rules", "find out who adds rules")


def _malformed(entry: bytes) -> SourceError:
    return failed(
        Reason.MALFORMED, f"an entry that no kernel writes: {entry.hex()}", "report it, with the output of uname -a"
    )


def _chains(libiptc: Libiptc, handle: int, memory: _Memory) -> dict[str, r.Chain]:
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
        _bound(sum(len(chain.rules) for chain in found.values()))
        name = libiptc.next_chain(handle)
    return found


def _rules(
    libiptc: Libiptc, handle: int, *, chain: bytes, memory: _Memory
) -> tuple[tuple[r.Rule, ...], tuple[int, ...]]:
    """A chain's rules and their packets: the hot path, 20,000 times round in 60 ms."""
    copy, numbers, next_rule, rule = ctypes.string_at, memory.numbers.unpack, libiptc.next_rule, memory.rules.rule
    numbers_at, numbers_size = memory.numbers_at, memory.numbers.size
    rules: list[r.Rule] = []
    packets: list[int] = []
    at = libiptc.first_rule(chain, handle)
    while at:
        target_offset, size, count = numbers(copy(at + numbers_at, numbers_size))
        entry = copy(at, size)
        try:
            rules.append(rule(entry, libiptc.get_target(at, handle) if is_jump(entry, target_offset) else None))
        except NotUnderstood as error:
            raise _malformed(entry) from error
        packets.append(count)
        at = next_rule(at, handle)
    return tuple(rules), tuple(packets)
