"""Waiting for what comes when it comes: the machine may be busy."""

from __future__ import annotations

import time
from collections.abc import Iterator

_SECONDS = 120.0


def turns(pause: float = 0.05) -> Iterator[None]:
    """Turns to look once more, ``pause`` seconds apart, until two minutes are over."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        yield
        time.sleep(pause)
