"""L7: when memory that nothing needs any longer is looked for: once a minute, between audits.

An audit makes tens of thousands of values, none of them in cycles; at the interpreter's usual 700 a quarter of a large
one's time goes into looking for such. Failures do leave some: a library's error is held by a variable of a frame that
the error holds, and so are the answers and rules in all frames up to it. A policy server that is away makes thousands
of those an hour. And what comes and goes leaves holes in the C library's heap, whose pages it gives back when told to.
"""

from __future__ import annotations

import gc

from c2c_auditor.privileges import give_back_memory

_SECONDS = 60.0
# So many values more, and the collector looks in the middle of an audit.
_MOST = 100_000


class Collector:
    """Takes the garbage collector over from the interpreter."""

    def __init__(self) -> None:
        self._due: float | None = None
        # What the first audit makes lives as long as the agent: the collector need not go through a large cell's rules
        # then, nor later.
        gc.disable()

    def rest(self, now: float) -> None:
        """Between audits: collect, if it is time by a steady clock's seconds.

        The first call, after the first audit, only has what there is left alone for good.
        """
        if self._due is None:
            gc.freeze()
            gc.set_threshold(_MOST)
            gc.enable()
        elif now >= self._due:
            gc.collect()
            give_back_memory()
        else:
            return
        self._due = now + _SECONDS
