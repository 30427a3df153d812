"""The real bosh CLI, as `packaging/bosh_cli.py` finds or builds it, and clean clones to use it on."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from support.staging import ROOT, script


@lru_cache(maxsize=1)
def bosh_cli() -> Path:
    """The program. Skips, saying what is missing, where there is neither a bosh CLI nor a Go to build one with."""
    module = script("bosh_cli")
    try:
        found: Path = module.find()
    except module.MissingToolError as error:
        pytest.skip(str(error))
    return found


def bosh(*arguments: str | Path, cwd: Path | None = None) -> str:
    """What ``bosh ARGUMENTS`` prints; without colour, questions and a home of its own.

    Raises CalledProcessError with what it said.
    """
    environment = {**os.environ, "BOSH_NON_INTERACTIVE": "true", "BOSH_CONFIG": "/dev/null"}
    command = (str(bosh_cli()), "--no-color", "--non-interactive", *map(str, arguments))
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)
    done.check_returncode()
    return done.stdout


def clean_clone(target: Path) -> Path:
    """A repository at ``target`` with this checkout's files, also uncommitted ones, but none that git ignores."""
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, target / name
        if source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    git = (
        "git",
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "commit.gpgsign=false",
    )
    for arguments in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "a clone")):
        subprocess.run((*git, *arguments), cwd=target, check=True, timeout=60)
    return target
