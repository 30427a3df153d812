"""L5: how a process gives up its privileges for good, before it reads a client's first byte.

System calls about users, capabilities, resource limits, free memory and the end of the parent process belong here.
Which process gives up what is decided by `server.serving` and by each thread.

Sources: Linux include/uapi/linux/capability.h (version 3, two words of 32 capabilities), prctl(2), capabilities(7),
credentials(7). capset works on the calling thread, so a process is stripped while it has only one; threads made later
inherit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

from c2c_auditor.errors import AuditorError

_VERSION_3 = 0x20080522
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_LAST = 64
# mallopt(3), as glibc's malloc.h numbers them.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)  # each is a class of its own, in a cycle


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def switch_user(user: str | None) -> None:
    """Change to ``user`` for good, without supplementary groups.

    None stands for ``nobody`` when the process runs as root, and for no change otherwise.

    Raises AuditorError where there is no such user, where it is root, or where the kernel refuses.
    """
    if user is None and os.geteuid() != 0:
        return
    name = user if user is not None else "nobody"
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise AuditorError(f"{name}: there is no such user for the listening process (server.user)") from error
    if entry.pw_uid == 0:
        raise AuditorError(f"{name}: the listening process must not run as root (server.user)")
    if os.getresuid() == (entry.pw_uid,) * 3:
        return
    try:
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as error:
        raise AuditorError(
            f"the listening process cannot become {name}: {error.strerror}: start the agent with CAP_SETUID and "
            "CAP_SETGID, or as that user (server.user)"
        ) from error


def end_with_parent(parent: int) -> None:
    """Make the kernel send SIGKILL to this process when ``parent``, which forked it, ends.

    The end of a pipe does not suffice: a stopped process does not read it.

    Call it after `switch_user`: the kernel clears the setting when the user changes (prctl(2), PR_SET_PDEATHSIG).
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def set_limit(which: int, most: int) -> None:
    """Limit a resource (``resource.RLIMIT_...``) of this process to ``most``.

    The hard limit too, so it cannot be raised.
    """
    _, hard = resource.getrlimit(which)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (bound, bound))


def keep_no_free_memory() -> None:
    """Have the C library give large blocks back as soon as they are free, for this process and those it forks.

    By itself glibc takes a block as large as one that was freed before from its heap, which has holes then, and has a
    heap for each thread. Other libraries have no such call.
    """
    with contextlib.suppress(AttributeError):
        mallopt = _libc.mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def give_back_memory() -> None:
    """Have the C library give free memory back to the system; other libraries than glibc have no such call."""
    with contextlib.suppress(AttributeError):
        _libc.malloc_trim(0)


def drop_bounding_set() -> None:
    """Empty the bounding set, so that no exec gains a capability.

    This takes CAP_SETPCAP; without it only no_new_privs protects (`drop_in_thread`).
    """
    for capability in range(_LAST):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def drop_all() -> None:
    """Drop every capability, also for later execs. Raises AuditorError if any thread of the process still holds one."""
    drop_in_thread()
    left = {name: f"{value:#x}" for name, value in held_capabilities().items() if value}
    if left:
        raise AuditorError(f"the listening process still holds capabilities: {left}")


def drop_in_thread() -> None:
    """Drop every capability of the calling thread; other threads keep theirs. Raises AuditorError on failure."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    drop_bounding_set()
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    if _libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise AuditorError(
            f"capset: {os.strerror(ctypes.get_errno())}: a process that serves the network must not keep capabilities"
        )


def held_capabilities() -> dict[str, int]:
    """The capability sets of this process as bits, as /proc shows them: the union over its threads."""
    sets = dict.fromkeys(_SETS, 0)
    for line in _thread_statuses():
        name, _, value = line.partition(":")
        if name in sets:
            sets[name] |= int(value, 16)
    return sets


def _thread_statuses() -> Iterator[str]:
    """The status lines of every thread. One that ends before its file is read holds nothing.

    The kernel says ENOENT when it ended before the file was opened, and ESRCH afterwards.
    """
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from (thread / "status").read_text(encoding="utf-8", errors="replace").splitlines()


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise AuditorError(
            f"prctl({option}): {os.strerror(ctypes.get_errno())}: the listening process must not keep capabilities"
        )
