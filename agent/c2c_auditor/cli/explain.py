"""``c2c-auditor explain`` and ``c2c-auditor matrix``: what the rules do to traffic."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from c2c_auditor.assembly.once import read_inputs, read_scene
from c2c_auditor.audit.questions import explanation, lookup
from c2c_auditor.audit.questions import matrix as matrix_lines
from c2c_auditor.cli.wiring import cell_reader
from c2c_auditor.errors import UsageError
from c2c_auditor.export.explained import explanation_document, print_explanation
from c2c_auditor.export.traffic import matrix_document, print_matrix

_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--bundle",
        type=click.Path(path_type=Path, file_okay=False),
        help="Read a directory made by `c2c-auditor capture` instead of this cell.",
    ),
    click.option("--config", "config_file", type=_FILE, help="The agent's own configuration."),
    click.option("--vpa-config", type=_FILE, help="vxlan-policy-agent.json, where it is not at its usual path."),
    click.option("--cni-config", type=_FILE, help="cni-wrapper-plugin.conflist, where it is not at its usual path."),
    click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True),
)


def _cell_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which cell the question is about."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("source")
@click.argument("destination")
@click.argument("flow", metavar="[PORT/PROTOCOL]", required=False)
@_cell_options
def explain(
    *,
    source: str,
    destination: str,
    flow: str | None,
    bundle: Path | None,
    config_file: Path | None,
    vpa_config: Path | None,
    cni_config: Path | None,
    form: str,
) -> int:
    """Say whether SOURCE reaches DESTINATION, whether it should, and which rule decides.

    Both are an app's name or guid, a container's handle or an address. Exit status: 0 the rules do what the policies
    say, 1 they do not, 2 could not look.
    """
    with cell_reader(bundle, config_file, vpa_config=vpa_config, cni_config=cni_config) as reader:
        inputs = (lookup.about(read_inputs(reader), source, destination),)
    piece = explanation.parse_flow(flow) if flow is not None else None
    answer = explanation.explain(inputs, source, destination, piece)
    if form == "json":
        click.echo(json.dumps(explanation_document(answer), indent=1))
    else:
        print_explanation(explanation_document(answer), Console())
    return int(not answer.as_intended)


@click.command()
@click.option("--differences", is_flag=True, help="Only where rules and policies differ.")
@_cell_options
def matrix(
    *,
    differences: bool,
    bundle: Path | None,
    config_file: Path | None,
    vpa_config: Path | None,
    cni_config: Path | None,
    form: str,
) -> int:
    """Show which source reaches which destination on which ports: what policies intend, and what the rules do.

    Exit status: 0 the rules do what the policies say, 1 they do not, 2 could not look.
    """
    with cell_reader(bundle, config_file, vpa_config=vpa_config, cni_config=cni_config) as reader:
        scene = read_scene(reader)
    if scene.judgement.reach is None:
        message = (
            "reachability cannot be worked out: it needs the rules, the container metadata and the policies (see "
            "c2c-auditor audit)"
        )
        raise UsageError(message)
    found = matrix_lines.matrix(scene.reached, differences=differences)
    if form == "json":
        click.echo(json.dumps(matrix_document(found), indent=1))
    else:
        print_matrix(found, Console())
    return int(any(line.differs for line in found.lines))
