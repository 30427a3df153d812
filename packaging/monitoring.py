"""Alerts, recording rules and dashboards as plain files, for any Prometheus and Grafana: as BOSH renders them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from bosh_cli import MissingToolError

ROOT = Path(__file__).resolve().parent.parent
JOBS = ("c2c_auditor_alerts", "c2c_auditor_dashboards")
_RENDERER = ROOT / "packaging" / "erb_render.rb"


def write(into: Path) -> list[Path]:
    """Render the files of both jobs with no property given; where they are.

    Raises MissingToolError without Ruby, RuntimeError where a template is refused.
    """
    ruby = shutil.which("ruby")
    if ruby is None:
        raise MissingToolError("needs ruby (Debian package ruby)")
    written = []
    for job in JOBS:
        question = {"job": str(ROOT / "bosh-release" / "jobs" / job), "given": {}, "links": {}, "spec": {"name": job}}
        done = subprocess.run(
            (ruby, str(_RENDERER)), input=json.dumps(question), capture_output=True, text=True, check=True, timeout=60
        )
        answer = json.loads(done.stdout)
        if "errors" in answer:
            raise RuntimeError("\n".join(answer["errors"]))
        for name, text in answer["files"].items():
            if name != "monit":
                (into / name).write_text(text, encoding="utf-8")
                written.append(into / name)
    return written
