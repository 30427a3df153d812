"""A fleet of cells before one Prometheus, one pager and one policy server: `make fleet CELLS=1000`.

All on loopback in a network namespace of its own, bounded in time. Prints

- what a fleet costs Prometheus at the shipped intervals: series, samples, processor time, memory, disk, rules, queries;
- who is told how often in five cases, with the shipped rules and routes, in a real Prometheus and Alertmanager whose
  clock runs faster;
- what agents ask of the policy server, by the agent's real schedule and feeds, beside what VPA asks.

Status 1 if a number is not what it should be. Needs root, Debian's prometheus and prometheus-alertmanager, and ruby.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from attrs import frozen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fleet import history, pages, requests
from fleet.cells import Cells
from fleet.watching import Clock, watching
from support.dashboards import FILES, Asked, queries, substituted
from support.prometheus import Prometheus

_MOST_SERIES = 160
_MOST_RULES_SECONDS = 15.0  # half of the time between two evaluations
_STEPS = 360
_CELLS_ON_DISK = 20
_VALUES = {"environment": ".*", "bosh_deployment": ".*", "__rate_interval": "4m"}
_VPA_PER_CELL = 1 / 5 + 1 / 60


@frozen(kw_only=True)
class Line:
    """One line of the table; ``bound`` is what it must be, in words, empty where nothing is asked of it."""

    what: str
    found: str
    bound: str = ""
    right: bool = True

    def __str__(self) -> str:
        mark = "" if not self.bound else "  ok" if self.right else "  NOT AS IT SHOULD BE"
        return f"{self.what:<72} {self.found:>28}  {self.bound}{mark}"


def cost(directory: Path, count: int, seconds: float) -> Iterator[Line]:
    """What ``count`` cells at rest cost Prometheus, at the shipped intervals, over ``seconds``; then their past."""
    cells = Cells(count)
    with cells.serving():
        with watching(directory, count, Clock()) as prometheus:
            config = f"--config.file={directory / 'prometheus.yml'}"
            (process,) = (one for one in psutil.process_iter(["cmdline"]) if config in (one.info["cmdline"] or ())[1:2])
            time.sleep(seconds / 3)  # until every cell was scraped and every rule evaluated
            started, before = time.monotonic(), sum(process.cpu_times()[:2])
            samples = _value(prometheus, "prometheus_tsdb_head_samples_appended_total")
            time.sleep(2 * seconds / 3)
            passed = time.monotonic() - started
            used = sum(process.cpu_times()[:2]) - before
            rate = (_value(prometheus, "prometheus_tsdb_head_samples_appended_total") - samples) / passed
            series = _query(prometheus, 'max(scrape_samples_post_metric_relabeling{job="c2c_auditor"})')
            yield Line(
                what="series of a cell", found=f"{series:.0f}", bound=f"<= {_MOST_SERIES}", right=series <= _MOST_SERIES
            )
            yield Line(what="bytes of a scrape", found=f"{cells.largest}")
            yield Line(what="series in Prometheus, recorded ones included", found=f"{_head(prometheus)}")
            yield Line(what="samples per second", found=f"{rate:,.0f}")
            yield Line(what="Prometheus: share of one core", found=f"{used / passed:.2f}")
            yield Line(what="Prometheus: resident memory", found=f"{process.memory_info().rss >> 20} MiB")
            yield from _rules(prometheus)
            asked = [one.expression for one in _of_fleet() if not one.instant]
            drawn = history.read_by(prometheus, (substituted(expression, _VALUES) for expression in asked))
        yield from _disk(directory, rate)
        history.blocks(history.past(drawn, history.times()), directory, directory / "tsdb")
        with watching(directory, count, Clock(), retention="1d") as prometheus:
            yield from _queries(prometheus)


def _disk(directory: Path, rate: float) -> Iterator[Line]:
    """What samples take on disk, by six hours of some cells in blocks as Prometheus makes them."""
    samples, size = history.blocks(
        history.past_of_cells(_CELLS_ON_DISK, history.times()), directory, _below(str(directory), "disk")
    )
    each = size / samples
    yield Line(what="Prometheus: bytes of a sample on disk", found=f"{each:.2f}")
    yield Line(what="Prometheus: disk", found=f"{each * rate * 86400 / 1e9:.2f} GB a day")


def _rules(prometheus: Prometheus) -> Iterator[Line]:
    groups = prometheus.get("rules")["groups"]
    took = sum(group["evaluationTime"] for group in groups)
    yield Line(
        what="all rules, one evaluation (every 30 s)",
        found=f"{took:.2f} s",
        bound="< 15 s",
        right=took < _MOST_RULES_SECONDS,
    )
    slowest = max((rule for group in groups for rule in group["rules"]), key=lambda rule: rule["evaluationTime"])
    yield Line(what=f"  the slowest: {slowest['name']}", found=f"{slowest['evaluationTime']:.2f} s")


def _of_fleet() -> Iterator[Asked]:
    for path in FILES:
        yield from queries(path) if "fleet" in path.stem else ()


def _queries(prometheus: Prometheus) -> Iterator[Line]:
    """Every query of the Fleet dashboard over six hours, in as many steps as Grafana draws."""
    times: dict[str, float] = {}
    since = float(history.times().start)
    for asked in _of_fleet():
        started = time.monotonic()
        expression = substituted(asked.expression, _VALUES)
        if asked.instant:
            prometheus.query(expression)
        else:
            prometheus.query_range(expression, since=since, step=history.HOURS * 3600 / _STEPS)
        times[asked.panel] = times.get(asked.panel, 0.0) + time.monotonic() - started
    panel, slowest = max(times.items(), key=lambda item: item[1])
    yield Line(
        what=f"dashboard Fleet, all queries, {history.HOURS} h in {_STEPS} steps", found=f"{sum(times.values()):.2f} s"
    )
    yield Line(what=f"  the slowest panel: {panel}", found=f"{slowest:.2f} s", bound="< 1 s", right=slowest < 1)


def _value(prometheus: Prometheus, name: str) -> float:
    """One of Prometheus' own metrics."""
    text = prometheus.text("metrics")
    (value,) = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)[:1]
    return float(value)


def _head(prometheus: Prometheus) -> int:
    return int(_value(prometheus, "prometheus_tsdb_head_series"))


def _query(prometheus: Prometheus, expression: str) -> float:
    (series,) = prometheus.query(expression)
    return float(series["value"][1])


def told(directory: Path, count: int, faster: float) -> Iterator[Line]:
    """Who is told how often."""
    blocked = max(count * 3 // 10, 6)
    for one in pages.run(directory, count, blocked=blocked, faster=faster):
        wanted = f"{one.wanted[0]} and {one.wanted[1]}"
        found = f"{one.tickets} and {one.pages}"
        yield Line(what=f"{one.case}: tickets and pages", found=found, bound=wanted, right=one.right)


def asked(count: int) -> Iterator[Line]:
    """What agents ask of the policy server, and VPA beside them."""
    limit = _VPA_PER_CELL * count
    for conditions in requests.CONDITIONS:
        ours, theirs = (requests.load(made(count, conditions), conditions) for made in (requests.agents, requests.vpas))
        bound = limit / 2 if not conditions.changes_per_minute and conditions.start_seconds > 1 else limit
        yield Line(
            what=f"requests/s, {conditions.name}: mean (peak)",
            found=f"{ours.mean:.0f} ({ours.peak})",
            bound=f"<= {bound:.0f}; VPA {theirs.mean:.0f} ({theirs.peak})",
            right=ours.mean <= bound and ours.peak <= theirs.peak,
        )


def main() -> int:
    """The whole table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=300.0, help="at rest, at the shipped intervals")
    parser.add_argument("--faster", type=float, default=10.0, help="by how much the clock of the cases runs faster")
    parser.add_argument("--only", choices=("requests", "cost", "told"), help="one part of the table")
    arguments = parser.parse_args()
    if os.environ.get("C2C_FLEET") != "inside":
        inside = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv)
        return subprocess.run(inside, env={**os.environ, "C2C_FLEET": "inside"}, check=False).returncode
    _say(f"{arguments.cells} cells")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="c2c-fleet-") as directory:
        for name, lines in (
            ("requests", asked(arguments.cells)),
            ("cost", cost(_below(directory, "cost"), arguments.cells, arguments.seconds)),
            ("told", told(_below(directory, "told"), arguments.cells, arguments.faster)),
        ):
            if arguments.only not in (None, name):
                continue
            _say(f"\n{name}")
            for line in lines:
                _say(str(line))
                wrong += not line.right
    return min(wrong, 1)


def _say(text: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _below(directory: str, name: str) -> Path:
    path = Path(directory) / name
    path.mkdir()
    return path


if __name__ == "__main__":
    sys.exit(main())
