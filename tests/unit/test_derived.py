"""What is worked out of objects once, and forgotten with them."""

from __future__ import annotations

from weakref import ref

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.derived import derived


def test_it_is_worked_out_once_for_each_object_and_lives_no_longer() -> None:
    """Equal objects are two: to compare them would cost what is to be saved."""
    worked: list[str] = []

    @derived
    def named(chain: r.Chain) -> r.Jump:
        worked.append(chain.name)
        return r.Jump(chain=chain.name)

    first, equal = r.Chain(name="one"), r.Chain(name="one")
    assert named(first) is named(first)
    assert named(equal) == r.Jump(chain="one")
    assert worked == ["one", "one"]
    made = ref(named(first))
    assert made() is not None
    del first
    assert made() is None
    for number in range(50):  # objects that get the same place in memory, one after the other
        assert named(r.Chain(name=str(number))).chain == str(number)
    assert len(worked) == 52


def test_several_objects_are_one_key_and_the_first_to_go_ends_it() -> None:
    """Numbers and None stand for themselves."""
    worked: list[tuple[str, str | None, int]] = []

    @derived
    def pair(one: r.Chain, other: r.Chain | None, number: int) -> r.Jump:
        worked.append((one.name, None if other is None else other.name, number))
        return r.Jump(chain=one.name)

    one, other = r.Chain(name="one"), r.Chain(name="other")
    large = 1 << 40
    made = ref(pair(one, other, large))
    assert pair(one, other, 1 << 40) is made()
    pair(other, one, large)
    pair(one, None, large)
    pair(one, None, large + 1)
    pair(one, None, large)
    assert worked == [("one", "other", large), ("other", "one", large), ("one", None, large), ("one", None, large + 1)]
    del other
    assert made() is None
    assert len(worked) == 4
