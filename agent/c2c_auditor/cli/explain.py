"""``c2c-auditor explain`` and ``c2c-auditor matrix``: what the rules do to traffic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import click
from rich.console import Console

from c2c_auditor.assembly.once import read_inputs, read_scene, unread
from c2c_auditor.audit.questions import explanation
from c2c_auditor.audit.questions import matrix as matrix_lines
from c2c_auditor.audit.questions.lookup import about
from c2c_auditor.audit.questions.pairs import mark_pairs
from c2c_auditor.audit.questions.shown_matrix import matrix_of_marks
from c2c_auditor.audit.scene import Scene
from c2c_auditor.cli.agents import Agents, Question, agent_options
from c2c_auditor.cli.asked import Asked, asked_options
from c2c_auditor.cli.options import output
from c2c_auditor.errors import UsageError
from c2c_auditor.export.explained import as_intended, explanation_document, print_explanation
from c2c_auditor.export.terminal import Page
from c2c_auditor.export.traffic import matrix_document, print_matrix


@click.command()
@click.argument("source")
@click.argument("destination")
@click.argument("flow", metavar="[PORT/PROTOCOL]", required=False)
@asked_options
@agent_options
@output
def explain(*, source: str, destination: str, flow: str | None, asked: Asked, agents: Agents | None, form: str) -> int:
    """Say whether SOURCE reaches DESTINATION, whether it should, and which rule decides.

    Both are an app's name or guid, a container's handle or an address; the destination also `cell`, the cell itself,
    and the source `outside`. Exit status: 0 the rules do what is intended, 1 they do not, 2 could not look.
    """
    piece = explanation.parse_flow(flow) if flow is not None else None
    if agents is not None:
        asked.nothing_beside("--agent")
        document = agents.explain(Question(source=source, destination=destination, flow=flow))
    else:
        with asked.readers() as readers:
            read = tuple(map(read_inputs, readers))
        cells = tuple(chain.from_iterable(one.cells for one in read))
        with _saying_what_is_unread(text for one in read for text in one.unread):
            answer = explanation.explain(about(cells, source, destination), source, destination, piece)
        document = explanation_document(answer)
    if form == "json":
        click.echo(json.dumps(document, indent=1))
    else:
        print_explanation(document, Page(Console()))
    return int(not as_intended(document))


@click.command()
@click.argument("source", required=False)
@click.argument("destination", required=False)
@click.option("--differences", is_flag=True, help="Only where rules and policies differ.")
@asked_options
@output
def matrix(*, source: str | None, destination: str | None, differences: bool, asked: Asked, form: str) -> int:
    """Show which source reaches which destination on which ports: what policies intend, and what the rules do.

    With SOURCE only its lines, with DESTINATION only those to it; `-` stands for any. Both as for `explain`. Exit
    status: 0 the rules do what the policies say, 1 they do not, 2 could not look.
    """
    wanted = tuple(None if text == "-" else text for text in (source, destination))
    with asked.readers() as readers:
        scenes = tuple(map(read_scene, readers))
    with _saying_what_is_unread(text for scene in scenes for text in unread(scene.reading)):
        found = _matrix(scenes, wanted, differences=differences)
    if form == "json":
        click.echo(json.dumps(matrix_document(found), indent=1))
    else:
        print_matrix(found, Page(Console()))
    return int(any(line.differs for line in found.lines))


@contextmanager
def _saying_what_is_unread(texts: Iterable[str]) -> Iterator[None]:
    """What could not be read may be why a question has no answer, so a refusal says it."""
    try:
        yield
    except UsageError as error:
        problems = "; ".join(texts)
        if not problems:
            raise
        raise UsageError(f"{error}. Not everything could be read: {problems}") from error


def _matrix(scenes: tuple[Scene, ...], wanted: tuple[str | None, ...], *, differences: bool) -> matrix_lines.Matrix:
    """The matrix of the rules' walks, or of listings that do not show enough for that the one of their marks."""
    first, *_ = scenes
    reached = tuple(chain.from_iterable(scene.reached for scene in scenes))
    judged = sum(len(scene.judged) for scene in scenes)
    if first.reading.listings and len(reached) < judged:
        reading = first.reading
        pairs = mark_pairs(reading.rulesets, reading.facts)
        if pairs:
            found = matrix_of_marks(pairs, first.inputs.people, wanted, differences=differences)
            if found.lines or not any(wanted) or matrix_of_marks(pairs, first.inputs.people, wanted).lines:
                return found
            source, destination = wanted
            raise UsageError(f"no rule is for {source or 'any source'} and {destination or 'any destination'}")
    if not reached:
        message = (
            "reachability cannot be worked out: it needs the rules, the container metadata and the policies (see "
            "c2c-auditor audit)"
        )
        raise UsageError(message)
    only = matrix_lines.Only.of((inputs for inputs, _ in reached), *wanted)
    return matrix_lines.matrix(reached, differences=differences, only=only)
