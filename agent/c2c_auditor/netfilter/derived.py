"""What was worked out of an object, kept as long as that very object lives.

From one audit to the next, chains that nothing changed are the same objects, and most audits find one chain changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import ref

K = TypeVar("K")
V = TypeVar("V")


class Derived(Generic[K, V]):
    """``work``, done once for each object. What it returns must not hold the object, or neither is ever forgotten."""

    def __init__(self, work: Callable[[K], V]) -> None:
        self._work = work
        self._made: dict[int, tuple[ref[K], V]] = {}

    def __call__(self, value: K) -> V:
        """What ``work`` made of ``value``."""
        key = id(value)  # another object gets this one's number only after it is gone, and with it the entry
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = ref(value, lambda _: self._made.pop(key, None)), self._work(value)
        return found[1]
