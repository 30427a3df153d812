"""Writes Grafana's dashboards, by default where the job c2c_auditor_dashboards has its templates."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dashboards import cell, fleet

TEMPLATES = Path(__file__).parent.parent / "bosh-release" / "jobs" / "c2c_auditor_dashboards" / "templates"


def write(directory: Path) -> None:
    """Both dashboards as ``c2c_auditor_NAME.json`` in ``directory``."""
    for name, dashboard in (("fleet", fleet.DASHBOARD), ("cell", cell.DASHBOARD)):
        text = json.dumps(dashboard.json(), indent=2, ensure_ascii=False)
        (directory / f"c2c_auditor_{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else TEMPLATES)
