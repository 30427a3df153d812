"""Two minutes of `make soak`'s cell: changes and faults on both backends, no false and no missed finding.

Nothing grows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from faults.bench import missing_tools, root

SOAK = Path(__file__).parents[2] / "packaging" / "soak_cell.py"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not root(), reason="needs root: makes network namespaces"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {', '.join(missing_tools())}"),
]


def test_two_minutes_of_a_cells_life_is_audited_rightly() -> None:
    """Both backends at once; the seed makes them the same two minutes each time, as far as a busy machine lets it."""
    done = subprocess.run(
        (sys.executable, str(SOAK), "--seconds", "120", "--seed", "1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for backend in ("nft", "legacy"):
        assert [line for line in done.stdout.splitlines() if line.startswith(backend) and line.endswith("false 0")]
