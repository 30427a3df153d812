"""``c2c-auditor demo``: the main job on a cell of its own."""

from __future__ import annotations

import click

from c2c_auditor.demo.tour import run_demo


@click.command()
@click.option(
    "--backend",
    type=click.Choice(["nft", "legacy"]),
    default="nft",
    show_default=True,
    help="Which backend of iptables the demo's rules go to.",
)
@click.option("--keep", is_flag=True, help="Leave the cell and the agent running until Ctrl-C.")
@click.option("--pause", type=click.FloatRange(0, 600), default=2.0, show_default=True, help="Seconds between one fault and the next.")
def demo(*, backend: str, keep: bool, pause: float) -> int:
    """Make a small cell in network namespaces, audit it, break it, and watch each fault being found and mended.

    Needs root for real kernel rules; without, a recorded cell is replayed. Exit status 0 only if every fault was found and no false one was.
    """
    return run_demo(backend=backend, keep=keep, pause=pause)
