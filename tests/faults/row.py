"""One row of the table: a fault, how it is brought about and withdrawn, and what the operator must see of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from faults.bench import Bench

BOTH = ("nft", "legacy")


@frozen(kw_only=True)
class Sees:
    """What must be there to be seen while the fault lasts; everything that is given must hold at one time.

    ``down`` are sources with `c2c_auditor_source_up` 0 and a line in the log, ``reason`` is why, where one is right;
    ``ready`` is the status of `/readyz`; ``silent`` is a port that does not answer; ``ended`` an agent that has ended
    with status 1 and ``gone`` one of which neither process runs, so that monit starts it again; ``process`` one of
    silk's programs reported as not running; ``finding`` a kind that is confirmed; ``other`` is anything else: what it
    is, and how it shows.
    """

    down: tuple[str, ...] = ()
    reason: str = ""
    ready: int | None = None
    silent: bool = False
    ended: bool = False
    gone: bool = False
    process: str = ""
    finding: str = ""
    other: tuple[str, Callable[[Bench], bool]] | None = None

    def words(self) -> str:
        """The same for people."""
        parts = [
            f'`source_up{{source="{name}"}}` 0, `source-failed`' + (f" ({self.reason})" if self.reason else "")
            for name in self.down
        ]
        parts += [f"`/readyz` {self.ready}"] if self.ready is not None else []
        parts += ["no answer on the port"] if self.silent else []
        parts += ["the agent ends with status 1, and monit starts it again"] if self.ended else []
        parts += ["both processes are gone, and monit starts them again"] if self.gone else []
        parts += [f'`silk_process_up{{process="{self.process}"}}` 0'] if self.process else []
        parts += [f"`{self.finding}` confirmed"] if self.finding else []
        parts += [self.other[0]] if self.other is not None else []
        return "; ".join(parts) or "nothing: it does not matter"


NOTHING = Sees()


@frozen(kw_only=True)
class Row:
    """A fault of one source.

    ``inject`` gives a block for whose length the fault lasts. ``damage``: rules can be read meanwhile, so damage done
    to them beside the fault must be found; ``change``: silk goes on, so what it changes meanwhile must not be called
    wrong. ``commit``: rules are touched, because the agent reads them only after a commit. ``daily`` rows run with
    every test. ``within`` is how many seconds the operator may have to wait.
    """

    source: str
    fault: str
    inject: Callable[[Bench], AbstractContextManager[None]]
    sees: Sees = NOTHING
    damage: bool = True
    change: bool = False
    commit: bool = False
    daily: bool = True
    on: tuple[str, ...] = ("nft",)
    within: float = 12.0
    expected: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Source and fault as one word."""
        return f"{self.source}: {self.fault}".replace(" ", "-").replace(":-", ":")
