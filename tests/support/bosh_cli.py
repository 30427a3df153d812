"""The real bosh CLI: one on the PATH, or one that is built once from the version pinned in tests/bosh/cli."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent.parent
_MODULE = _ROOT / "tests" / "bosh" / "cli"
_TOOLS = _ROOT / ".tools"
_OLDEST_GO = (1, 25)
_BUILD_SECONDS = 900


@lru_cache(maxsize=1)
def bosh_cli() -> Path:
    """The program. Skips, saying what is missing, where there is neither a bosh CLI nor a Go to build one with."""
    found = shutil.which("bosh")
    # Debian has an unrelated program of this name.
    if found is not None and subprocess.run(
        (found, "--version"), capture_output=True, text=True, check=False, timeout=60
    ).stdout.startswith("version "):
        return Path(found)
    pinned = hashlib.sha256((_MODULE / "go.mod").read_bytes() + (_MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    built = _TOOLS / f"bosh-{pinned}"
    if not built.exists():
        _build(built)
    return built


def _build(built: Path) -> None:
    go = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")
    if go is None:
        pytest.skip("needs the bosh CLI (github.com/cloudfoundry/bosh-cli) on the PATH, or Go 1.25 or newer to build it with")
    said = subprocess.run((go, "env", "GOVERSION"), capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    if tuple(int(part) for part in said.removeprefix("go").split(".")[:2]) < _OLDEST_GO:
        pytest.skip(f"needs Go 1.25 or newer to build the bosh CLI with, and this is {said}")
    _TOOLS.mkdir(exist_ok=True)
    part = built.with_suffix(f".{os.getpid()}")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    subprocess.run(
        (go, "build", "-C", str(_MODULE), "-o", str(part), "github.com/cloudfoundry/bosh-cli/v7"),
        env=environment,
        check=True,
        timeout=_BUILD_SECONDS,
    )
    part.rename(built)


def bosh(*arguments: str | Path, cwd: Path | None = None) -> str:
    """What ``bosh ARGUMENTS`` prints; without colour, questions and a home of its own. Raises CalledProcessError with what it said."""
    environment = {**os.environ, "BOSH_NON_INTERACTIVE": "true", "BOSH_CONFIG": "/dev/null"}
    command = (str(bosh_cli()), "--no-color", "--non-interactive", *map(str, arguments))
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)
    done.check_returncode()
    return done.stdout


def clean_clone(target: Path) -> Path:
    """A repository at ``target`` that holds this checkout's files, uncommitted ones too, and nothing that git ignores."""
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), cwd=_ROOT, capture_output=True, check=True, timeout=60
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, copy = _ROOT / name, target / name
        if source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "a clone")):
        subprocess.run((*git, *arguments), cwd=target, check=True, timeout=60)
    return target
