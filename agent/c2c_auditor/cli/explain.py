"""``c2c-auditor explain`` and ``c2c-auditor matrix``: what the rules do to traffic."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from c2c_auditor.audit.questions.explanation import explain as explained
from c2c_auditor.audit.questions.explanation import parse_flow
from c2c_auditor.audit.questions.matrix import matrix as lined
from c2c_auditor.cli.scene import read_reachability, read_scene, scene_options
from c2c_auditor.export.traffic import explanation_document, matrix_document, print_explanation, print_matrix
from c2c_auditor.netfilter.packet import Certainty


@click.command()
@click.argument("source")
@click.argument("destination")
@click.argument("flow", metavar="[PORT/PROTOCOL]", required=False)
@scene_options
def explain(
    *,
    source: str,
    destination: str,
    flow: str | None,
    bundle: Path | None,
    config_file: Path | None,
    vpa_config: Path | None,
    form: str,
) -> int:
    """Say whether SOURCE reaches DESTINATION, whether it should, and which rule decides.

    Both are an app's name or guid, a container's handle or an address. Exit status: 0 as the policies want, 1 not so, 2
    could not look.
    """
    inputs = read_scene(bundle, config_file, vpa_config)
    answer = explained(inputs, source, destination, parse_flow(flow) if flow is not None else None)
    if form == "json":
        click.echo(json.dumps(explanation_document(answer), indent=1))
    else:
        print_explanation(answer, Console())
    return int(
        answer.intended is not None and answer.passes is not (Certainty.YES if answer.intended else Certainty.NO)
    )


@click.command()
@click.option("--differences", is_flag=True, help="Only where rules and policies differ.")
@scene_options
def matrix(
    *, differences: bool, bundle: Path | None, config_file: Path | None, vpa_config: Path | None, form: str
) -> int:
    """Who reaches whom on which ports, intended beside actual.

    Exit status: 0 as the policies want, 1 not so, 2 could not look.
    """
    inputs = read_scene(bundle, config_file, vpa_config)
    told = lined(inputs, read_reachability(inputs), differences=differences)
    if form == "json":
        click.echo(json.dumps(matrix_document(told), indent=1))
    else:
        print_matrix(told, Console())
    return int(any(line.differs for line in told.lines))
