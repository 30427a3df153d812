"""Giving up capabilities, in processes of their own: whoever has called `drop_all` holds none, and gets none back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agent"

_capable = pytest.mark.skipif(os.geteuid() != 0, reason="there is no capability to give up: needs root")

_REPORT = """
import sys
from c2c_auditor.privileges import drop_all, held
before = held()
drop_all()
print(any(before.values()), held())
"""

_EXEC = """
import os
from c2c_auditor.privileges import drop_all
drop_all()
os.execv("/bin/cat", ["cat", "/proc/self/status"])
"""

_NETFILTER = """
import socket
from c2c_auditor.privileges import drop_all
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
drop_all()
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
except PermissionError:
    print("refused")
"""

_THREAD = """
import threading
from c2c_auditor.errors import AuditorError
from c2c_auditor.privileges import drop_all
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
try:
    drop_all()
except AuditorError as error:
    print(error)
done.set()
thread.join()
"""


def _run(script: str) -> str:
    """What ``script`` prints, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(AGENT)}, capture_output=True, text=True, check=True
    )
    return done.stdout


@_capable
def test_nothing_is_held_afterwards() -> None:
    """In any of the four sets, by the kernel's own account."""
    assert _run(_REPORT).strip() == "True {'CapInh': 0, 'CapPrm': 0, 'CapEff': 0, 'CapAmb': 0}"


@_capable
def test_no_program_started_afterwards_holds_any() -> None:
    """Root's usual right to all capabilities at exec is gone too."""
    status = dict(line.split(":\t", 1) for line in _run(_EXEC).splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"


@_capable
def test_the_kernel_refuses_what_takes_a_capability() -> None:
    """The numbers in /proc mean what they say."""
    assert _run(_NETFILTER).strip() == "refused"


@_capable
def test_a_thread_that_keeps_its_capabilities_is_noticed() -> None:
    """They are the thread's, not the process's: called too late, it refuses to go on."""
    assert "still holds capabilities" in _run(_THREAD)


def test_it_is_no_error_to_have_none() -> None:
    """Under bpm without capabilities, and when called twice."""
    assert _run("from c2c_auditor.privileges import drop_all\ndrop_all()\ndrop_all()\nprint('fine')").strip() == "fine"
