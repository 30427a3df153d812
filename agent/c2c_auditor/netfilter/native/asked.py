"""Comparisons that differ from one seen before in nothing but the value: thousands of ports, addresses and marks.

A ``cmp`` ends with its value, and a ``range`` with its two, each behind headers of its own.
"""

from __future__ import annotations

import struct

from c2c_auditor.netfilter.native.loads import Ask

_SIZE = 4
"""Bytes that a value of up to 32 bits takes, filled up with zeros."""
_HEADERS = 8
_FIRST, _LAST = 3, 4
"""The attributes of a ``cmp``'s value and a range's first one , and of its last (NFTA_CMP_DATA, …)."""
_CMP, _RANGE = _SIZE, _SIZE + _HEADERS + _SIZE
"""Bytes from the beginning of the first value to the end."""
_MOST = 1000
_known: dict[tuple[bytes, bytes], Ask] = {}
"""Comparisons by the bytes around their values."""


def asked_as_before(data: bytes) -> Ask | None:
    """What ``data`` asks, if only the value is new; None if that is not known."""
    known = _known.get((data[:-_CMP], b""))
    if known is not None:
        return Ask(load=known.load, how=known.how, first=data[-_CMP:][: len(known.first)])
    known = _known.get((data[:-_RANGE], data[_SIZE - _RANGE : -_SIZE]))
    if known is not None:
        length = len(known.first)
        return Ask(load=known.load, how=known.how, first=data[-_RANGE:][:length], last=data[-_SIZE:][:length])
    return None


def remember_how(data: bytes, ask: Ask) -> None:
    """``data``, which ends with a comparison, asks for ``ask`` and nothing else."""
    length = len(ask.first)
    if not 0 < length <= _SIZE:
        return
    if len(_known) >= _MOST:
        _known.clear()
    value = _attribute(_FIRST, ask.first)
    if not ask.last and data.endswith(value):
        _known[data[:-_CMP], b""] = ask
    elif ask.last and data.endswith(value + _attribute(_LAST, ask.last)):
        _known[data[:-_RANGE], data[_SIZE - _RANGE : -_SIZE]] = ask


def _attribute(kind: int, value: bytes) -> bytes:
    """The attribute that holds a value."""
    return struct.pack("=HHHH4s", _HEADERS + _SIZE, kind, _HEADERS // 2 + len(value), 1, value)
