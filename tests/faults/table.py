"""The whole table, and which of its rows are red today."""

from __future__ import annotations

from faults import clock, files, kernel, network, processes
from faults.row import Row

ROWS: tuple[Row, ...] = (
    *files.rows(),
    *network.rows(),
    *kernel.rows(),
    *processes.rows(),
    *clock.rows(),
)

# A row that is red: why, in one line. Whoever mends it takes it out: recording results insists on it.
KNOWN_RED: dict[str, str] = {}
