"""A fleet's metrics: one server that is every cell, each at an address of its own, in the state that it is put in.

The texts are the agent's own (`export.metrics`) of a recorded cell with 40 containers, as clean, blocked, blind, or
without its policy server; only the times in them move.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from ipaddress import IPv4Address

from attrs import evolve
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from c2c_auditor.export.metrics import ReportCollector
from c2c_auditor.model.kind import Effect, Family, Kind
from c2c_auditor.model.report import Counters, Histogram, Problem, ProcessStatus, Report, Result, SourceStatus
from support.mutations import with_rules
from support.recordings import recording
from support.reports import judged_report

PORT = 9763
_FIRST = IPv4Address("127.16.0.1")
# Times in the texts that stand for "now" and for "a while ago".
_NOW, _THEN = 1795400000.5, 1795300000.5
_SOURCES = ("rules", "vpa_config", "store", "policy_server", "cni_config", "security_groups")
_FROM_SERVER = ("policy_server", "security_groups")
# Numbers in the texts that stand for counters, which move.
_AUDITS, _COMMITS, _PHASES, _SPENT = 7777, 5555, 3333, 66.66
_ACCEPTED, _REFUSED = 8888, 4444
_PROCESS = (
    "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 9.4e+07\n"
    "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total @CPU@\n"
)


class State(Enum):
    """What a cell is like."""

    CLEAN = "clean"
    BLOCKED = "blocked"
    OPEN = "open"
    SERVER_AWAY = "its policy server is away"
    BLIND = "blind"
    ABSENT = "absent"


def addresses(count: int) -> list[str]:
    """The cells' addresses; Linux answers on all of 127.0.0.0/8."""
    return [str(_FIRST + number) for number in range(count)]


class Cells:
    """``states`` by address may be changed while it serves; ``scrapes`` counts, ``largest`` is in bytes.

    ``began`` is when the agents were started, in seconds since the epoch.
    """

    def __init__(self, count: int, *, began: float | None = None) -> None:
        self.states = dict.fromkeys(addresses(count), State.CLEAN)
        self.scrapes = self.largest = 0
        self._began = began if began is not None else time.time()
        self._since = dict.fromkeys(self.states, self._began)
        self._texts = {state: _text(state) for state in State}

    def put(self, state: State, cells: int | None = None, first: int = 0) -> None:
        """The first ``cells`` cells, from number ``first`` on, or all of them, into ``state``."""
        chosen = list(self.states)[first : first + cells if cells is not None else None]
        self.states.update(dict.fromkeys(chosen, state))
        self._since.update(dict.fromkeys(chosen, time.time()))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer in a thread of its own for as long as the block lasts."""
        ready = threading.Event()
        ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def serve() -> None:
            ends.append((asyncio.get_running_loop(), asyncio.Event()))
            await asyncio.start_server(self._answer, "0.0.0.0", PORT, backlog=1024)  # noqa: S104 - loopback's addresses
            ready.set()
            await ends[0][1].wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="cells", daemon=True)
        thread.start()
        assert ready.wait(10), "the port is taken"
        try:
            yield
        finally:
            loop, end = ends[0]
            loop.call_soon_threadsafe(end.set)
            thread.join(10)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                state = self.states[address]
                if state is State.ABSENT:
                    break
                body = self.body(state, address, time.time())
                self.scrapes, self.largest = self.scrapes + 1, max(self.largest, len(body))
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # Prometheus went away
        finally:
            writer.close()

    def body(self, state: State, address: str, now: float) -> bytes:
        """The text at ``now``: an audit every few seconds, each of 20 ms, and a commit now and then."""
        audits = int((now - self._began) / 5)
        marks = {
            b"@NOW@": f"{now:.1f}",
            b"@SINCE@": f"{self._since[address]:.1f}",
            b"@CPU@": f"{0.03 * audits:.2f}",
            b"@AUDITS@": f"{audits}.0",
            b"@COMMITS@": f"{audits // 3}.0",
            b"@ACCEPTED@": f"{200 * audits}.0",
            b"@REFUSED@": f"{10 * audits}.0",
            b"@SPENT@": f"{0.02 * audits:.2f}",
        }
        body = self._texts[state]
        for mark, value in marks.items():
            body = body.replace(mark, value.encode())
        return body


def at_rest() -> bytes:
    """The metrics of a clean cell."""
    return _text(State.CLEAN)


def _text(state: State) -> bytes:
    """The metrics of a cell in ``state``, with marks where its times stand."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(lambda: _report(state)))
    text = generate_latest(registry).decode() + _PROCESS
    marks = {
        _scientific(_NOW): "@NOW@",
        "1.7954e+09": "@SINCE@",
        f"{_AUDITS}.0": "@AUDITS@",
        f"{_COMMITS}.0": "@COMMITS@",
        f"{_ACCEPTED}.0": "@ACCEPTED@",
        f"{_REFUSED}.0": "@REFUSED@",
        f"{_PHASES}.0": "@AUDITS@",
        f"{_SPENT}": "@SPENT@",
    }
    for number, mark in marks.items():
        text = text.replace(f" {number}\n", f" {mark}\n")
    return text.encode()


def _scientific(value: float) -> str:
    """As the client library writes it."""
    mantissa = f"{value:.0f}{value % 1:.1f}"[: -len("0.5")] + "5"
    return f"{mantissa[0]}.{mantissa[1:]}e+09"


def _report(state: State) -> Report:
    cell = recording("fleet-40")
    emptied = {State.BLOCKED: cell.policy_chain, State.OPEN: "FORWARD"}.get(state)
    report = judged_report(cell, with_rules(cell.ruleset, emptied, ()) if emptied is not None else None)
    away = _FROM_SERVER if state in (State.SERVER_AWAY, State.BLIND) else ()
    unknown = frozenset(kind for kind in Kind if kind.family is Family.POLICY) if state is State.BLIND else frozenset()
    return evolve(
        report,
        time=_NOW,
        last_conclusive=_THEN if state is State.BLIND else _NOW,
        result=Result.BLIND if unknown else report.result,
        unknown=unknown,
        findings=tuple(finding for finding in report.findings if finding.kind not in unknown),
        sources=tuple(_source(name, up=name not in away) for name in _SOURCES),
        processes=tuple(
            ProcessStatus(name=name, up=True, start_time=_THEN)
            for name in ("vxlan-policy-agent", "silk-daemon", "netmon", "garden")
        ),
        counters=_counters(away, Result.BLIND if unknown else report.result),
    )


def _source(name: str, *, up: bool) -> SourceStatus:
    problem = Problem(source=name, reason="timeout", where="x", problem="no answer", remedy="wait")
    return SourceStatus(name=name, up=up, last_success=_NOW if up else _THEN, problem=None if up else problem)


def _counters(away: tuple[str, ...], result: Result) -> Counters:
    """As of an agent that has run for a while."""
    durations = Histogram(bounds=(0.01, 0.1, 1.0, 10.0), counts=(0, _PHASES, 0, 0, 0), total=_SPENT)
    return Counters(
        confirmed=dict.fromkeys(Effect, 0),
        resolved=dict.fromkeys(Effect, 0),
        audits={**dict.fromkeys(Result, 0), result: _AUDITS},
        source_errors={(name, "timeout"): 3 for name in away},
        ruleset_changes={"vpa": _COMMITS, "cni": 0, "foreign": 0},
        packets={"accepted": _ACCEPTED, "refused": _REFUSED},
        durations=dict.fromkeys(("rules", "facts", "judge"), durations),
    )
