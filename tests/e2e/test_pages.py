"""Who is told how often on a small fleet: a real Prometheus and Alertmanager with the shipped rules and routes."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fleet.pages import run
from support.namespaces import in_namespace

TOOLS = ("ip", "setpriv", "prometheus", "prometheus-alertmanager", "ruby")

pytestmark = [
    pytest.mark.e2e,
    *(pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}") for tool in TOOLS),
]

# A minute of the fleet is three seconds. A restart of Prometheus takes as long as it takes, so no faster than that.
FASTER = 20.0
SECONDS = 400


def test_one_cause_is_one_notification(tmp_path: Path) -> None:
    """A policy server that is down, an upgrade, many blocked cells, a restart of Prometheus: `make fleet` has 1,000."""
    _tell(tmp_path)


@in_namespace
def _tell(directory: Path) -> None:
    signal.alarm(SECONDS)
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True, timeout=10)
    told = list(run(directory, 12, blocked=8, faster=FASTER))
    assert [one for one in told if not one.right] == []
    assert [one.pages for one in told] == [0, 0, 0, 1, 0]
