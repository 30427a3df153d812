"""Questions to two cells at once, and to texts alone: one path, from bundles and from what people paste."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from c2c_auditor.assembly.once import read_inputs
from c2c_auditor.assembly.recorded import BundleReader, FilesReader
from c2c_auditor.audit.questions.explanation import Explanation, explain, parse_flow
from c2c_auditor.audit.questions.intended import Basis
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.cli import cli
from c2c_auditor.errors import UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Container
from c2c_auditor.netfilter.packet import Certainty
from c2c_auditor.sources.rules.text import read_pasted
from support.damages import damaged
from support.mutations import with_rules
from support.recordings import CELLS, SMALL_CELLS, Recording, recording

SOURCE, DEST = "6b817f74-98d2-4602-a695-7fe5290ffb61", "20e39f68-f0ed-40db-8564-d432d5716f29"
PAIR = ("pair-source-cell", "pair-destination-cell")
FORMS = ("iptables-save.txt", "iptables-L.txt", "iptables-L-n-v.txt")
_SLIP = {
    "--dport 61001 -m mark --mark 0x1 ": "--dport 61001 -m mark --mark 0x4 ",
    "dpt:61001 mark match 0x1 ": "dpt:61001 mark match 0x4 ",
}


def _run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "400"}).invoke(cli, arguments, standalone_mode=False)


def _document(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = _run(*arguments, "--format", "json")
    assert done.exception is None, done.exception
    return done.return_value, json.loads(done.output)


def _bundles() -> list[str]:
    return [argument for name in PAIR for argument in ("--bundle", str(CELLS / name))]


def _texts(folder: Path, form: str, *, slip: bool = False, forms: int = 2) -> list[str]:
    """The options for the two cells' texts of one form."""
    options = []
    for name in PAIR[:forms]:
        text = (CELLS / name / form).read_text()
        for right, wrong in _SLIP.items() if slip else ():
            text = text.replace(right, wrong)
        path = folder / f"{name}.txt"
        path.write_text(text)
        options += ["--rules", str(path)]
    return options


def _path(document: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """Of each walk the cell, the packet, what became of it, and its mark."""
    return [(walk["cell"], walk["title"], walk["passes"], walk["mark"]) for walk in document["walks"]]


ONE_PATH = [
    ("the source's cell", "the first packet", "yes", 0),
    ("the destination's cell", "the first packet", "yes", 1),
    ("the destination's cell", "the answer", "yes", 0),
    ("the source's cell", "the answer", "yes", 0),
]


@pytest.mark.parametrize("order", [1, -1])
def test_two_bundles_are_one_path(order: int) -> None:
    """In whichever order they are given; the mark of the source's cell arrives at the destination's."""
    bundles = [argument for name in PAIR[::order] for argument in ("--bundle", str(CELLS / name))]
    status, document = _document("explain", *bundles, "source-app", "dest-app", "8080/tcp")
    assert (status, document["passes"], document["intended"], document["half"]) == (0, "yes", True, "")
    assert _path(document) == ONE_PATH
    decides = [step["rule"] for walk in document["walks"][:2] for step in walk["steps"] if step["decides"]]
    assert ["silk-vtep" in rule for rule in decides] == [True, False]
    assert "--dport 8080" in decides[1]


@pytest.mark.parametrize("form", FORMS)
def test_two_texts_are_the_same_path(tmp_path: Path, form: str) -> None:
    """Without metadata and policies: silk's rules and comments name apps and addresses."""
    status, document = _document("explain", *_texts(tmp_path, form), SOURCE[:8], DEST[:8], "8080/tcp")
    assert (status, document["passes"], document["intended"], document["basis"]) == (0, "yes", True, "comment")
    assert _path(document) == ONE_PATH
    assert document["source"] == f"app {SOURCE} at 10.255.1.4"


@pytest.mark.parametrize("form", FORMS)
def test_the_slip_between_two_cells_is_the_nearest_miss(tmp_path: Path, form: str) -> None:
    """In every form of the texts; the exit status says that something is wrong."""
    texts = _texts(tmp_path, form, slip=True)
    status, document = _document("explain", *texts, SOURCE, DEST, "61001/tcp")
    assert (status, document["passes"], document["intended"]) == (1, "no", True)
    nearest, *others = document["misses"]
    assert (nearest["asks"], nearest["has"]) == ("mark 0x4", "the packet has mark 0x1")
    assert nearest["kind"] == "accept_changed"
    assert [(other["asks"], other["kind"]) for other in others] == [("tcp 8080", None)]
    lines = _run("explain", *texts, SOURCE, DEST, "61001/tcp").output.splitlines()
    assert "asks for mark 0x4, the packet has mark 0x1: accept_changed" in lines[2]


@pytest.mark.parametrize("form", FORMS)
def test_one_of_two_texts_is_its_half(tmp_path: Path, form: str) -> None:
    """The source's cell alone: what it sends, and with which mark."""
    texts = _texts(tmp_path, form, forms=1)
    status, document = _document("explain", *texts, SOURCE, "10.255.2.7", "8080/tcp")
    assert (status, document["passes"], document["intended"]) == (0, "yes", None)
    assert "the source's half" in document["half"]
    assert document["walks"][0]["marks_after"] == [1]


def test_a_source_whose_mark_is_gone_reaches_nobody(tmp_path: Path) -> None:
    """On its own cell it still leaves; that no other cell takes it is said."""
    texts = _texts(tmp_path, "iptables-save.txt", forms=1)
    path = Path(texts[1])
    path.write_text(re.sub(r".*-j MARK --set-xmark 0x1/.*\n", "", path.read_text()))
    _, document = _document("explain", *texts, "10.255.1.4", "10.255.2.7", "8080/tcp")
    assert document["passes"] == "no"
    assert any("leave without the mark" in note for note in document["notes"])


def test_metadata_and_policies_belong_to_the_cells_that_have_them(tmp_path: Path) -> None:
    """One file for both listings: each container is its own cell's, and nothing is missing on the other."""
    stores = [json.loads((CELLS / name / "store.json").read_text()) for name in PAIR]
    store = tmp_path / "store.json"
    store.write_text(json.dumps(stores[0] | stores[1]))
    facts = ["--store", str(store), "--policies", str(CELLS / PAIR[0] / "policies.json")]
    texts = _texts(tmp_path, "iptables-save.txt")
    assert _run("audit", *texts, *facts).output.startswith("CLEAN")
    status, document = _document("explain", *texts, *facts, "source-app", "dest-app", "61001/tcp")
    assert (status, document["passes"], document["basis"]) == (0, "yes", "policy")
    assert _path(document) == ONE_PATH
    status, found = _document("matrix", *texts, *facts)
    assert status == 0
    assert {line["actual"] for line in found["lines"]} == {"tcp 8080, tcp 61001"}
    slipped = _texts(tmp_path, "iptables-save.txt", slip=True)
    assert _document("matrix", *slipped, *facts)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bundle", "a", "--rules", "b"], "leave out all other options"),
        (["--bundle", "a", "--store", "b"], "leave out all other options"),
        (["--store", "b"], "belong to --rules"),
        (["--rules", "a", "--config", "b"], "--config is for this cell"),
    ],
)
@pytest.mark.parametrize("command", [("explain", "a", "b"), ("matrix",)])
def test_options_that_do_not_go_together_are_refused(command: tuple[str, ...], arguments: list[str], said: str) -> None:
    """With what to leave out."""
    caught = _run(*command, *arguments).exception
    assert isinstance(caught, UsageError)
    assert said in str(caught)


def test_what_a_part_does_not_show_is_not_answered(tmp_path: Path) -> None:
    """The tutorial's rules say nothing about egress, or about the cell itself."""
    rules = tmp_path / "rules"
    rules.write_text((CELLS / "article" / "iptables-L.source-cell.txt").read_text())
    for destination in ("198.51.100.7", "169.254.0.2"):
        caught = _run("explain", "--rules", str(rules), SOURCE, destination).exception
        assert isinstance(caught, UsageError)
        assert "iptables-save" in str(caught)
    caught = _run("explain", "--rules", str(rules), "nobody", "nothing").exception
    assert SOURCE in str(caught)


def _answer(
    source: str, destination: str, flow: str, *, cell: Recording | None = None, ruleset: r.Ruleset | None = None
) -> Explanation:
    cell = cell if cell is not None else recording("pair-source-cell")
    inputs = Inputs.of(cell.facts, ruleset if ruleset is not None else cell.ruleset, None)
    return explain((inputs,), source, destination, parse_flow(flow))


GROUP, SERVICE, PORT = Basis.SECURITY_GROUP, Basis.SERVICE, Basis.MAPPED_PORT
ANSWERS = {
    ("source-app", "11.1.1.1", "443/tcp"): (Certainty.YES, True, GROUP),
    ("source-app", "10.1.1.1", "443/tcp"): (Certainty.NO, False, GROUP),
    ("source-app", "169.254.0.2", "53/udp"): (Certainty.YES, True, SERVICE),
    ("source-app", "cell", "53/udp"): (Certainty.YES, True, SERVICE),
    ("source-app", "cell", "22/tcp"): (Certainty.NO, False, SERVICE),
    ("source-app", "10.0.0.101", "22/tcp"): (Certainty.NO, False, SERVICE),
    ("outside", "source-app", "8080/tcp"): (Certainty.YES, True, PORT),
    ("198.51.100.7", "10.255.1.4", "2222/tcp"): (Certainty.YES, True, PORT),
    ("outside", "source-app", "8081/tcp"): (Certainty.NO, False, PORT),
    ("outside", "cell", "61016/tcp"): (Certainty.YES, True, PORT),
    ("outside", "10.0.0.101", "22/tcp"): (Certainty.YES, None, PORT),
}


@pytest.mark.parametrize("asked", ANSWERS)
def test_egress_the_cell_and_mapped_ports_are_answered(asked: tuple[str, str, str]) -> None:
    """Whether they pass, and what says whether they should."""
    answer = _answer(*asked)
    assert (answer.passes, answer.intended, answer.basis) == ANSWERS[asked]
    assert (answer.half, answer.allow) == ("", "")


def test_addresses_that_are_translated_are_said() -> None:
    """With the address of the cell on the way out; to the container on the way in."""
    does = [walk.does for walk in _answer("source-app", "11.1.1.1", "443/tcp").walks if walk.does]
    assert does == ["the source becomes the cell's address"]
    does = [walk.does for walk in _answer("outside", "cell", "61017/tcp").walks if walk.does]
    assert does == ["the destination becomes 10.255.1.4:2222"]
    cell = recording("pair-source-cell")
    bare = with_rules(cell.ruleset, "POSTROUTING", (), "nat")
    (note,) = _answer("source-app", "11.1.1.1", "443/tcp", ruleset=bare).notes
    assert "they leave with 10.255.1.4" in note


def test_a_mapped_port_without_its_mark_has_the_deny_as_its_end() -> None:
    """And the rule that would have taken it as the nearest miss."""
    cell = recording("pair-source-cell")
    name = "netin--78e51061-7311-48a3-82"
    lost = with_rules(cell.ruleset, name, (), "mangle")
    answer = _answer("outside", "source-app", "8080/tcp", ruleset=lost)
    assert (answer.passes, answer.intended) == (Certainty.NO, True)
    assert [(miss.asks, miss.has) for miss in answer.misses] == [("mark 0xffff0000", "the packet has mark 0x0")]


def test_rules_alone_tell_who_runs_there() -> None:
    """Every container with chains, its app if a comment names it, its ports if nat maps them."""
    ruleset = read_pasted((CELLS / "pair-source-cell" / "iptables-save.txt").read_text(), where="x")
    answer = explain((Inputs.of(CellFacts(), ruleset, None),), SOURCE, "11.1.1.1", parse_flow("443/tcp"))
    assert (answer.passes, answer.intended) == (Certainty.YES, None)
    bare = recording("bare-containers")
    known = bare.facts.store
    assert known is not None
    inputs = Inputs.of(CellFacts(), bare.ruleset, None)
    for container in known.containers:
        answer = explain((inputs,), str(container.address), "198.51.100.7", parse_flow("443/tcp"))
        assert f"at {container.address}" in answer.source


def test_more_than_one_instance_on_each_cell_are_all_answered() -> None:
    """The worst of them with its walks, the others as sentences."""
    cells = [recording(name) for name in PAIR]
    store = cells[1].facts.store
    assert store is not None
    (one,) = store.containers
    other = evolve(one, handle="another", address=_next(one))
    facts = evolve(cells[1].facts, store=evolve(store, containers=(one, other)))
    both = (Inputs.of(cells[0].facts, cells[0].ruleset, None), Inputs.of(facts, cells[1].ruleset, None))
    answer = explain(both, "source-app", "dest-app", parse_flow("8080/tcp"))
    # The other has no chain of its own: nothing stops a packet to it, and nothing accepts one.
    assert len(answer.others) == 1
    assert "10.255.2" in answer.others[0]


def _next(container: Container) -> Any:  # noqa: ANN401 - an address of the container's own class
    return type(container.address)(int(container.address) + 1)


def test_only_the_lines_that_are_asked_for() -> None:
    """By source, by destination, by both; a name that no end has is refused."""
    fleet = ("matrix", "--bundle", str(CELLS / "fleet-12-nft"))
    _, whole = _document(*fleet)
    ends = [(line["source"], line["destination"]) for line in whole["lines"]]
    name = re.match(r'"([^"]+)"', ends[0][1])
    assert name is not None
    _, to = _document(*fleet, "-", name[1])
    assert [(line["source"], line["destination"]) for line in to["lines"]] == [
        end for end in ends if end[1].startswith(f'"{name[1]}"')
    ]
    address = ends[0][1].rpartition(" ")[2]
    _, at = _document(*fleet, "-", address)
    assert {line["destination"] for line in at["lines"]} == {ends[0][1]}
    _, of = _document(*fleet, name[1])
    assert {line["source"].partition(" at ")[0] for line in of["lines"]} <= {
        end[0].partition(" at ")[0] for end in ends if end[0].startswith(f'"{name[1]}"')
    }
    assert isinstance(_run(*fleet, "nobody").exception, UsageError)


def test_the_matrix_of_two_bundles_has_the_lines_of_both() -> None:
    """What the source's cell sends, and what the destination's takes."""
    status, document = _document("matrix", *_bundles())
    ends = {(line["source"].partition(" (")[0], line["destination"].rpartition(") ")[2]) for line in document["lines"]}
    assert status == 0
    assert ends == {('"source-app"', f"app {DEST} on other cells"), (f"app {SOURCE} on other cells", "at 10.255.2.7")}


def test_the_matrix_of_marks_says_what_it_rests_on(tmp_path: Path) -> None:
    """Of the tutorial's listings, and by the beginning of a guid."""
    article = [
        argument
        for side in ("destination", "source")
        for argument in ("--rules", str(CELLS / "article" / f"iptables-L.{side}-cell.txt"))
    ]
    status, document = _document("matrix", *article)
    (line,) = document["lines"]
    assert (status, line["intended"], line["actual"]) == (1, "tcp 61001, tcp 8080", "tcp 8080")
    assert "asks for 0x4" in line["differs"][0]
    assert "--store FILE" in document["notes"][0]
    assert isinstance(_run("matrix", *article, DEST[:8]).exception, UsageError)
    assert len(_document("matrix", *article, SOURCE[:8], "10.255.2.7")[1]["lines"]) == 1
    whole = _texts(tmp_path, "iptables-save.txt")
    assert (_document("matrix", *whole)[0], _document("matrix", *whole, "--differences")[1]["lines"]) == (0, [])


def test_what_could_not_be_read_is_said_where_an_end_is_not_known(tmp_path: Path) -> None:
    """Off a cell nobody is known, and that is not the reason."""
    cell = tmp_path / "cell"
    shutil.copytree(CELLS / PAIR[0], cell)
    (cell / "store.json").write_text("{")
    for command in (("explain", "source-app", "dest-app"), ("matrix",)):
        caught = _run(*command, "--bundle", str(cell)).exception
        assert isinstance(caught, UsageError)
        assert "store.json" in str(caught)


@pytest.mark.parametrize("name", [*SMALL_CELLS, "fleet-12-nft"])
def test_rules_alone_answer_as_they_do_with_everything_known(name: str) -> None:
    """In every form, for containers of the cell, for other cells, the outside and the cell itself."""
    (known,) = read_inputs(BundleReader(directory=CELLS / name)).cells
    store = known[0].facts.store
    assert store is not None
    addresses = [str(container.address) for container in store.containers[:3]]
    ends = [*addresses, "10.255.99.99", "11.1.1.1", "10.1.1.1", "169.254.0.2"]
    for form in FORMS:
        ((alone,),) = read_inputs(FilesReader(rules=(CELLS / name / form,))).cells
        for source in addresses:
            for destination in ends:
                for flow in map(parse_flow, ("8080/tcp", "53/udp")) if source != destination else ():
                    verdicts = [explain((one,), source, destination, flow).passes for one in (known[0], alone)]
                    assert verdicts[0] is verdicts[1], (form, source, destination, flow)


_WORDS = {"passes": Certainty.YES, "does not pass": Certainty.NO, "may or may not pass": Certainty.MAY}


def test_the_verdicts_for_many_pairs_are_those_of_walks() -> None:
    """On one cell and between two, sound and damaged: the index and the walk say the same."""
    chance = random.Random(11)
    fleet = recording("fleet-12-nft")
    store = fleet.facts.store
    assert store is not None
    here, there = store.containers[::2], store.containers[1::2]
    halves = [evolve(fleet.facts, store=evolve(store, containers=some)) for some in (here, there)]
    seen: set[Certainty] = set()
    for round_ in range(8):
        ruleset = fleet.ruleset if round_ == 0 else damaged(fleet.ruleset, chance)
        whole = (Inputs.of(fleet.facts, ruleset, None),)
        split = tuple(Inputs.of(facts, ruleset, None) for facts in halves)
        apps = sorted({container.app for container in store.containers if container.app})
        for cells in (whole, split):
            source, destination = chance.sample(apps, 2)
            flow = parse_flow(chance.choice(("8080", "61001", "7000", "53/udp")))
            for other in explain(cells, source, destination, flow).others:
                ends, _, words = other.rpartition(": ")
                one, another = (end.rpartition(" ")[2] for end in ends.split(" → "))
                assert explain(cells, one, another, flow).passes is _WORDS[words], (round_, other)
                seen.add(_WORDS[words])
    assert {Certainty.YES, Certainty.NO} <= seen
