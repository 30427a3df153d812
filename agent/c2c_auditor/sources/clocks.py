"""The machine's clocks as a value, so that tests can pass their own and need not wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import field, frozen


@frozen(kw_only=True)
class Clocks:
    """``wall`` is in seconds since the epoch, for people; ``steady`` never steps, for ages and durations."""

    wall: Callable[[], float] = field(default=time.time)
    steady: Callable[[], float] = field(default=time.monotonic)
