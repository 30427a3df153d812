"""What a fault is: how to bring it about, how it is mended, and what an auditor must say about it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from c2c_auditor.model.kind import Kind
from demo.cell import Cell
from demo.world import App, Instance


@frozen(kw_only=True)
class Fault:
    """One fault.

    It must raise a finding of each of ``kinds``, one of which names ``app``; those of ``also`` may come with it.
    """

    name: str
    story: str
    kinds: frozenset[Kind]
    inject: Callable[[Cell], None]
    mend: Callable[[Cell], None] = Cell.put_back
    app: App | None = None
    also: frozenset[Kind] = frozenset()


def first(cell: Cell, app: App) -> Instance:
    """The first container of ``app`` on the cell."""
    return next(one for one in cell.instances if one.app == app)
