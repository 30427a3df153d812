"""What was worked out of objects, kept as long as those very objects live.

From one audit to the next, what nothing changed is the same object, and most audits find one chain or one list changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from weakref import ref

P = ParamSpec("P")
V = TypeVar("V")


class _Ref(ref[object]):
    """A reference that knows its entry: a function for each of thousands would be larger than they are."""

    __slots__ = ("key",)
    key: tuple[object, ...]


def derived(work: Callable[P, V]) -> Callable[P, V]:
    """``work``, done once for the same objects; numbers and None are the same where they are equal.

    What it returns must hold none of the objects, or they are never forgotten.
    """
    made: dict[tuple[object, ...], tuple[V, tuple[_Ref, ...]]] = {}

    def forget(gone: _Ref) -> None:
        made.pop(gone.key, None)

    @wraps(work)
    def result(*args: P.args, **kwargs: P.kwargs) -> V:
        # Another object gets the number of one of these only after that one is gone, and with it the entry.
        objects = (*args, *kwargs.values())
        key = (*[one if _is_plain(one) else id(one) for one in objects], *kwargs)
        found = made.get(key)
        if found is None:
            refs = tuple([_Ref(one, forget) for one in objects if not _is_plain(one)])
            for one in refs:
                one.key = key
            found = made[key] = work(*args, **kwargs), refs
        return found[0]

    return result


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, int)
