"""Finds the bosh CLI: one on the PATH, or the version pinned in tests/bosh/cli, which is built once into .tools."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_MODULE = _ROOT / "tests" / "bosh" / "cli"
_TOOLS = _ROOT / ".tools"
_OLDEST_GO = (1, 25)
_BUILD_SECONDS = 900


class MissingToolError(Exception):
    """What is missing, for people who can install it."""


def find() -> Path:
    """The program, built first if need be.

    Raises MissingToolError where there is neither a bosh CLI nor a Go to build one with.
    """
    found = shutil.which("bosh")
    # Debian has an unrelated program of this name.
    if found is not None and _said(found, "--version").startswith("version "):
        return Path(found)
    pinned = hashlib.sha256((_MODULE / "go.mod").read_bytes() + (_MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    built = _TOOLS / f"bosh-{pinned}"
    if not built.exists():
        _build(built, _go())
    return built


def _go() -> str:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise MissingToolError(
            "needs the bosh CLI (github.com/cloudfoundry/bosh-cli) on the PATH, or Go 1.25 or newer to build it with"
        )
    version = _said(go, "env", "GOVERSION").strip()
    if tuple(int(part) for part in version.removeprefix("go").split(".")[:2]) < _OLDEST_GO:
        raise MissingToolError(f"needs Go 1.25 or newer to build the bosh CLI with, and this is {version}")
    return go


def _build(built: Path, go: str) -> None:
    """Two at once take turns, and the second finds it done."""
    _TOOLS.mkdir(exist_ok=True)
    with (_TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if built.exists():
            return
        part = built.with_suffix(".part")
        command = (go, "build", "-C", str(_MODULE), "-o", str(part), "github.com/cloudfoundry/bosh-cli/v7")
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
        subprocess.run(command, env=environment, check=True, timeout=_BUILD_SECONDS)
        part.rename(built)


def _said(*command: str) -> str:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    ).stdout
