"""What `make release` makes: once for all tests of a run, in a clone of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest

from support.bosh_cli import bosh_cli, clean_clone

NOT_ALL = 3
"""The exit status of `make release` where a tool was missing."""
# Gone when the run ends.
_FOLDER = tempfile.TemporaryDirectory(prefix="c2c-auditor-release-")


@lru_cache(maxsize=1)
def clone() -> Path:
    """A clone with this checkout's files, in which everything is made."""
    return clean_clone(Path(_FOLDER.name) / "clone")


@lru_cache(maxsize=1)
def _made() -> str:
    """What `make release` said."""
    made = make(clone())
    assert made.returncode in {0, NOT_ALL}, made.stderr
    return made.stderr


def dist() -> Path:
    """Everything that is handed out, but for what lacks its tool."""
    _made()
    return clone() / "dist"


def handed_out(pattern: str) -> Path:
    """The file of ``dist`` that matches. Skips where a tool is missing that would make it, and says which."""
    found = [*dist().glob(pattern)]
    if not found:
        pytest.skip(_made().strip())
    (file,) = found
    return file


def make(checkout: Path) -> subprocess.CompletedProcess[str]:
    """`make release` in ``checkout``, with the bosh CLI of this one."""
    program, folder = _bosh(), Path(_FOLDER.name) / "bin"
    folder.mkdir(exist_ok=True)
    if program is not None and not (folder / "bosh").exists():
        (folder / "bosh").symlink_to(program)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = (sys.executable, checkout / "packaging" / "make_release.py")
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def _bosh() -> Path | None:
    try:
        return bosh_cli()
    except pytest.skip.Exception:
        return None
