"""``c2c-auditor watch``: findings and changes to the rules as they happen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
from attrs import evolve
from rich.console import Console

from c2c_auditor import __version__
from c2c_auditor.assembly.watched import look_of_agent, look_of_report
from c2c_auditor.cli.options import FILE
from c2c_auditor.cli.wiring import load_settings, open_rules, policy_pace
from c2c_auditor.config import Config
from c2c_auditor.cycle import Cycle
from c2c_auditor.daemon import Hooks, Loop
from c2c_auditor.errors import SourceError
from c2c_auditor.export.terminal import Page
from c2c_auditor.export.watching import Look, Printer, Watch
from c2c_auditor.model.report import Report, Result
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.policy_fetcher import PolicyFetcher
from c2c_auditor.sources.facts.policy_thread import PolicyThread

_EVERY_SECONDS = 1.0
Show = Callable[[Look], None]


@click.command()
@click.option("--config", "config_file", type=FILE, help="The agent's own configuration, which names its socket.")
@click.option("--socket", type=FILE, help="The agent's socket (server.socket).")
@click.option("--alone", is_flag=True, help="Look at the cell without the agent, also where one runs.")
@click.option(
    "-o",
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    help="Text for people, or a line of JSON for each event; text in a terminal and JSON elsewhere, unless told.",
)
def watch(*, config_file: Path | None, socket: Path | None, alone: bool, form: str | None) -> int:
    """Show findings (pending, confirmed, resolved) and changes to the rules as they happen, until Ctrl-C.

    It asks the agent that runs on this machine every second. Where no socket is known, or nobody answers there, it
    audits by itself, which takes root. First come all findings that there are.
    """
    config = load_settings(config_file)
    path = socket if socket is not None else config.server.socket
    show = _shown(form)
    if path is not None and not alone:
        try:
            show(look_of_agent(path))
        except SourceError as error:
            click.echo(f"The agent cannot be asked: {error}. This command looks by itself.", err=True)
        else:
            return _follow(path, show)
    return _look(config, show)


def _shown(form: str | None) -> Show:
    """What writes all that a look has news of."""
    console = Console()
    happened, printer = Watch(), Printer(Page(console))
    text = console.is_terminal if form is None else form == "text"

    def show(look: Look) -> None:
        for happening in happened.look(look):
            if text:
                printer.print(happening)
            else:
                click.echo(json.dumps(happening.document()))

    return show


def _follow(socket: Path, show: Show) -> int:
    """Ask the agent again and again. While it cannot be asked, nothing is known: that is shown once."""
    last = Look(time=0.0, result=Result.BLIND)
    try:
        while True:
            time.sleep(_EVERY_SECONDS)
            try:
                last = look_of_agent(socket)
            except SourceError as error:
                show(_blind(last, error))
            else:
                show(last)
    except KeyboardInterrupt:
        return 0


def _blind(last: Look, error: SourceError) -> Look:
    """What was known, and that nobody can tell whether it still holds."""
    return Look(
        time=time.time(),
        result=Result.BLIND,
        findings=last.findings,
        unknown=last.unknown,
        problems=(f"agent: {error.where}: {error.problem}",),
        changes=last.changes,
    )


def _look(config: Config, show: Show) -> int:
    """Audit by the clock and at each change, as the agent does, until a signal."""
    pace = evolve(policy_pace(config), start=0.0)  # one command, not a thousand agents that start together
    with PolicyThread(PolicyFetcher(Clocks()), pace) as policies:
        rules = open_rules(config, lasting=True)
        try:
            cell = CellReader(config, policies=policies)
            cycle = Cycle(rules=rules.source, facts=cell, version=__version__, netlink=rules.status)

            def publish(report: Report) -> None:
                policies.heed(report)
                show(look_of_report(report))

            loop = Loop(
                hooks=Hooks(audit=cycle.run, publish=publish, reload=lambda: None),
                interval=config.interval,
                changes=tuple(source.fileno() for source in (rules.netlink, policies) if source is not None),
                alive=None,
            )
            return loop.run()
        finally:
            rules.close()
