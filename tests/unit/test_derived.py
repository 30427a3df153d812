"""What is worked out of an object once, and forgotten with it."""

from __future__ import annotations

from weakref import ref

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.derived import Derived


def test_it_is_worked_out_once_for_each_object_and_lives_no_longer() -> None:
    """Equal objects are two: to compare them would cost what is to be saved."""
    worked: list[str] = []

    def named(chain: r.Chain) -> r.Jump:
        worked.append(chain.name)
        return r.Jump(chain=chain.name)

    derived = Derived(named)
    first, equal = r.Chain(name="one"), r.Chain(name="one")
    assert derived(first) is derived(first)
    assert derived(equal) == r.Jump(chain="one")
    assert worked == ["one", "one"]
    made = ref(derived(first))
    assert made() is not None
    del first
    assert made() is None
    for number in range(50):  # objects that get the same place in memory, one after the other
        assert derived(r.Chain(name=str(number))).chain == str(number)
    assert len(worked) == 52
