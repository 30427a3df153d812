"""Caches of what is worked out of single values (an address, a port, a chain's name), which follow what a cell holds.

A cache that only has a largest size fills up with what containers of last week had. Its values hold others, and a cell
of a dozen containers would take twice the memory after a thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
V = TypeVar("V")

_MOST = 4096
_FEW = 64


class _Cache:
    """``usual`` is how many values the first audit after it was emptied needed; None where that is to be seen."""

    def __init__(self, work: Callable[..., object]) -> None:
        self.function = lru_cache(maxsize=_MOST)(work)
        self.usual: int | None = None

    def trim(self) -> None:
        held = self.function.cache_info().currsize
        if self.usual is None:
            self.usual = held or None
        elif held > 2 * self.usual + _FEW:
            self.function.cache_clear()
            self.usual = None


_caches: list[_Cache] = []


def cached(work: Callable[P, V]) -> Callable[P, V]:
    """``work``, done once for equal arguments as long as `trim_caches` leaves its cache alone."""
    cache = _Cache(work)
    _caches.append(cache)
    return cast("Callable[P, V]", cache.function)


def trim_caches() -> None:
    """Empty the caches that hold more than twice what an audit needed. Called after each audit."""
    for cache in _caches:
        cache.trim()
