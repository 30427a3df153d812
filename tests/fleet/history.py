"""Six hours of a fleet's past as blocks of Prometheus: what queries over them cost, and what a sample takes on disk."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from fleet.cells import PORT, Cells, State
from support.prometheus import Prometheus

HOURS = 6
_STEP = 30
_NAME = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{")
_MINUTES = 1800  # the last half of an hour is Prometheus' own


@frozen(kw_only=True)
class Series:
    """One series as it is now: ``text`` is its name with its labels."""

    text: str
    value: float


def read_by(prometheus: Prometheus, expressions: Iterable[str]) -> tuple[Series, ...]:
    """Every series that ``expressions`` name."""
    names = "|".join(sorted({name for expression in expressions for name in _NAME.findall(expression)}))
    found = prometheus.query(f'{{__name__=~"{names}"}}')
    return tuple(Series(text=_text(one["metric"]), value=float(one["value"][1])) for one in found)


def _text(labels: dict[str, str]) -> str:
    given = ",".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
    return f"{labels['__name__']}{{{given}}}"


def times() -> range:
    """When samples were taken, in seconds since the epoch; the last ones are those of a Prometheus that runs."""
    end = int(time.time()) - _MINUTES
    return range(end - HOURS * 3600, end, _STEP)


def past(series: Sequence[Series], at: range) -> Iterator[str]:
    """Lines of OpenMetrics: counters that have risen to what they are now, and gauges that moved around it."""
    for one in series:
        rises = one.text.partition("{")[0].endswith("_total")
        for number, moment in enumerate(at):
            value = number * 0.06 if rises else one.value * (1 + number * 7 % 13 / 100)
            yield f"{one.text} {value:.9g} {moment}\n"


def past_of_cells(count: int, at: range) -> Iterator[str]:
    """Every series of ``count`` cells, as they say it themselves."""
    cells = Cells(count, began=at[0])
    for moment in at:
        for address in cells.states:
            labels = (
                f'environment="lab",bosh_deployment="cf",bosh_job_ip="{address}",instance="{address}:{PORT}",'
                'job="c2c_auditor"'
            )
            for line in cells.body(State.CLEAN, address, moment).decode().splitlines():
                if not line.startswith("#"):
                    series, _, value = line.rpartition(" ")
                    name, _, own = series.partition("{")
                    yield f"{name}{{{labels}{f',{own[:-1]}' if own else ''}}} {value} {moment}\n"


def blocks(lines: Iterable[str], directory: Path, into: Path) -> tuple[int, int]:
    """``lines`` as blocks in ``into``: how many samples, and how many bytes they take there."""
    samples = 0
    with (directory / "past.txt").open("w") as text:
        for line in lines:
            text.write(line)
            samples += 1
        text.write("# EOF\n")
    command = ("promtool", "tsdb", "create-blocks-from", "openmetrics", text.name, str(into))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    (directory / "past.txt").unlink()
    return samples, sum(path.stat().st_size for path in into.glob("*/**/*") if path.is_file())
