"""Lines and tables on a terminal, readable without colour, at 80 columns and in ASCII."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from c2c_auditor.export.plain import plain

# For terminals that cannot show them.
_PLAINER = str.maketrans({"×": "x", "→": "->", "…": "...", "–": "-", "←": "<-", "✗": "x"})


class Page:
    """Writes styled lines; characters that the terminal's encoding lacks are written in ASCII."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, *parts: tuple[str, str], indent: int = 0) -> None:
        """One paragraph of (text, style)."""
        text = Text.assemble(*((self._writable(part), style) for part, style in parts))
        self._console.print(Padding(text, (0, 0, 0, indent), expand=False) if indent else text)

    def table(self, pairs: Iterable[tuple[str, str]], *, indent: int) -> None:
        """Foreign values beside their labels; long ones are folded below themselves."""
        grid = Table.grid(Column(min_width=9), Column(overflow="fold"))
        for label, value in pairs:
            grid.add_row(Text(self._writable(label), style="dim"), Text(self._writable(plain(value))))
        if grid.row_count:
            self._console.print(Padding(grid, (0, 0, 0, indent), expand=False))

    def grid(self, head: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]]) -> None:
        """A table with a head; each cell is (text, style), long ones are folded."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for title in head:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(Text(self._writable(text), style=style) for text, style in row))
        self._console.print(table)

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def _writable(self, text: str) -> str:
        encoding = self._console.encoding
        if encoding.startswith("utf"):
            return text
        return text.translate(_PLAINER).encode(encoding, "backslashreplace").decode(encoding)
