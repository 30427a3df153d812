"""What each of the agent's two processes holds: Python's modules are the largest part of a small cell's memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

# Stands in for the fork: says what is imported when it comes, and then what either process imports behind it.
_INSTEAD_OF_THE_FORK = """
import sys
import c2c_auditor.cli
from c2c_auditor.cli import daemon
behind = sys.argv.pop()
def fork(settings, answer):
    __import__(behind)
    print(*sys.modules)
    sys.exit()
daemon.ServerProcess = fork
c2c_auditor.cli.main()
"""
# Of what audits, three modules that hold facts about findings and reports.
_OF_AUDITS = {
    "c2c_auditor.audit",
    "c2c_auditor.audit.mend",
    "c2c_auditor.audit.mend.kinds",
    "c2c_auditor.audit.overdue",
    "c2c_auditor.audit.reading",
    "c2c_auditor.audit.reading.people",
}


def _modules(folder: Path, behind: str) -> Collection[str]:
    """The modules of the process that imports ``behind`` after the fork."""
    config = folder / "config.json"
    config.write_text("{}")
    command = (sys.executable, "-c", _INSTEAD_OF_THE_FORK, "daemon", "--config", str(config), behind)
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())


def _below(modules: Collection[str], *packages: str) -> set[str]:
    return {
        module for module in modules for package in packages if module == package or module.startswith(f"{package}.")
    }


def test_the_listening_process_holds_nothing_that_audits(tmp_path: Path) -> None:
    """Neither readers nor judges, nor the terminal's library: it is forked before they are imported."""
    modules = _modules(tmp_path, "c2c_auditor.server.serving")
    assert _below(modules, "bottle", "cheroot", "prometheus_client")
    assert _below(modules, "c2c_auditor.audit") <= _OF_AUDITS
    others = ("c2c_auditor.assembly", "c2c_auditor.sources.facts", "c2c_auditor.sources.rules", "rich", "urllib3")
    assert not _below(modules, *others)


def test_the_auditing_process_holds_nothing_that_serves(tmp_path: Path) -> None:
    """Nor the other commands, nor what writes to terminals."""
    modules = _modules(tmp_path, "c2c_auditor.cli.auditing")
    assert "c2c_auditor.audit.judge" in modules
    assert not _below(modules, "bottle", "cheroot", "prometheus_client", "rich")
    assert not _below(modules, "c2c_auditor.server.listener", "c2c_auditor.server.pages", "c2c_auditor.server.routes")
    assert _below(modules, "c2c_auditor.cli") <= {
        "c2c_auditor.cli",
        "c2c_auditor.cli.auditing",
        "c2c_auditor.cli.daemon",
        "c2c_auditor.cli.examples",
        "c2c_auditor.cli.wiring",
    }
