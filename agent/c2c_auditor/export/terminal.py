"""Lines and tables for people: on a terminal wrapped between words, elsewhere whole.

Readable without colour, at 80 columns and in ASCII. No word is ever cut, so rules and guids can be copied. In a pipe
or a file a line is never broken or filled up with blanks, so that it can be searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from c2c_auditor.export.lines import Cell
from c2c_auditor.export.plain import plain

# For terminals that cannot show them.
_PLAINER = str.maketrans({"×": "x", "→": "->", "…": "...", "–": "-", "←": "<-", "✗": "x"})
_LABEL = 9
_GAP = 2


class Page:
    """Writes styled lines; characters that the terminal's encoding lacks are written in ASCII."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, *parts: Cell, indent: int = 0, label: str = "") -> None:
        """One paragraph of (text, style), all of it indented; ``label`` stands in front of its first line."""
        self._print(self._text((f"{label:<{indent}}", "dim" if label else "")), self._text(*parts), indent=indent)

    def table(self, pairs: Iterable[tuple[str, str]], *, indent: int) -> None:
        """Foreign values beside their labels."""
        for label, value in pairs:
            first = self._text((" " * indent + f"{label:<{_LABEL - 1}} ", "dim"))
            self._print(first, self._text((plain(value), "")), indent=indent + _LABEL)

    def grid(self, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """A table with a head.

        In a pipe its columns are separated by tabs. On a terminal that is too narrow for it each row becomes a
        paragraph of labelled values.
        """
        titles = self._row((title, "bold") for title in head)
        body = [self._row(row) for row in rows]
        if not self._console.is_terminal:
            for row in (titles, *body):
                self._line(Text("\t").join(row))
            return
        widths = [max(cell_len(row[at].plain) for row in (titles, *body)) for at in range(len(head))]
        if sum(widths) + _GAP * (len(head) - 1) <= self._console.width:
            for row in (titles, *body):
                self._line(Text(" " * _GAP).join(map(_filled, row, widths)))
            return
        label = max(map(len, head)) + _GAP
        for row in body:
            self.blank()
            for title, cell in zip(head, row, strict=True):
                self._print(self._text((f"{title:<{label}}", "dim")), cell, indent=label)

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def _row(self, cells: Iterable[Cell]) -> list[Text]:
        return [self._text(cell) for cell in cells]

    def _text(self, *parts: Cell) -> Text:
        return Text.assemble(*((self._writable(text), style) for text, style in parts))

    def _print(self, first: Text, text: Text, *, indent: int) -> None:
        """``text`` behind ``first``, its further lines indented."""
        if not self._console.is_terminal:
            self._line(first + text)
            return
        for at, line in enumerate(_wrapped(text, self._console.width - indent)):
            self._line((Text(" " * indent) if at else first) + line)

    def _line(self, line: Text) -> None:
        line.rstrip()
        self._console.print(line, soft_wrap=True)

    def _writable(self, text: str) -> str:
        encoding = self._console.encoding
        if encoding.startswith("utf"):
            return text
        return text.translate(_PLAINER).encode(encoding, "backslashreplace").decode(encoding)


def _filled(text: Text, width: int) -> Text:
    return text + " " * (width - cell_len(text.plain))


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    """``text`` as lines of ``width`` cells, broken between words only: a longer word has a line of its own."""
    plain_text = text.plain
    begins: list[int] = []
    begin = 0
    for word in re.finditer(r"\S+", plain_text):
        if word.start() > begin and cell_len(plain_text[begin : word.end()]) > width:
            begin = word.start()
            begins.append(begin)
    for line in text.divide(begins):
        line.rstrip()
        yield line


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print foreign lines, each indented as it is; the first one is the verdict."""
    page = Page(console)
    for at, line in enumerate(lines):
        text = plain(line.strip())
        if text:
            page.say((text, "bold" if not at else ""), indent=len(line) - len(line.lstrip(" ")))
        else:
            page.blank()
