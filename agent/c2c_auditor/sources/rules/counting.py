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
from collections.abc import Hashable, Mapping

from attrs import frozen

from c2c_auditor.errors import SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import attributes, number
from c2c_auditor.netfilter.native.messages import HEADER, IPV4, IPV6
from c2c_auditor.netfilter.native.rule_messages import packets_of
from c2c_auditor.silk.chain_names import ChainFamily, family_of
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.applied import TableKey
from c2c_auditor.sources.rules.held import HeldTable
from c2c_auditor.sources.rules.netlink import Requests

ACCEPTED, REFUSED = "accepted", "refused"
_EVERY_SECONDS = 60.0
_REST = 500
_HANDLE, _EXPRESSIONS = 3, 4
_TABLES: tuple[TableKey, ...] = ((IPV4, "filter"), (IPV6, "filter"))


def verdict_of(chain: ChainFamily | None, rule: r.Rule) -> str | None:
    """What the packets of a rule count for: an ACCEPT of the policy chain, the REJECT of an ``overlay--`` chain."""
    if chain is ChainFamily.POLICY and rule.target == r.ACCEPT:
        return ACCEPTED
    return REFUSED if chain is ChainFamily.OVERLAY and isinstance(rule.target, r.Reject) else None


class Totals:
    """Packets by verdict since the first reading, which counts as nothing."""

    def __init__(self) -> None:
        self._last: dict[Hashable, int] | None = None
        self._sums = {ACCEPTED: 0, REFUSED: 0}

    def add(self, verdicts: Mapping[Hashable, str], packets: Mapping[Hashable, int]) -> None:
        """One reading: the rules that are there, and what those of them showed that could be read."""
        if self._last is None:
            self._last = {rule: count for rule, count in packets.items() if count}
            return
        for rule, count in packets.items():
            if rule in verdicts:
                before = self._last.get(rule, 0)
                self._sums[verdicts[rule]] += count - before if count >= before else count
        # Most rules have met no packet, and need not be kept.
        self._last = {rule: count for rule, count in {**self._last, **packets}.items() if count and rule in verdicts}

    def sums(self) -> Mapping[str, int] | None:
        """The totals; None before the first reading."""
        return dict(self._sums) if self._last is not None else None


@frozen(kw_only=True)
class _Plan:
    """The rules to be read: chains by family, table and name, and the verdict of each rule by its handle."""

    chains: tuple[tuple[TableKey, str], ...]
    verdicts: Mapping[Hashable, str]


class NativeCounting:
    """Reads the counters of nf_tables, of the rules that a replica holds."""

    def __init__(self, clocks: Clocks | None = None) -> None:
        self._clocks = clocks if clocks is not None else Clocks()
        self._totals = Totals()
        self._due = float("-inf")
        self._thread: threading.Thread | None = None
        self._answer: tuple[_Plan, Mapping[Hashable, int] | None, float] | None = None

    def sums(self, tables: Mapping[TableKey, HeldTable]) -> Mapping[str, int] | None:
        """The totals as last read; begins the next reading when it is time. None before the first has ended."""
        if self._thread is not None and not self._thread.is_alive():
            self._collect()
        if self._thread is None and self._clocks.steady() >= self._due:
            plan = _planned(tables)
            self._thread = threading.Thread(target=self._read, args=(plan,), name="counters", daemon=True)
            self._thread.start()
        return self._totals.sums()

    def wait(self) -> None:
        """Until the reading that was begun has ended."""
        if self._thread is not None:
            self._thread.join()

    def _collect(self) -> None:
        answer, self._thread, self._answer = self._answer, None, None
        cost = 0.0
        if answer is not None:
            plan, packets, cost = answer
            if packets is not None:
                self._totals.add(plan.verdicts, packets)
        self._due = self._clocks.steady() + max(_EVERY_SECONDS, _REST * cost)

    def _read(self, plan: _Plan) -> None:
        began = time.thread_time()
        packets: dict[Hashable, int] | None = {}
        try:
            with Requests() as requests:
                for table, name in plan.chains:
                    for payload in requests.rules(*table, name):
                        found = attributes(payload, HEADER)
                        rule = table[0], number(found.get(_HANDLE, b""))
                        if rule in plan.verdicts and packets is not None:
                            packets[rule] = packets_of(found.get(_EXPRESSIONS, b""))
        except SourceError:
            packets = None
        self._answer = plan, packets, time.thread_time() - began


def _planned(tables: Mapping[TableKey, HeldTable]) -> _Plan:
    chains: list[tuple[TableKey, str]] = []
    verdicts: dict[Hashable, str] = {}
    for key in _TABLES:
        held = tables.get(key)
        for chain in held.chains.values() if held is not None else ():
            family = family_of(chain.message.name)
            if family in (ChainFamily.POLICY, ChainFamily.OVERLAY) and chain.plain:
                chains.append((key, chain.message.name))
                for handle, rule in zip(chain.handles, chain.entries[0], strict=True):
                    verdict = verdict_of(family, rule) if isinstance(rule, r.Rule) else None
                    if verdict is not None:
                        verdicts[key[0], handle] = verdict
    return _Plan(chains=tuple(chains), verdicts=verdicts)


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
        verdicts: dict[Hashable, str] = {}
        packets: dict[Hashable, int] = {}
        for name, chain in ruleset.chains("filter").items():
            family = family_of(name)
            if family in (ChainFamily.POLICY, ChainFamily.OVERLAY) and chain.packets is not None:
                for rule, count in zip(chain.rules, chain.packets, strict=True):
                    verdict = verdict_of(family, rule)
                    if verdict is not None:
                        verdicts[name, rule] = verdict
                        packets[name, rule] = packets.get((name, rule), 0) + count
        self._totals.add(verdicts, packets)

    def sums(self) -> Mapping[str, int] | None:
        """The totals; None before the first reading."""
        return self._totals.sums()
