"""``make demo``: a cell of its own, the real agent beside it, and faults that come and go."""

from __future__ import annotations

import sys

import click

from c2c_auditor.errors import AuditorError
from demo.silk import RELEASES
from demo.tour import run_demo

_COULD_NOT_LOOK = 2


@click.command()
@click.option(
    "--backend",
    type=click.Choice(["nft", "legacy"]),
    default="nft",
    show_default=True,
    help="Which backend of iptables the demo's rules go to.",
)
@click.option(
    "--silk",
    type=click.Choice(list(RELEASES)),
    default="new",
    show_default=True,
    help="Whose rules the cell has: those of today's silk (3.116), or those of October 2024 (3.53).",
)
@click.option("--keep", is_flag=True, help="Leave the cell and the agent running until Ctrl-C.")
@click.option(
    "--pause",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="Seconds between one fault and the next.",
)
def demo(*, backend: str, silk: str, keep: bool, pause: float) -> None:
    """Make a small cell in network namespaces, audit it, break it, and watch each fault being found and mended.

    Needs root for real kernel rules; without, a recorded cell is replayed. Exit status 0 only if every fault was found
    and no false one was.
    """
    try:
        sys.exit(run_demo(backend=backend, silk=silk, keep=keep, pause=pause))
    except AuditorError as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    demo()
