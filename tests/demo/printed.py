"""A fault mended as an operator would: by running what ``c2c-auditor mend`` prints, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

from demo.command import run
from demo.screen import Screen


def mend_as_printed(config: Path, screen: Screen) -> None:
    """Ask for the commands for this cell, show them, and run them with a shell.

    Raises SourceError if they are refused, or fail.
    """
    command = (sys.executable, "-m", "c2c_auditor", "mend", "--config", str(config), "--wait", "0.2")
    text = run(command)
    screen.said("$ c2c-auditor mend > mend.sh; sh mend.sh")
    for line in text.splitlines():
        screen.said(f"  {line}")
    run(("sh",), text)
