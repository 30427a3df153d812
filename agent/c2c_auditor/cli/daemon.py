"""``c2c-auditor daemon``: forks the listening process, and runs the auditing one."""

from __future__ import annotations

import linecache
from pathlib import Path

import click

from c2c_auditor.config import load_config
from c2c_auditor.privileges import keep_no_free_memory
from c2c_auditor.server import Answers, ServerProcess


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The agent's configuration (JSON).",
)
def daemon(*, config_file: Path) -> int:
    """Audit continuously; serve metrics, health, readiness and reports; log confirmed and resolved findings.

    SIGTERM stops it within a second, SIGHUP makes it read configuration and certificates again.
    """
    keep_no_free_memory()
    config = load_config(config_file)
    answers = Answers()
    linecache.clearcache()  # attrs keeps each method that it generates there as text, for debuggers: 1 MiB
    # Forks, so it comes before every thread; and before the import of what audits, which the child has no use for.
    server = ServerProcess(config.server, answers.answer)
    from c2c_auditor.cli.auditing import audit_continuously  # noqa: PLC0415

    linecache.clearcache()
    with server:
        return audit_continuously(config_file, config, server, answers)
