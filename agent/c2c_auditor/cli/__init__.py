"""L8: the commands: options in, one call, exit code out.

Here, in `wiring` and `daemon`, the parts are put together. Nothing is read, judged or formatted here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping

import click

from c2c_auditor import __version__
from c2c_auditor.cli.examples import with_examples
from c2c_auditor.errors import AuditorError

COULD_NOT_LOOK = 2
PROGRAM = "c2c-auditor"
_NAMES = ("audit", "status", "watch", "explain", "matrix", "mend", "capture", "daemon")


class _Commands(Mapping[str, click.Command]):
    """The commands by name. Each is imported when it is asked for: the daemon must not hold what the others need."""

    def __getitem__(self, name: str) -> click.Command:
        match name:
            case "audit":
                from c2c_auditor.cli.audit import audit as found  # noqa: PLC0415
            case "status":
                from c2c_auditor.cli.status import status as found  # noqa: PLC0415
            case "watch":
                from c2c_auditor.cli.watch import watch as found  # noqa: PLC0415
            case "explain":
                from c2c_auditor.cli.explain import explain as found  # noqa: PLC0415
            case "matrix":
                from c2c_auditor.cli.explain import matrix as found  # noqa: PLC0415
            case "mend":
                from c2c_auditor.cli.mend import mend as found  # noqa: PLC0415
            case "capture":
                from c2c_auditor.cli.capture import capture as found  # noqa: PLC0415
            case "daemon":
                from c2c_auditor.cli.daemon import daemon as found  # noqa: PLC0415
            case _:
                raise KeyError(name)
        return with_examples(found)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


@click.group(commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name=PROGRAM)
def cli() -> None:
    """Compares a Diego cell's iptables rules with those that its policies require, and shows the effect on traffic.

    It only reads. Exit status: 0 no outage and no breach, 1 outage or breach, 2 could not look.
    """


def main() -> None:
    """Run a command; an expected failure is one line on standard error and exit status 2."""
    try:
        result = cli.main(standalone_mode=False, prog_name=PROGRAM)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(COULD_NOT_LOOK)
    except AuditorError as error:
        with contextlib.suppress(OSError):  # a log that cannot be written
            click.echo(f"c2c-auditor: {printable(str(error))}", err=True)
        sys.exit(COULD_NOT_LOOK)
    sys.exit(result if isinstance(result, int) else 0)


def printable(text: str) -> str:
    """``text`` with control characters, which could steer a terminal, shown as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
