"""Copies of legacy tables by getsockopt(2), which asks for CAP_NET_ADMIN alone.

libiptc does the same on a raw socket, and so asks for CAP_NET_RAW too. Python's own `getsockopt` hands nothing in, and
the kernel wants the table's name. Sources: Linux uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h
(``struct ipt_getinfo``, ``struct ipt_get_entries``, and the same for IPv6).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from c2c_auditor.errors import NotUnderstood, Reason
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.binary.tables import EntryChain, chains_in
from c2c_auditor.sources.rules.libiptc import ABSENT, failed

_ATTEMPTS = 4
_GET_INFO, _GET_ENTRIES = 64, 65
_libc = ctypes.CDLL(None, use_errno=True)  # each is a class of its own, in a cycle
_SOCKETS = {
    AddressFamily.IPV4: (socket.AF_INET, socket.IPPROTO_IP),
    AddressFamily.IPV6: (socket.AF_INET6, socket.IPPROTO_IPV6),
}
_INFO = struct.Struct("=32sI5I5III")
"""Name, the hooks that the table has as bits, where their chains begin, their policies, number of entries, size."""
_ENTRIES = struct.Struct("=32sI4x")
"""Name and size, in front of the entries."""
_HOOKS = (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING)
"""In the kernel's order (``enum nf_inet_hooks``)."""


def may_make_raw_sockets() -> bool:
    """Whether libiptc can do its work."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except OSError:
        return False
    return True


def copied(table: str, family: AddressFamily) -> tuple[EntryChain, ...] | None:
    """The chains of ``table``, None if there is no such table.

    A table that could be there is *made* by asking for it. Raises SourceError.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _copied(table, family)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            if error.errno != errno.EAGAIN:  # which says that the table has another size than a moment ago
                denied = error.errno in {errno.EPERM, errno.EACCES}
                raise failed(
                    Reason.PERMISSION if denied else Reason.FAILED,
                    f"cannot copy table {table}: {error.strerror}",
                    "give the agent CAP_NET_ADMIN" if denied else f"try `iptables-legacy-save -t {table}` as root",
                ) from error
        except NotUnderstood as error:
            problem = f"table {table} is as no kernel has it: {error}"
            raise failed(Reason.MALFORMED, problem, "report it, with the output of uname -a") from error
    raise failed(
        Reason.INCONSISTENT,
        f"table {table} changed during each of {_ATTEMPTS} copies",
        "somebody rewrites the rules all the time",
    )


def _copied(table: str, family: AddressFamily) -> tuple[EntryChain, ...]:
    kind, level = _SOCKETS[family]
    with socket.socket(kind, socket.SOCK_DGRAM) as asked:
        answer = _get(asked, level, _GET_INFO, _INFO.pack(table.encode(), *(0,) * 13))
        _, valid, *begins, _, size = _INFO.unpack(answer)
        question = _ENTRIES.pack(table.encode(), size) + bytes(size)
        content = _get(asked, level, _GET_ENTRIES, question)[_ENTRIES.size :]
    hooks = {hook.value: begins[bit] for bit, hook in enumerate(_HOOKS) if valid >> bit & 1}
    return chains_in(content, hooks, family)


def _get(asked: socket.socket, level: int, option: int, question: bytes) -> bytes:
    """The kernel's answer, which is as long as the question. Raises OSError."""
    answer, length = ctypes.create_string_buffer(question, len(question)), ctypes.c_uint32(len(question))
    if _libc.getsockopt(asked.fileno(), level, option, answer, ctypes.byref(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer.raw
