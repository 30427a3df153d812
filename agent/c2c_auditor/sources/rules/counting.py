"""Counts packets that policies accepted and that a container's default deny refused: seldom, and never downwards.

nf_tables announces no counters, so the chains in question are dumped once in a minute, by a thread of its own, and less
often where that takes long: at most 0.2 % of a core. Totals are sums of what each rule gained between two readings. So
they survive silk's swaps, by which all rules of the policy chain become others: what the old chain counted stays, but
for the packets between its last reading and its end, which nobody can read any more. A rule that shows less than before
was set to zero.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from c2c_auditor.errors import NotUnderstood, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.messages import IPV4, IPV6
from c2c_auditor.netfilter.native.rule_messages import beginning_of, handle_in, packets_of, rule_in
from c2c_auditor.netfilter.native.rules import NUMBERS
from c2c_auditor.silk.chain_names import ChainFamily, family_of
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.applied import TableKey
from c2c_auditor.sources.rules.held import HeldTable
from c2c_auditor.sources.rules.netlink import Requests

ACCEPTED, REFUSED = "accepted", "refused"
_EVERY_SECONDS = 60.0
_REST = 500
_VERDICTS: Mapping[ChainFamily | None, str] = {ChainFamily.POLICY: ACCEPTED, ChainFamily.OVERLAY: REFUSED}
_TABLES: tuple[TableKey, ...] = ((IPV4, "filter"), (IPV6, "filter"))


def verdict_of(chain: ChainFamily | None, rule: r.Rule) -> str | None:
    """What the packets of a rule count for: an ACCEPT of the policy chain, the REJECT of an ``overlay--`` chain."""
    counts = rule.target == r.ACCEPT if chain is ChainFamily.POLICY else isinstance(rule.target, r.Reject)
    return _VERDICTS.get(chain) if counts else None


class Totals:
    """Packets by verdict since the first reading, which counts as nothing."""

    def __init__(self) -> None:
        self._last: dict[Hashable, int] | None = None
        self._sums = {ACCEPTED: 0, REFUSED: 0}

    @property
    def last(self) -> Mapping[Hashable, int]:
        """What each rule showed that has met a packet; most have not, and need not be kept."""
        return self._last if self._last is not None else {}

    def add(self, packets: Mapping[str, Mapping[Hashable, int]], unread: Iterable[Hashable] = ()) -> None:
        """One reading: what rules show, by verdict, and those of `last` that are there but could not be read.

        One that is in neither is gone, or shows nothing.
        """
        last = self.last
        found = {rule: last[rule] for rule in unread}
        for verdict, counts in packets.items():
            for rule, count in counts.items():
                before = last.get(rule, 0) if self._last is not None else count
                self._sums[verdict] += count - before if count >= before else count
                if count:
                    found[rule] = count
        self._last = found

    def sums(self) -> Mapping[str, int] | None:
        """The totals; None before the first reading."""
        return dict(self._sums) if self._last is not None else None


@frozen(kw_only=True)
class _Counted:
    """The rules of one chain whose packets count, by their handles, ascending."""

    table: TableKey
    name: str
    verdict: str
    handles: array[int]

    def holds(self, handle: int) -> bool:
        at = bisect_left(self.handles, handle)
        return at < len(self.handles) and self.handles[at] == handle

    def key(self, handle: int) -> int:
        """A rule's number among those of all families."""
        return handle << 8 | self.table[0]


@frozen(kw_only=True)
class _Answer:
    """What a reading found, None if it failed; see `Totals.add`. ``cost`` is processor time in seconds."""

    packets: Mapping[str, Mapping[Hashable, int]] | None
    unread: frozenset[Hashable]
    cost: float


class NativeCounting:
    """Reads the counters of nf_tables, of the rules that a replica holds."""

    def __init__(self, clocks: Clocks | None = None) -> None:
        self._clocks = clocks if clocks is not None else Clocks()
        self._totals = Totals()
        self._due = float("-inf")
        self._thread: threading.Thread | None = None
        self._answer: _Answer | None = None

    def sums(self, tables: Mapping[TableKey, HeldTable]) -> Mapping[str, int] | None:
        """The totals as last read; begins the next reading when it is time. None before the first has ended."""
        if self._thread is not None and not self._thread.is_alive():
            self._collect()
        if self._thread is None and self._clocks.steady() >= self._due:
            counted = _counted(tables)
            self._thread = threading.Thread(target=self._read, args=(counted,), name="counters", daemon=True)
            self._thread.start()
        return self._totals.sums()

    def wait(self) -> None:
        """Until the reading that was begun has ended."""
        if self._thread is not None:
            self._thread.join()

    def _collect(self) -> None:
        answer, self._thread, self._answer = self._answer, None, None
        if answer is not None and answer.packets is not None:
            self._totals.add(answer.packets, answer.unread)
        self._due = self._clocks.steady() + max(_EVERY_SECONDS, _REST * answer.cost if answer is not None else 0)

    def _read(self, counted: Sequence[_Counted]) -> None:
        began = time.thread_time()
        packets: dict[str, dict[Hashable, int]] = {ACCEPTED: {}, REFUSED: {}}
        failed = False
        unread = set(self._totals.last)
        try:
            with Requests() as requests:
                for chain in counted:
                    for handle, count in _packets(requests.rules(*chain.table, chain.name)):
                        if count and chain.holds(handle):
                            packets[chain.verdict][chain.key(handle)] = count
                        unread.discard(chain.key(handle))
        except (SourceError, NotUnderstood):
            failed = True
        there = (chain.key(handle) for chain in counted for handle in chain.handles) if unread else ()
        self._answer = _Answer(
            packets=None if failed else packets,
            unread=frozenset(unread.intersection(there)),
            cost=time.thread_time() - began,
        )


def _packets(rules: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Handle and packets of each of ``rules``, messages about one chain."""
    beginning = None
    for payload in rules:
        if beginning is None or not payload.startswith(beginning):
            beginning = beginning_of(payload)
        yield handle_in(payload, len(beginning)), packets_of(rule_in(payload, len(beginning))[0])


def _counted(tables: Mapping[TableKey, HeldTable]) -> tuple[_Counted, ...]:
    found = []
    for key in _TABLES:
        held = tables.get(key)
        for chain in held.chains.values() if held is not None else ():
            family = family_of(chain.message.name)
            verdict = _VERDICTS.get(family)
            if verdict is not None and chain.plain:
                rules = zip(chain.handles, chain.entries[0], strict=True)
                handles = sorted(
                    handle for handle, rule in rules if isinstance(rule, r.Rule) and verdict_of(family, rule)
                )
                found.append(
                    _Counted(table=key, name=chain.message.name, verdict=verdict, handles=array(NUMBERS, handles))
                )
    return tuple(found)


class PolledCounting:
    """Takes the counters of a reading that has them; there is no handle, so equal rules of a chain are one."""

    def __init__(self, clocks: Clocks | None = None) -> None:
        self._clocks = clocks if clocks is not None else Clocks()
        self._totals = Totals()
        self._due = float("-inf")

    def note(self, ruleset: r.Ruleset) -> None:
        """A reading, looked at once in a minute."""
        if self._clocks.steady() < self._due:
            return
        self._due = self._clocks.steady() + _EVERY_SECONDS
        packets: dict[str, dict[Hashable, int]] = {ACCEPTED: {}, REFUSED: {}}
        for name, chain in ruleset.chains("filter").items():
            family = family_of(name)
            if family in _VERDICTS and chain.packets is not None and any(chain.packets):
                for rule, count in zip(chain.rules, chain.packets, strict=True):
                    verdict = verdict_of(family, rule) if count else None
                    if verdict is not None:
                        packets[verdict][name, rule] = packets[verdict].get((name, rule), 0) + count
        self._totals.add(packets)

    def sums(self) -> Mapping[str, int] | None:
        """The totals; None before the first reading."""
        return self._totals.sums()
