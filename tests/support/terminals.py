"""What commands print, on a terminal of a given width and into a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from click.testing import CliRunner, Result
from rich.console import Console
from rich.text import Text

from c2c_auditor.cli import cli


def printed(show: Callable[[Console], None], *, width: int | None = None) -> str:
    """What ``show`` prints into a pipe, or without colour on a terminal of ``width`` columns."""
    output = io.StringIO()
    show(Console(file=output, width=width, force_terminal=width is not None, color_system=None))
    return output.getvalue()


def typed(arguments: Sequence[str], *, width: int) -> tuple[str, Result]:
    """What a command prints on a terminal of ``width`` columns, without its colours."""
    environment = {"COLUMNS": str(width), "TERM": "xterm", "TTY_COMPATIBLE": "1"}
    done = CliRunner(env=environment).invoke(cli, arguments, standalone_mode=False)
    return Text.from_ansi(done.output).plain, done
