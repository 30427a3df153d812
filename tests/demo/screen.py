"""What the demo prints: colours on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from c2c_auditor.model.kind import Effect

_COLOURS = {Effect.BREACH: "bold red", Effect.OUTAGE: "red", Effect.RESIDUE: "yellow", Effect.ADVICE: "cyan"}


class Screen:
    """Tells a person what happens, as it happens. Whatever findings say is shown as it is, never read as markup."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str) -> None:
        """What comes now."""
        self._line(Text(text, style="bold"))

    def story(self, text: str) -> None:
        """What is done to the cell."""
        self._line(Text.assemble("\n", (text, "bold")))

    def said(self, text: str) -> None:
        """What the agent has come to."""
        self._line(Text.assemble("  ", (text, "dim")))

    def finding(self, effect: Effect, name: str, summary: str) -> None:
        """One finding, in the agent's own words."""
        self._line(Text.assemble("  ", (f"{effect.value} {name}", _COLOURS[effect]), f" {summary}"))

    def failed(self, text: str) -> None:
        """What should not have happened."""
        self._line(Text(f"  FAILED {text}", style="bold red"))

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """The closing summary."""
        table = Table(*columns, title_justify="left")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print()
        self._console.print(table)

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
