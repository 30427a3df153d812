"""Tests in a forked child: in a network namespace of its own, or with another user. Both are gone with the child."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

import pytest

P = ParamSpec("P")
_CLONE_NEWNET = 0x40000000
_SECONDS = 120
_SKIPPED = 77


def in_namespace(test: Callable[P, None]) -> Callable[P, None]:
    """Run ``test`` in a forked child that has an empty network namespace; its failure is the test's failure.

    Skips where namespaces or privileges are missing, and says which.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root: network namespaces and iptables")
        in_child(_in_new_namespace, lambda: test(*args, **kwargs))

    return run


def in_child(*steps: Callable[[], None]) -> None:
    """Do ``steps`` in a forked child; their failure is the test's failure.

    The child has one thread: a change of user concerns each thread of a process, and one that may not take part in it
    ends the process.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(writing, steps)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        output = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _SKIPPED:
        pytest.skip(output)
    assert status == 0, output or f"the child ended with status {status}"


def _in_new_namespace() -> None:
    unshare_network()


def unshare_network() -> None:
    """Go into a new, empty network namespace, with the calling thread only. Skips where that cannot be."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        pytest.skip(f"unshare(CLONE_NEWNET) fails here: {os.strerror(ctypes.get_errno())}")


def enter_network(place: Path) -> None:
    """Go into the network namespace that ``place`` stands for, with the calling thread only."""
    with place.open("rb") as opened:
        entered = ctypes.CDLL(None, use_errno=True).setns(opened.fileno(), _CLONE_NEWNET)
    assert entered == 0, os.strerror(ctypes.get_errno())


def _child(writing: int, steps: Sequence[Callable[[], None]]) -> None:
    """The forked child: never returns into pytest."""
    status = 1
    try:
        signal.alarm(_SECONDS)
        for step in steps:
            step()
        status = 0
    except pytest.skip.Exception as skipped:
        os.write(writing, str(skipped).encode())
        status = _SKIPPED
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
        os.write(writing, traceback.format_exc().encode(errors="replace"))
    finally:
        sys.stdout.flush()
        os._exit(status)
