"""``c2c-auditor capture``: writes everything that an audit reads into a directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from c2c_auditor.cli.options import FILE, output
from c2c_auditor.cli.wiring import live_reader, load_settings
from c2c_auditor.config import BACKENDS
from c2c_auditor.errors import SourceError
from c2c_auditor.model.report import Problem
from c2c_auditor.sources.facts.known import problem_of
from c2c_auditor.sources.recordings.bundle import CHANGES, FILE_OF, bundle_files
from c2c_auditor.sources.recordings.redact import redacted
from c2c_auditor.sources.recordings.writing import write_bundle
from c2c_auditor.sources.running_agent import ask


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--config", "config_file", type=FILE, help="The agent's own configuration.")
@click.option("--vpa-config", type=FILE, help="vxlan-policy-agent.json, where it is not at its usual path.")
@click.option("--cni-config", type=FILE, help="cni-wrapper-plugin.conflist, where it is not at its usual path.")
@click.option("--backend", type=click.Choice(BACKENDS), help="Which backend of iptables to read.")
@click.option(
    "--redact",
    is_flag=True,
    help="Replace guids, handles and names by made-up ones, the same in all files; addresses stay.",
)
@click.option("--redact-addresses", is_flag=True, help="The same, and replace addresses too.")
@output
def capture(
    *,
    directory: Path,
    config_file: Path | None,
    vpa_config: Path | None,
    cni_config: Path | None,
    backend: str | None,
    redact: bool,
    redact_addresses: bool,
    form: str,
) -> int:
    """Write all that an audit of this cell reads to DIRECTORY, for `audit --bundle` elsewhere.

    Certificates and keys are never part of it. A source that cannot be read is left out; one that cannot be parsed is
    included unchanged; cell.json says why. Exit status 0 if everything could be read and parsed, otherwise 2.
    """
    config = load_settings(config_file, vpa_config=vpa_config, cni_config=cni_config, backend=backend)
    texts: dict[str, str] = {}
    with live_reader(config, texts.__setitem__) as reader:
        reading = reader.read()
    problems = [status.problem for status in reading.sources if status.problem is not None]
    if config.server.socket is not None:
        try:
            texts[CHANGES] = ask(config.server.socket, "/api/v1/changes")
        except SourceError as error:
            problems.append(problem_of(error))
    files = bundle_files(reading, texts, ingress_tag=config.ingress_tag)
    write_bundle(directory, redacted(files, addresses=redact_addresses) if redact or redact_addresses else files)
    if form == "json":
        click.echo(json.dumps({"directory": str(directory), "files": sorted(files), "problems": _listed(problems)}))
        return 2 if problems else 0
    for problem in problems:
        where = "in the bundle as it is" if FILE_OF.get(problem.source) in files else "not in the bundle"
        click.echo(f"{where}: {problem.where}: {problem.problem} ({problem.remedy})", err=True)
    click.echo(f"{directory}: {len(files)} files")
    return 2 if problems else 0


def _listed(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [
        {"source": problem.source, "where": problem.where, "problem": problem.problem, "remedy": problem.remedy}
        for problem in problems
    ]
