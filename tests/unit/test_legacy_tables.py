"""A legacy table's bytes are chains, or bytes that no kernel has; tests/kernel holds them to real tables."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.netfilter.binary.entries import LAYOUTS
from c2c_auditor.netfilter.binary.tables import chains_in

IPV4 = AddressFamily.IPV4
SIZE = LAYOUTS[IPV4].size
DROP, ACCEPT, RETURN = -1, -2, -5


def _entry(verdict: int | bytes, packets: int = 0) -> bytes:
    """Without matches; its target a verdict, or the head of the chain of this name."""
    if isinstance(verdict, bytes):
        target = struct.pack("=H30s32s", 64, b"ERROR", verdict)
    else:
        target = struct.pack("=H30si4x", 40, b"", verdict)
    head = bytearray(SIZE)
    struct.pack_into("=HH4xQ", head, LAYOUTS[IPV4].numbers_at, SIZE, SIZE + len(target), packets)
    return bytes(head) + target


def _table() -> tuple[bytes, int]:
    """FORWARD with a rule that counts and a jump to the chain ``asked``; and where ``asked`` begins."""
    size, head = len(_entry(DROP)), len(_entry(b"asked"))
    begins = 3 * size + head
    forward = _entry(size, packets=5) + _entry(begins) + _entry(DROP)
    return forward + _entry(b"asked") + _entry(ACCEPT, packets=7) + _entry(RETURN) + _entry(b"ERROR"), begins


def test_chains_and_jumps_are_told_by_where_they_stand() -> None:
    """The last entry of each chain is its policy, and no rule."""
    content, _ = _table()
    forward, asked = chains_in(content, {"FORWARD": 0}, IPV4)
    assert (forward.name, forward.policy) == (b"FORWARD", "DROP")
    assert [(entry.chain, entry.packets) for entry in forward.entries] == [(b"", 5), (b"asked", 0)]
    assert (asked.name, asked.policy) == (b"asked", None)
    assert [(entry.chain, entry.packets) for entry in asked.entries] == [(None, 7)]


def test_a_jump_to_the_middle_of_a_chain_is_no_kernels() -> None:
    """Nor is a table whose first entry is of no chain."""
    content, begins = _table()
    astray = content.replace(struct.pack("=i", begins), struct.pack("=i", begins + 1))
    with pytest.raises(NotUnderstood):
        chains_in(astray, {"FORWARD": 0}, IPV4)
    with pytest.raises(NotUnderstood):
        chains_in(content, {}, IPV4)


@given(st.binary(max_size=400), st.integers(0, 900), st.sampled_from(AddressFamily))
def test_any_bytes_are_chains_or_not_understood(planted: bytes, at: int, family: AddressFamily) -> None:
    """Nothing else comes of them, wherever in a table they stand."""
    content, _ = _table()
    try:
        chains_in(content[:at] + planted + content[at + len(planted) :], {"FORWARD": 0}, family)
    except NotUnderstood:
        return
