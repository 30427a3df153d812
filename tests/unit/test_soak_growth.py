"""What the soak calls growth: what stays, not what is held for a moment."""

from __future__ import annotations

import pytest

from support.staging import script

MIB = 1 << 20
Sample = tuple[tuple[int, int], ...]


def samples(*thirds: list[tuple[int, int]]) -> list[Sample]:
    """The same figures (bytes, descriptors) for both processes, one third of the time after the other."""
    return [(figures, figures) for third in thirds for figures in third]


FLAT = [(30 * MIB, 12)] * 9
CASES = {
    "nothing changes": (samples(FLAT, FLAT, FLAT), True),
    "a program that runs for a moment": (samples(FLAT, FLAT, [*FLAT[1:], (80 * MIB, 40)]), True),
    "start-up": (samples([(20 * MIB, 8)] * 9, FLAT, FLAT), True),
    "descriptors that stay": (samples(FLAT, FLAT, [(30 * MIB, 15)] * 9), False),
    "memory that stays": (samples(FLAT, FLAT, [(33 * MIB, 12)] * 9), False),
    "a process that was never seen": ([() for _ in range(27)], False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stays_is_growth_and_what_passes_is_not(name: str) -> None:
    """Both processes are judged, by the second third of the time and the last."""
    taken, flat = CASES[name]
    judged = list(script("soak_cell").growth(taken, 3600.0))
    assert [process for process, _, _ in judged] == ["auditing process", "listening process"]
    assert [verdict for _, _, verdict in judged] == [flat, flat]


def test_two_minutes_may_still_fill_what_is_bounded() -> None:
    """But no more than that."""
    for held, flat in ((38, True), (44, False)):
        judged = script("soak_cell").growth(samples(FLAT, FLAT, [(held * MIB, 12)] * 9), 120.0)
        assert [verdict for _, _, verdict in judged] == [flat, flat]
