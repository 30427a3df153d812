"""Texts come out in the same order each time, whatever order sets of strings have in a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.recordings import CELLS


@pytest.mark.parametrize("command", [("matrix",), ("audit", "-o", "json")], ids=lambda command: command[0])
def test_two_processes_say_the_same(command: tuple[str, ...]) -> None:
    """Python's hashes of strings differ from one process to the next."""
    program = (sys.executable, "-m", "c2c_auditor", *command, "--bundle", str(CELLS / "fleet-40"))
    said = {
        subprocess.run(
            program, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True, timeout=120
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert said.pop()
