"""``c2c-auditor status``: what the agent that runs on this machine says, on one screen."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from c2c_auditor.cli.options import FILE, output
from c2c_auditor.config import load_config
from c2c_auditor.decoding import DecodeError, parse_json
from c2c_auditor.errors import UsageError
from c2c_auditor.export.terminal import print_lines
from c2c_auditor.sources.running_agent import ask


@click.command()
@click.option("--config", "config_file", type=FILE, help="The agent's own configuration, which names its socket.")
@click.option("--socket", type=FILE, help="The agent's socket (server.socket).")
@output
def status(*, config_file: Path | None, socket: Path | None, form: str) -> int:
    """Ask the agent that runs on this machine: verdict, findings since when and their mend, sources and their age.

    It reads no rules and needs no certificate, but the right to open the agent's socket: root, or the agent's user.
    Exit status: 0 no outage and no breach, 1 outage or breach, 2 could not look.
    """
    path = socket
    if path is None and config_file is not None:
        path = load_config(config_file).server.socket
    if path is None:
        message = (
            "no socket is known: give --config with a file that sets server.socket, or --socket. Without an agent, "
            "c2c-auditor audit looks itself"
        )
        raise UsageError(message)
    report = _parsed(ask(path, "/api/v1/report"), path)
    if form == "json":
        click.echo(json.dumps(report, indent=1))
    else:
        print_lines(ask(path, "/status").splitlines(), Console())
    return _exit_status(report)


def _parsed(text: str, path: Path) -> dict[str, object]:
    try:
        report = parse_json(text)
    except DecodeError as error:
        message = f"{path}: what answers there is no c2c-auditor: {error}"
        raise UsageError(message) from error
    if not isinstance(report, dict):
        message = f"{path}: what answers there is no c2c-auditor"
        raise UsageError(message)
    return report


def _exit_status(report: dict[str, object]) -> int:
    findings = report.get("findings")
    effects = {one.get("effect") for one in findings if isinstance(one, dict)} if isinstance(findings, list) else set()
    if effects & {"breach", "outage"}:
        return 1
    return 2 if report.get("result") not in ("clean", "findings", "unsettled") else 0
