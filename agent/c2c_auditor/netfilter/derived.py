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


def derived(work: Callable[P, V]) -> Callable[P, V]:
    """``work``, done once for the same objects; numbers and None are the same where they are equal.

    What it returns must hold none of the objects, or they are never forgotten.
    """
    made: dict[tuple[object, ...], tuple[object, V]] = {}

    @wraps(work)
    def result(*args: P.args, **kwargs: P.kwargs) -> V:
        # Another object gets the number of one of these only after that one is gone, and with it the entry.
        objects = (*args, *kwargs.values())
        key = (*[one if _is_plain(one) else id(one) for one in objects], *kwargs)
        found = made.get(key)
        if found is None:
            kept = [ref(one, lambda _: made.pop(key, None)) for one in objects if not _is_plain(one)]
            found = made[key] = kept, work(*args, **kwargs)
        return found[1]

    return result


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, int)
