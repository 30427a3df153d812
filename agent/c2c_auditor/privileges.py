"""L5: giving up every capability for good, so that whoever takes over this process has gained nothing.

Sources: Linux include/uapi/linux/capability.h (version 3, two words of 32 capabilities), prctl(2), capabilities(7).
capset works on the calling thread, so a process is stripped while it has only one; threads made later inherit.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from c2c_auditor.errors import AuditorError

_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_LAST = 64


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_all() -> None:
    """No capability now, and none after any exec. Raises AuditorError if one is left, be it in another thread."""
    drop_here()
    left = {name: f"{value:#x}" for name, value in held().items() if value}
    if left:
        raise AuditorError(f"the listening process still holds capabilities: {left}")


def drop_here() -> None:
    """No capability for the calling thread; other threads keep theirs. Raises AuditorError if the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    # This takes CAP_SETPCAP. Where that is missing the bounding set stays, and nothing comes of it: no exec gains
    # anything after the first line.
    for capability in range(_LAST):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    if libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise AuditorError(
            f"capset: {os.strerror(ctypes.get_errno())}: whoever serves the network must not keep capabilities"
        )


def held() -> dict[str, int]:
    """The capability sets of this process as bits, by the kernel's own account: what any of its threads holds counts."""
    sets = dict.fromkeys(_SETS, 0)
    for thread in Path("/proc/self/task").iterdir():
        for line in (thread / "status").read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in sets:
                sets[name] |= int(value, 16)
    return sets


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise AuditorError(
            f"prctl({option}): {os.strerror(ctypes.get_errno())}: the listening process must not keep capabilities"
        )
