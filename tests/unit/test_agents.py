"""Two running agents asked about one path: the answer is the one that both cells' bundles give."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from c2c_auditor.audit.questions.explanation import explain, parse_flow
from c2c_auditor.audit.questions.lookup import about
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.cli import cli
from c2c_auditor.config import ServerSettings, TlsSettings
from c2c_auditor.errors import SourceError, UsageError
from c2c_auditor.export.explained import explanation_document
from c2c_auditor.model.reading import Reading
from c2c_auditor.server import Answers, ServerProcess
from c2c_auditor.server.answers import answering
from c2c_auditor.sources.facts.agent_api import AgentApi
from support.damages import damaged
from support.recordings import recording

PAIR = ("pair-source-cell", "pair-destination-cell")
FLOWS = ("8080/tcp", "61001/tcp", "2222/tcp", "53/udp")


def _scene(name: str, chance: random.Random | None = None) -> Scene:
    cell = recording(name)
    ruleset = damaged(cell.ruleset, chance) if chance is not None else cell.ruleset
    return judge_cell(Reading(facts=cell.facts, rulesets=(ruleset,)))


class Agents:
    """Two agents that answer for the recorded pair, each with the scene that it is given."""

    def __init__(self, stack: ExitStack, settings: ServerSettings) -> None:
        self.answers = (Answers(), Answers())
        servers = [stack.enter_context(ServerProcess(settings, answers.answer)) for answers in self.answers]
        scheme = "https" if settings.tls is not None else "http"
        self.urls = [f"{scheme}://{server.address.replace('127.0.0.1', 'localhost')}" for server in servers]
        self.put(_scene(PAIR[0]), _scene(PAIR[1]))

    def put(self, *scenes: Scene) -> None:
        """What they answer from."""
        for answers, scene in zip(self.answers, scenes, strict=True):
            answers.put(answering(scene))

    def options(self, order: int = 1) -> list[str]:
        """The options that name them."""
        return [argument for url in self.urls[::order] for argument in ("--agent", url)]


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    """Two real listening processes without TLS, on this machine."""
    with ExitStack() as stack:
        yield Agents(stack, ServerSettings(port=0))


def _run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(cli, ["explain", *arguments], standalone_mode=False)


def _asked(*arguments: str) -> dict[str, Any]:
    done = _run(*arguments, "--format", "json")
    assert done.exception is None, done.exception
    document: dict[str, Any] = json.loads(done.output)
    return document


def _whole(scenes: tuple[Scene, Scene], source: str, destination: str, flow: str) -> dict[str, Any]:
    """What one process says that knows both cells."""
    cells = about([scene.questioned for scene in scenes], source, destination)
    document: dict[str, Any] = json.loads(
        json.dumps(explanation_document(explain(cells, source, destination, parse_flow(flow))))
    )
    return document


def _core(document: dict[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("source", "destination", "flow", "passes", "intended", "walks", "half")}


@pytest.mark.parametrize("order", [1, -1])
def test_two_agents_give_one_path(agents: Agents, order: int) -> None:
    """By the names that only one of them knows; with the exit status and the text of any explanation."""
    agents.put(_scene(PAIR[0]), _scene(PAIR[1]))
    document = _asked(*agents.options(order), "source-app", "dest-app", "8080/tcp")
    assert _core(document) == _core(_whole((_scene(PAIR[0]), _scene(PAIR[1])), "source-app", "dest-app", "8080/tcp"))
    done = _run(*agents.options(order), "source-app", "dest-app")
    assert done.return_value == 0
    assert done.output.splitlines()[1] == "PASSES, as a policy allows"
    assert "The destination's cell, FORWARD, the first packet (silk-vtep → s-010255002007, mark 0x1)" in done.output


def test_damaged_cells_are_answered_alike(agents: Agents) -> None:
    """Whatever is wrong on either side: verdict, walks and misses are those of one who knows both cells."""
    chance = random.Random(7)
    seen = set()
    for _ in range(12):
        scenes = _scene(PAIR[0], chance), _scene(PAIR[1], chance)
        agents.put(*scenes)
        ends = chance.choice((("source-app", "dest-app"), ("dest-app", "source-app")))
        flow = chance.choice(FLOWS)
        asked, whole = _asked(*agents.options(), *ends, flow), _whole(scenes, *ends, flow)
        assert _core(asked) == _core(whole)
        assert asked["misses"] == whole["misses"]
        seen.add(whole["passes"])
    assert {"yes", "no"} <= seen


def test_one_agent_answers_for_its_half(agents: Agents) -> None:
    """And for egress."""
    agents.put(_scene(PAIR[0]), _scene(PAIR[1]))
    document = _asked("--agent", agents.urls[0], "source-app", "10.255.2.7", "8080/tcp")
    assert "the source's half" in document["half"]
    assert _asked(*agents.options(), "dest-app", "11.1.1.1", "443/tcp")["basis"] == "security_group"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agent", "ftp://x"], "give https://ADDRESS:9763"),
        (["--agent", "https://user:secret@x"], "give https://ADDRESS:9763"),
        (["--agent", "https://x:9763"], "needs --agent-ca"),
        (["--agent", "http://x", "--agent-ca", "y"], "belong together"),
        (["--agent-key", "y"], "belong to --agent"),
        (["--agent", "http://x", "--agent", "http://y", "--agent", "http://z"], "the source's cell"),
        (["--agent", "http://x", "--bundle", "y"], "instead of files"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], said: str) -> None:
    """With what to give; what could be a password is not repeated."""
    caught = _run(*arguments, "a", "b").exception
    assert isinstance(caught, UsageError)
    assert said in str(caught)
    assert "secret" not in str(caught)


def test_what_an_agent_cannot_answer_is_said_in_its_words(agents: Agents) -> None:
    """A name that nobody knows; an agent without a reading; nobody there."""
    agents.put(_scene(PAIR[0]), _scene(PAIR[1]))
    caught = _run(*agents.options(), "nobody", "nothing").exception
    assert isinstance(caught, UsageError)
    assert "'nobody' is no app" in str(caught)
    waits: list[float] = []
    agents.answers[0].put(None)  # as before the first audit
    with pytest.raises(SourceError, match="there was none yet"):
        AgentApi(agents.urls[0], sleep=waits.append).ask("end", {"name": "x"})
    assert waits == [1.0] * 4
    caught = _run("--agent", "http://127.0.0.1:1", "a", "b").exception
    assert isinstance(caught, SourceError)
    assert "no answer" in str(caught)


def test_agents_that_demand_certificates_get_them(tmp_path: Path) -> None:
    """Over TLS, as they listen on a platform."""
    authority = trustme.CA()
    server, client = authority.issue_cert("localhost"), authority.issue_cert("operator")
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    for name, issued in (("server", server), ("client", client)):
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    tls = TlsSettings(certificate=tmp_path / "server.pem", key=tmp_path / "server.key", client_ca=ca)
    shown = ["--agent-ca", ca, "--agent-certificate", tmp_path / "client.pem", "--agent-key", tmp_path / "client.key"]
    with ExitStack() as stack:
        agents = Agents(stack, ServerSettings(port=0, tls=tls))
        document = _asked(*agents.options(), *map(str, shown), "source-app", "dest-app", "8080/tcp")
    assert (document["passes"], document["half"], len(document["walks"])) == ("yes", "", 4)
