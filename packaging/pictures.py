"""Draws both dashboards into docs/pictures from a real Prometheus over 57 simulated cells with faults: `make pictures`.

The clock runs twenty times faster than a fleet's. Needs root (it makes a network namespace), prometheus and ruby.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fleet.cells import Cells, State
from fleet.drawing import Drawing
from fleet.watching import Clock, watching
from support.dashboards import FILES
from support.prometheus import exporter

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
_CELLS = 57
_CLOCK = Clock(faster=20)
_BOSH = ("127.0.0.9", 9190)
_PROCESSES = ("vxlan-policy-agent", "silk-daemon", "netmon", "garden")
# What goes wrong, in minutes of the fleet, on how many cells from which number on.
_STORY = (
    ("5m", State.BLOCKED, 3, 0),
    ("4m", State.OPEN, 1, 3),
    ("2m", State.BLIND, 4, 10),
    ("4m", State.ABSENT, 2, 20),
    ("6m", State.CLEAN, 2, 1),
    ("14m", State.CLEAN, 2, 10),
)
_SHOWN = 0  # the number of the cell on the dashboard Cell: one that stays blocked


def _bosh_exporter(cells: Cells) -> str:
    labels = 'environment="lab",bosh_name="lab",bosh_deployment="cf",bosh_job_name="diego-cell"'
    return "# TYPE bosh_job_process_healthy gauge\n" + "".join(
        f'bosh_job_process_healthy{{{labels},bosh_job_id="{number:04x}",bosh_job_index="{number}",'
        f'bosh_job_ip="{address}",bosh_job_process_name="{process}"}} 1\n'
        for number, address in enumerate(cells.states)
        for process in _PROCESSES
    )


def _draw(directory: Path) -> list[str]:
    cells = Cells(_CELLS)
    target = f"{_BOSH[0]}:{_BOSH[1]}"
    bosh = {
        "job_name": "bosh",
        "scrape_interval": "5s",
        "honor_labels": True,
        "static_configs": [{"targets": [target]}],
    }
    began = time.time()
    with (
        cells.serving(),
        exporter(_BOSH, _bosh_exporter(cells)),
        watching(directory, _CELLS, _CLOCK, [bosh]) as running,
    ):
        for pause, state, count, first in _STORY:
            time.sleep(_CLOCK.seconds(pause))
            cells.put(state, count, first)
        time.sleep(_CLOCK.seconds("5m"))
        empty = []
        for path in FILES:
            shown = list(cells.states)[_SHOWN] if path.stem.endswith("cell") else ".*"
            values = {"environment": "lab", "bosh_deployment": "cf", "bosh_job_ip": shown}
            drawing = Drawing(running, values, since=began + 2, end=time.time())
            picture = PICTURES / f"{path.stem.rpartition('_')[2]}.png"
            empty += [f"{picture.name}: {title}" for title in drawing.draw(path, picture)]
    return empty


def main() -> int:
    """Both pictures."""
    if os.environ.get("C2C_PICTURES") != "inside":
        inside = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv)
        return subprocess.run(inside, env={**os.environ, "C2C_PICTURES": "inside"}, check=False).returncode
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="c2c-pictures-") as directory:
        for title in _draw(Path(directory)):
            sys.stdout.write(f"no data: {title}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
