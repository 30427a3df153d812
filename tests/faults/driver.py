"""Runs one row on a bench: inject, look as an operator looks, do damage beside it, withdraw, and see it end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from attrs import define, field, frozen

from demo.fault import first
from demo.world import FRONTEND, REDIS, Instance, NetworkPolicy
from faults.bench import GRACE, Bench, confirmed, sound
from faults.daemon import Daemon
from faults.row import Row, Sees

DAMAGE = "foreign_accept"
_GLANCE = 0.05
# A finding is confirmed when it has lasted for its grace and two readings saw it; an audit may just be under way. All
# bounds are for a machine with a core to spare; on a busy one they are longer (`_patience`).
FOUND_SECONDS = 12.0
BACK_SECONDS = 15.0
BACK_AUDITS = 2
_BESIDE = ("policy_server", "security_groups")
# How long silk's own changes are looked at: three times what a finding must last.
CHANGE_SECONDS = 3 * GRACE
_CHANGE = NetworkPolicy(source=FRONTEND.guid, destination=REDIS.guid, first=2222, last=2222)
_COMER = Instance(handle="c19a5be0-40d7-4f5c-9e62-77d6", address="10.255.30.9", app=FRONTEND, host_port=61032)


@frozen(kw_only=True)
class Outcome:
    """The times of one row, in seconds and audits.

    Seconds until the operator saw the fault and until the damage beside it was confirmed; audits until all was well
    again.

    ``problems`` is what went otherwise than it must.
    """

    seen: float | None = None
    found: float | None = None
    audits: int | None = None
    problems: tuple[str, ...] = ()


def _patience() -> float:
    """By how much everything takes longer here now: one core's share of the work that waits, at most three."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


@define
class _Watcher:
    """Collects false confirmations: findings that the agent confirms without a cause."""

    bench: Bench
    expected: frozenset[str]
    false: dict[str, None] = field(factory=dict)

    def look(self) -> Mapping[str, Any] | None:
        """The report now."""
        report = self.bench.daemon.report()
        for finding in report["findings"] if report is not None else ():
            if finding["state"] == "confirmed" and finding["kind"] not in self.expected:
                self.false.setdefault(f"{finding['effect']} {finding['kind']}: {finding['summary']}")
        return report

    def until(self, holds: Callable[[Mapping[str, Any] | None], bool], seconds: float) -> float | None:
        """Seconds until a report ``holds``, None if none does within ``seconds``, or longer on a busy machine."""
        started, bound = time.monotonic(), seconds * _patience()
        while (passed := time.monotonic() - started) < bound:
            if holds(self.look()):
                return passed
            time.sleep(_GLANCE)
        return None


def run(row: Row, bench: Bench) -> Outcome:
    """One row from its beginning to its end.

    The bench is clean before, and the next row's `settle` makes it so again.
    """
    bench.settle()
    expected = row.expected | ({DAMAGE} if row.damage or row.commit else set()) | {row.sees.finding}
    watcher = _Watcher(bench=bench, expected=frozenset(expected))
    problems: list[str] = []
    with _undone(bench), row.inject(bench), _disturbed(row, bench):
        seen, found = _during(row, watcher, problems)
    audits = _back(bench, watcher, problems)
    problems += [f"confirmed, and false: {text}" for text in watcher.false]
    return Outcome(seen=seen, found=found, audits=audits, problems=tuple(problems))


def _during(row: Row, watcher: _Watcher, problems: list[str]) -> tuple[float | None, float | None]:
    """Seconds until the fault was seen, and until the damage beside it was confirmed."""
    bench, began, found = watcher.bench, time.monotonic(), None
    seen = watcher.until(lambda report: _met(row.sees, bench, report), row.within)
    if seen is None:
        problems.append(f"not to be seen within {row.within:g} s: {row.sees.words()}{_end_of(bench)}")
    if row.damage:
        limit = max(row.within, FOUND_SECONDS)
        rest = max(began + limit - time.monotonic(), 0.1)
        if watcher.until(lambda report: DAMAGE in confirmed(report), rest) is not None:
            found = time.monotonic() - began
        else:
            problems.append(f"damage beside it was not confirmed within {limit:g} s")
    if row.change:
        watcher.until(lambda _: False, max(0.0, began + CHANGE_SECONDS - time.monotonic()))
    return seen, found


@contextmanager
def _undone(bench: Bench) -> Iterator[None]:
    """Whatever happens in the block, the cell is silk's again afterwards."""
    truth, instances = bench.cell.server.truth, tuple(bench.cell.instances)
    try:
        yield
    finally:
        for one in [one for one in bench.cell.instances if one not in instances]:
            bench.cell.delete(one)
        if bench.cell.server.truth is not truth:
            bench.cell.server.truth = bench.cell.server.truth.removing(_CHANGE)
        if tuple(bench.cell.instances) != instances or bench.cell.server.truth is not truth:
            bench.cell.replan()


@contextmanager
def _disturbed(row: Row, bench: Bench) -> Iterator[None]:
    """Damage for an auditor to find, and changes of silk's that are none."""
    damage = f"FORWARD{{}} -d {first(bench.cell, REDIS).address} -p tcp -j ACCEPT"
    if row.change:
        bench.cell.server.truth = bench.cell.server.truth.adding(_CHANGE)
        bench.cell.create(_COMER)
    if not (row.damage or row.commit):
        yield
        return
    bench.cell.edit(f"-I {damage.format(' 1')}")
    try:
        yield
    finally:
        bench.cell.edit(f"-D {damage.format('')}")


def _back(bench: Bench, watcher: _Watcher, problems: list[str]) -> int | None:
    """The audits it takes until everything is read and clean again; one that was under way does not count."""
    times: dict[float, None] = {}
    before = bench.daemon.report()
    started = time.monotonic()

    def well(report: Mapping[str, Any] | None) -> bool:
        if report is None or (before is not None and report["time"] == before["time"]):
            return False  # a report of before: it tells nothing of the end
        if any(source["name"] in _BESIDE and not source["up"] for source in report["sources"]):
            return False  # the policy server is read by a clock of its own, beside the audits
        times.setdefault(report["time"]["epoch"])
        return sound(report)

    if watcher.until(well, BACK_SECONDS) is None:
        problems.append(f"not conclusive again within {BACK_SECONDS:g} s of its end{_end_of(bench)}")
        return None
    # The first of them may be of an audit that was under way.
    audits = max(1, len(times) - 1)
    if audits > BACK_AUDITS:
        problems.append(f"conclusive again only after {audits} audits ({time.monotonic() - started:.1f} s)")
    return audits


def _met(sees: Sees, bench: Bench, report: Mapping[str, Any] | None) -> bool:
    """Whether all that the operator must see is there to be seen."""
    daemon = bench.daemon
    if sees.ended:
        return daemon.process.poll() == 1
    if sees.gone:
        return daemon.gone()
    if sees.silent:
        return report is None and daemon.get("/healthz", seconds=0.5)[0] == 0
    if not daemon.alive() or daemon.get("/healthz")[0] == 0:
        return False
    return (
        all(_is_down(name, sees.reason, daemon, report) for name in sees.down)
        and (sees.ready is None or daemon.get("/readyz")[0] == sees.ready)
        and (not sees.process or daemon.metric("silk_process_up", process=sees.process) == 0.0)
        and (not sees.finding or sees.finding in confirmed(report))
        and (sees.other is None or sees.other[1](bench))
    )


def _is_down(name: str, reason: str, daemon: Daemon, report: Mapping[str, Any] | None) -> bool:
    """Whether report, metrics and log agree that a source failed, and for the right reason where there is one."""
    sources = {source["name"]: source for source in report["sources"]} if report is not None else {}
    if name not in sources or sources[name]["up"] or daemon.metric("source_up", source=name) != 0.0:
        return False
    said = [line for line in daemon.lines("source-failed") if line["source"] == name]
    return bool(said) and (not reason or said[-1]["reason"] == reason)


def _end_of(bench: Bench) -> str:
    """The last words of an agent that has ended."""
    if bench.daemon.alive():
        return ""
    return f"; the agent ended with status {bench.daemon.process.returncode}: {bench.daemon.last_words()}"


@contextmanager
def meanwhile(work: Callable[[], None], *, pause: float) -> Iterator[None]:
    """``work`` again and again, ``pause`` seconds apart, in a thread of its own for as long as the block lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(pause):
            with suppress(OSError):
                work()

    thread = threading.Thread(target=repeat, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
