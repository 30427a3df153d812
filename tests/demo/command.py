"""One way to run a program: bounded in time, its words kept when it fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence

from c2c_auditor.errors import Reason, SourceError

SECONDS = 20.0

Run = Callable[[Sequence[str], str, Sequence[int]], str]
"""Arguments, text for standard input and the exit codes that are no failure; returns standard output."""


def run(arguments: Sequence[str], text: str = "", codes: Sequence[int] = (0,)) -> str:
    """Run a program here.

    Raises SourceError with what it said if it is missing, takes longer than 20 s or ends with another code.
    """
    where = " ".join(arguments)
    environment = {**os.environ, "PATH": search_path()}
    try:
        done = subprocess.run(
            list(arguments), input=text, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise _failed(where, Reason.MISSING, f"{arguments[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise _failed(where, Reason.TIMEOUT, f"took longer than {SECONDS:.0f} s") from error
    if done.returncode not in codes:
        raise _failed(where, Reason.FAILED, f"exit {done.returncode}: {done.stderr.strip() or 'no message'}")
    return done.stdout


def search_path() -> str:
    """PATH and where ip and iptables are on Debian, which people's PATH often lacks."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _failed(where: str, reason: Reason, problem: str) -> SourceError:
    return SourceError(
        source="demo", reason=reason, where=where, problem=problem, remedy="the demo needs root, iproute2 and iptables"
    )
