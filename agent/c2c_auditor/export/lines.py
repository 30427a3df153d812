"""Lines for people: what prints them asks for no more than this, and a running agent has no terminal to print to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

Cell = tuple[str, str]
"""A text and its style."""


class Lines(Protocol):
    """Takes lines (`terminal.Page`, `PlainLines`)."""

    def say(self, *parts: Cell, indent: int = 0, label: str = "") -> None:
        """One paragraph of (text, style), all of it indented; ``label`` stands in front of its first line."""

    def blank(self) -> None:
        """An empty line."""


class Tables(Lines, Protocol):
    """Takes tables too (`terminal.Page`)."""

    def grid(self, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """A table with a head."""


class PlainLines:
    """The lines as a `terminal.Page` writes them into a pipe: whole and without style."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def text(self) -> str:
        """All lines."""
        return "".join(f"{line}\n" for line in self._lines)

    def say(self, *parts: Cell, indent: int = 0, label: str = "") -> None:
        """As `Lines.say`."""
        self._lines.append(f"{label:<{indent}}{''.join(text for text, _ in parts)}".rstrip())

    def blank(self) -> None:
        """As `Lines.blank`."""
        self._lines.append("")
