"""Remembers what a function made of a container, as long as the container is there.

Containers and settings change seldom, and audits are many: what is planned for a container is worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

from c2c_auditor.netfilter.cached import trim_caches
from c2c_auditor.netfilter.canonical import forget_unheld

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 4096
_memories: list[_Memory] = []


class _Memory:
    """Results by arguments: those used since the last turn, and those of the turn before."""

    def __init__(self) -> None:
        self.used: dict[Hashable, object] = {}
        self.before: dict[Hashable, object] = {}

    def turn(self) -> None:
        """Where nothing was used, nothing was planned anew (`plan_policy_chain`), and the next plan needs it all."""
        if self.used:
            self.before, self.used = self.used, {}


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """``function``, which remembers its results by its arguments; these must be hashable."""
    memory = _Memory()
    _memories.append(memory)

    @wraps(function)
    def result(*args: P.args, **kwargs: P.kwargs) -> T:
        key = args, tuple(kwargs.items())
        found = memory.used.get(key)
        if found is None:
            found = memory.before.get(key)
            if found is None:
                found = function(*args, **kwargs)
            memory.used[key] = found
            if len(memory.used) > _MOST:  # in a process in which nothing calls `forget_unused`
                memory.turn()
        return found  # type: ignore[return-value]  # what this function returned for these arguments

    return result


def forget_unused() -> None:
    """Forget results that were not used since the last call: the containers are gone, or look different now.

    Called after each audit, so that memory follows what a cell holds and not what it has held.
    """
    for memory in _memories:
        memory.turn()
    trim_caches()
    forget_unheld()
