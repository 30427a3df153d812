"""Why a flow passes or not: the ends, the walk, the deciding rule, its policy, and the command to allow it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from c2c_auditor.audit.questions.explanation import explain, parse_flow
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.cli import cli
from c2c_auditor.errors import UsageError
from c2c_auditor.model.cell import CellFacts, Names
from c2c_auditor.netfilter.packet import Certainty
from support.mutations import with_rules
from support.recordings import CELLS, recording

SOURCE, DEST = "6b817f74-98d2-4602-a695-7fe5290ffb61", "20e39f68-f0ed-40db-8564-d432d5716f29"


def _inputs(facts: CellFacts | None = None) -> tuple[Inputs]:
    cell = recording("pair")
    return (Inputs.of(facts if facts is not None else cell.facts, cell.ruleset, None),)


@pytest.mark.parametrize(
    "name",
    [
        "source-app",
        "dev/source-app",
        "acme/dev/source-app",
        SOURCE,
        SOURCE[:8],
        "78e51061-7311-48a3-82ce-6f44",
        "78e51061",
        "10.255.1.4",
    ],
)
def test_an_end_is_found_by_each_of_its_names(name: str) -> None:
    """App, space, org, guid, handle, the beginning of either, address."""
    answer = explain(_inputs(), name, "dest-app", parse_flow("8080"))
    assert answer.source == '"source-app" (acme/dev) at 10.255.1.4'
    assert (answer.passes, answer.intended, str(answer.flow)) == (Certainty.YES, True, "tcp 8080")


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        ("nobody", "dest-app", 'It knows "dest-app"'),
        ("10.1.1.1", "10.1.1.2", "neither end runs on this cell"),
        ("cell", "dest-app", "what the cell itself sends is not judged"),
        ("10.255.9.9", "10.255.9.10", "neither end runs on this cell"),
        ("source-app", "10.255.1.4", "are the same container"),
    ],
)
def test_what_cannot_be_asked_says_why(source: str, destination: str, said: str) -> None:
    """With what to give instead."""
    with pytest.raises(UsageError, match=said):
        explain(_inputs(), source, destination)


def test_a_name_of_two_apps_lists_both() -> None:
    """With what tells them apart."""
    store = recording("pair").facts.store
    assert store is not None
    twins = tuple(
        evolve(container, names=Names(app="twin", space=f"space{n}", org="acme"))
        for n, container in enumerate(store.containers)
    )
    inputs = _inputs(evolve(recording("pair").facts, store=evolve(store, containers=twins)))
    with pytest.raises(UsageError, match=rf'"twin" \(acme/space0\) \[{DEST}\], "twin" \(acme/space1\) \[{SOURCE}\]'):
        explain(inputs, "twin", "10.255.2.7")
    assert explain(inputs, "space1/twin", "space0/twin").passes is Certainty.YES
    assert (
        explain(inputs, "space0/twin", "space1/twin").allow
        == "cf add-network-policy twin twin -s space1 -o acme --protocol tcp --port 8080"
    )


@pytest.mark.parametrize("text", ["", "http", "0", "65536", "80/icmp", "80/tcp/x", "-1"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    """With how to write one."""
    with pytest.raises(UsageError, match="8080/tcp"):
        parse_flow(text)


def test_a_flow_without_a_policy_says_what_would_allow_it() -> None:
    """And the rule that refuses it: the default deny."""
    answer = explain(_inputs(), "dest-app", "source-app", parse_flow("53/udp"))
    assert (answer.passes, answer.intended, answer.policies) == (Certainty.NO, False, ())
    assert answer.allow == "cf add-network-policy dest-app source-app --protocol udp --port 53"
    (walk,) = answer.walks
    assert [step.chain for step in walk.outcome.refused] == ["overlay--78e51061-7311-48a3-"]


def test_without_a_port_the_policys_is_asked() -> None:
    """The first one."""
    assert str(explain(_inputs(), "source-app", "dest-app").flow) == "tcp 8080"


def test_a_counterpart_elsewhere_is_explained_for_this_cells_half() -> None:
    """An address tells no mark.

    An app of a policy has its own, and an app elsewhere gets packets only with the right one.
    """
    unknown = explain(_inputs(), "10.255.9.9", "dest-app", parse_flow("8080"))
    assert (unknown.passes, unknown.walks[0].packet.mark, "without a mark" in unknown.half) == (Certainty.NO, 0, True)
    cell = recording("pair")
    assert cell.facts.store is not None
    here, there = cell.facts.store.containers
    alone = evolve(cell.facts, store=evolve(cell.facts.store, containers=(here,)))
    arriving = explain(_inputs(alone), SOURCE, "dest-app", parse_flow("8080"))
    assert (arriving.passes, arriving.walks[0].packet.mark, "with its mark" in arriving.half) == (
        Certainty.YES,
        1,
        True,
    )
    away = evolve(cell.facts, store=evolve(cell.facts.store, containers=(there,)))
    leaving = explain(_inputs(away), "source-app", DEST, parse_flow("8080"))
    assert (leaving.passes, leaving.walks[0].outcome.marks, "source's half" in leaving.half) == (
        Certainty.YES,
        frozenset({1}),
        True,
    )
    unmarked = with_rules(cell.ruleset, cell.policy_chain, cell.ruleset.chains("filter")[cell.policy_chain].rules[1:])
    assert explain((Inputs.of(away, unmarked, None),), "source-app", DEST, parse_flow("8080")).passes is Certainty.NO


def test_answers_that_do_not_come_back_are_no_connection() -> None:
    """The source's own chain lost the rule that lets them in."""
    cell = recording("pair")
    chain = "overlay--78e51061-7311-48a3-"
    rules = cell.ruleset.chains("filter")[chain].rules
    lost = with_rules(cell.ruleset, chain, (rules[0], *rules[2:]))
    answer = explain((Inputs.of(cell.facts, lost, None),), "source-app", "dest-app", parse_flow("8080"))
    assert [walk.outcome.passes for walk in answer.walks] == [Certainty.YES, Certainty.NO]
    assert answer.passes is Certainty.NO


def _run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "400"}).invoke(cli, arguments, standalone_mode=False)


@pytest.mark.parametrize(
    ("cell", "flow", "status"), [("pair", "8080/tcp", 0), ("pair", "99/udp", 0), ("pair-policy-disabled", "99/udp", 1)]
)
def test_the_exit_status_says_whether_it_is_as_the_policies_want(cell: str, flow: str, status: int) -> None:
    """0 as they want, be it yes or no; 1 otherwise."""
    assert _run("explain", "--bundle", str(CELLS / cell), "source-app", "dest-app", flow).return_value == status


def test_json_tells_what_the_text_tells(tmp_path: Path) -> None:
    """The same verdict and the same deciding rule; hostile names do no harm in either."""
    arguments = ("explain", "--bundle", str(CELLS / "pair"), "source-app", "dest-app", "8080/tcp")
    document = json.loads(_run(*arguments, "--format", "json").output)
    text = _run(*arguments).output
    decides = next(step for step in document["walks"][0]["steps"] if step["decides"])
    assert document["passes"] == "yes"
    assert "PASSES" in text
    assert f"{decides['chain']} {decides['position']}: {decides['rule']}  ← passes" in text
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for file in (CELLS / "pair").iterdir():
        (hostile / file.name).write_text(file.read_text().replace("dest-app", r"\\u001b[2Jdest"))
    assert "\x1b" not in _run("explain", "--bundle", str(hostile), "source-app", "10.255.2.7", "8080/tcp").output


def test_the_matrix_shows_all_or_what_differs() -> None:
    """Status 1 where anything does."""
    whole = _run("matrix", "--bundle", str(CELLS / "pair"))
    assert (whole.return_value, whole.output.count("tcp 8080, tcp 61001")) == (0, 4)
    assert "source" not in _run("matrix", "--differences", "--bundle", str(CELLS / "pair")).output
    open_ = _run("matrix", "--differences", "--bundle", str(CELLS / "pair-policy-disabled"))
    assert (
        open_.return_value,
        all(text in open_.output for text in ("although no policy allows it", "rule 1 of vpa--")),
    ) == (1, True)
