"""Giving up capabilities, in processes of their own: after `drop_all` a process holds none, and gets none back."""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from c2c_auditor.privileges import switch_user
from support.namespaces import in_child

AGENT = Path(__file__).parents[2] / "agent"

_capable = pytest.mark.skipif(os.geteuid() != 0, reason="there is no capability to give up: needs root")

_REPORT = """
import sys
from c2c_auditor.privileges import drop_all, held_capabilities
before = held_capabilities()
drop_all()
print(any(before.values()), held_capabilities())
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


_CHURN = """
import threading
from c2c_auditor.privileges import held_capabilities
ends = threading.Event()
def churn():
    while not ends.is_set():
        threads = [threading.Thread(target=int) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
churning = threading.Thread(target=churn)
churning.start()
try:
    print(len({tuple(held_capabilities()) for _ in range(2000)}))
finally:
    ends.set()
    churning.join()
"""

_USER = """
import os
from c2c_auditor.privileges import switch_user, drop_all
switch_user({user})
drop_all()
print(os.getresuid(), os.getresgid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("for good")
"""

_REFUSED = """
from c2c_auditor.errors import AuditorError
from c2c_auditor.privileges import switch_user
try:
    switch_user({user!r})
except AuditorError as error:
    print(error)
"""

# The middle process forks one that stops itself, and ends; the first sees the stopped one disappear.
_ORPHAN = """
import os, signal, time
from c2c_auditor.privileges import switch_user, end_with_parent
reading, writing = os.pipe()
if (middle := os.fork()) == 0:
    parent = os.getpid()
    if os.fork() == 0:
        switch_user(None)
        end_with_parent(parent)
        os.write(writing, b"%d" % os.getpid())
        os.close(writing)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(1)
    os.waitid(os.P_ALL, 0, os.WSTOPPED)
    os._exit(0)
os.close(writing)
stopped = int(os.read(reading, 16))
os.waitpid(middle, 0)
for _ in range(2400):
    try:
        state = open(f"/proc/{stopped}/stat").read().rpartition(")")[2].split()[0]
    except OSError:
        state = "gone"
    if state in ("gone", "Z"):
        print("ended")
        break
    time.sleep(0.05)
else:
    os.kill(stopped, signal.SIGKILL)
"""


def _run(script: str) -> str:
    """What ``script`` prints, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(AGENT)}, capture_output=True, text=True, check=True
    )
    return done.stdout


_LARGE_BLOCKS = """
import ctypes, threading
from c2c_auditor.privileges import keep_no_free_memory
keep_no_free_memory()
block = bytearray(1 << 20)
del block  # glibc would keep the next ones of this size
class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
before = libc.mallinfo2().hblks
blocks = []
thread = threading.Thread(target=lambda: blocks.extend(bytearray(100_000) for _ in range(10)))
thread.start()
thread.join()
held = libc.mallinfo2().hblks
blocks.clear()
print(before, held, libc.mallinfo2().hblks)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or newer")
def test_large_blocks_go_back_at_once() -> None:
    """Those of other threads too, and whatever was freed before."""
    before, held, left = map(int, _run(_LARGE_BLOCKS).split())
    assert held >= before + 5  # the heap may have room for some
    assert left == before


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


def test_a_thread_that_ends_meanwhile_holds_nothing() -> None:
    """Its file in /proc is gone before it is opened or read, and that is no failure to look."""
    assert _run(_CHURN).strip() == "1"


@_capable
def test_root_becomes_another_user_for_good() -> None:
    """``nobody`` where none is named, and the groups of root are gone."""
    nobody = pwd.getpwnam("nobody")
    ids = f"{(nobody.pw_uid,) * 3} {(nobody.pw_gid,) * 3} []"
    assert _run(_USER.format(user=None)).splitlines() == [ids, "for good"]
    daemon = pwd.getpwnam("daemon")
    assert _run(_USER.format(user="'daemon'")).splitlines()[0].startswith(f"{(daemon.pw_uid,) * 3}")


@pytest.mark.parametrize(("user", "problem"), [("no-such-user", "no such user"), ("root", "must not run as root")])
def test_a_user_that_does_not_exist_or_is_root_is_refused(user: str, problem: str) -> None:
    """With the setting that names it."""
    said = _run(_REFUSED.format(user=user))
    assert problem in said
    assert "server.user" in said


@_capable
def test_without_the_right_to_change_the_user_it_refuses() -> None:
    """Root without CAP_SETUID would stay root."""
    script = "from c2c_auditor.privileges import drop_all\ndrop_all()\n" + _REFUSED.format(user="nobody")
    assert "CAP_SETUID" in _run(script)


def test_others_stay_who_they_are() -> None:
    """An agent that an unprivileged user started has nothing to change."""

    def check() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        before = os.getresuid()
        switch_user(None)
        assert os.getresuid() == before

    in_child(check)


def test_a_stopped_process_ends_with_its_parent() -> None:
    """It could not read the end of a pipe."""
    assert _run(_ORPHAN).strip() == "ended"
