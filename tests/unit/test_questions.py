"""Questions to the auditing process, over real pipes and sockets: questions, answers and refusals."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from rich.console import Console

from c2c_auditor.audit.questions.explanation import explain, parse_flow
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.config import ServerSettings
from c2c_auditor.export.explained import explanation_document, print_explanation
from c2c_auditor.export.lines import PlainLines
from c2c_auditor.export.terminal import Page
from c2c_auditor.model.reading import Reading
from c2c_auditor.server import Answers, ServerProcess
from c2c_auditor.server.answers import answering
from c2c_auditor.server.questions import Answer, QuestionClient, QuestionServer
from support.clients import scrape
from support.recordings import recording


def _scene(name: str) -> Scene:
    cell = recording(name)
    return judge_cell(Reading(facts=cell.facts, rulesets=(cell.ruleset,)))


@pytest.fixture
def answers() -> Answers:
    """Answers about the recorded pair."""
    made = Answers()
    made.put(answering(_scene("pair")))
    return made


@pytest.fixture
def server(answers: Answers) -> Iterator[ServerProcess]:
    """The real listening process beside this one, which answers."""
    with ServerProcess(ServerSettings(port=0), answers.answer) as running:
        yield running


def _get(server: ServerProcess, path: str, **query: str) -> tuple[int, Any]:
    host, _, port = server.address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("GET", f"{path}?{urlencode(query)}" if query else path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_flow_is_explained_over_http(server: ServerProcess) -> None:
    """The same facts as on the command line: verdict, intent, walks and the rule that decides."""
    status, document = _get(server, "/api/v1/explain", source="source-app", destination="dest-app", flow="8080/tcp")
    assert status == 200
    assert (document["passes"], document["intended"], document["flow"]) == ("yes", True, "tcp 8080")
    (decides,) = (step for step in document["walks"][0]["steps"] if step["decides"])
    assert "--dport 8080" in decides["rule"]
    status, document = _get(server, "/api/v1/explain", source="dest-app", destination="source-app")
    assert (status, document["passes"], document["intended"]) == (200, "no", False)


def test_the_matrix_is_told_over_http(server: ServerProcess, answers: Answers) -> None:
    """All lines, or only the differences; nothing differs on a sound cell, everything on one without enforcement."""
    status, document = _get(server, "/api/v1/matrix")
    assert (status, document["next"], document["counts"]["allow_allow"]) == (200, None, 4)
    assert {line["actual"] for line in document["lines"]} == {"tcp 8080, tcp 61001"}
    assert _get(server, "/api/v1/matrix", differences="1")[1]["lines"] == []
    answers.put(answering(_scene("pair-policy-disabled")))
    document = _get(server, "/api/v1/matrix", differences="1")[1]
    assert len(document["lines"]) == 7
    assert all(line["differs"] for line in document["lines"])
    assert len(_get(server, "/api/v1/matrix", first="5")[1]["lines"]) == 2


def test_the_matrix_is_filtered_by_parts_of_names(server: ServerProcess) -> None:
    """Of source and destination, in any case of letters; numbered like the whole, in as many lines as are wanted."""
    every = _get(server, "/api/v1/matrix")[1]["lines"]
    elsewhere = [line for line in every if "other cells" in line["source"]]
    assert 0 < len(elsewhere) < len(every)
    document = _get(server, "/api/v1/matrix", **{"from": "OTHER cells"})[1]
    assert document["lines"] == elsewhere
    assert _get(server, "/api/v1/matrix", **{"from": "other cells", "to": "nobody"})[1]["lines"] == []
    first = _get(server, "/api/v1/matrix", **{"from": "other cells", "most": "1"})[1]
    assert (first["lines"], first["next"]) == (elsewhere[:1], 1 if len(elsewhere) > 1 else None)
    assert len(_get(server, "/api/v1/matrix", most="1")[1]["lines"]) == 1


def test_an_explanation_comes_as_text_too(server: ServerProcess) -> None:
    """The words of the command line, for the page."""
    status, document = _get(server, "/api/v1/explain", source="source-app", destination="dest-app", text="1")
    assert status == 200
    assert "PASSES, as a policy allows" in document["text"]


@pytest.mark.parametrize("name", ["pair", "pair-policy-disabled", "fleet-12-nft"])
def test_words_without_a_terminal_are_those_in_a_pipe(name: str) -> None:
    """Letter by letter: the agent does without the terminal's library."""
    scene = _scene(name)
    store = scene.questioned[0].facts.store
    assert store is not None
    ends = [str(container.address) for container in store.containers[:3]]
    documents = [
        explanation_document(explain(scene.questioned, source, destination, parse_flow(flow)))
        for source in ends
        for destination in (*ends, "203.0.113.7")
        for flow in ("8080/tcp", "53/udp")
        if source != destination
    ]
    plainly, piped = PlainLines(), io.StringIO()
    page = Page(Console(file=piped, force_terminal=False))
    for lines in (plainly, page):
        for document in documents:
            print_explanation(document, lines)
    assert documents
    assert plainly.text() == piped.getvalue()


@pytest.mark.parametrize("name", ["pair-source-cell", "pair-destination-cell"])
def test_the_address_of_an_end_elsewhere_is_one_of_the_rules_family(name: str) -> None:
    """An app that runs on other cells, and where: over IPv4 no packet is for an address of IPv6."""
    cell = recording(name)
    scene = judge_cell(Reading(time=0.0, facts=cell.facts, rulesets=(cell.ruleset,)))
    answers = Answers()
    answers.put(answering(scene))
    assert cell.facts.policies is not None
    policy = cell.facts.policies.policies[0]
    asked = {"source": policy.source, "destination": policy.destination}
    assert answers.answer("explain", {**asked, "address": "10.255.9.9"}).status == 200
    refused = answers.answer("explain", {**asked, "address": "fd00::5"})
    assert (refused.status, b"is an address of IPv6" in refused.body) == (400, True)


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("/api/v1/explain", {}, "?source="),
        ("/api/v1/explain", {"source": "nobody", "destination": "dest-app"}, 'It knows "dest-app"'),
        ("/api/v1/explain", {"source": "source-app", "destination": "dest-app", "flow": "none"}, "8080/tcp"),
        ("/api/v1/explain", {"source": "10.1.1.1", "destination": "10.1.1.2"}, "neither end runs"),
        ("/api/v1/matrix", {"source": "fd00::5", "destination": "dest-app"}, "is an address of IPv6"),
        ("/api/v1/matrix", {"source": "source-app", "destination": "1::"}, "is an address of IPv6"),
        ("/api/v1/matrix", {"first": "-1"}, "number"),
        ("/api/v1/matrix", {"most": "all"}, "number"),
        ("/api/v1/matrix", {"first": "99999999999999999999"}, "number"),
        ("/api/v1/matrix", {"first": "9" * 3000}, "number"),
        ("/api/v1/matrix", {"first": "\N{SUPERSCRIPT TWO}"}, "number"),
    ],
)
def test_bad_questions_are_told_what_to_ask(server: ServerProcess, path: str, query: dict[str, str], said: str) -> None:
    """400 and a sentence."""
    status, document = _get(server, path, **query)
    assert status == 400
    assert said in document["error"]


def test_without_a_reading_there_is_no_answer(server: ServerProcess, answers: Answers) -> None:
    """503 until rules were read, and when they cannot be."""
    answers.put(None)
    assert _get(server, "/api/v1/matrix")[0] == 503
    assert _get(server, "/api/v1/explain", source="a", destination="b")[0] == 503


def test_questions_that_are_too_long_are_refused(server: ServerProcess) -> None:
    """What goes to the auditing process is bounded before it gets there."""
    assert _get(server, "/api/v1/explain", source="x" * 5000, destination="b")[0] == 414


def test_what_one_question_breaks_does_not_break_the_next() -> None:
    """An error that nothing foresaw is a 500 for that question only."""
    here, there = multiprocessing.Pipe()

    def answer(subject: str, arguments: object) -> Answer:
        if arguments:
            raise IndexError(subject)
        return Answer(status=200, body=b"{}")

    QuestionServer(there, answer).start()
    client = QuestionClient(here)
    broken = client.ask("matrix", {"first": "1"})
    assert (broken.status, json.loads(broken.body)) == (
        500,
        {"error": "this question cannot be answered: IndexError: matrix"},
    )
    assert client.ask("matrix", {}).status == 200
    here.close()


def test_many_who_ask_leave_the_scrapes_alone() -> None:
    """One waits for the auditing process in a thread of its own; the others are refused at once."""
    received, free = threading.Event(), threading.Event()

    def answer(subject: str, arguments: object) -> Answer:
        del subject, arguments
        received.set()
        free.wait(20)
        return Answer(status=200, body=b"{}")

    with ServerProcess(ServerSettings(port=0, threads=1), answer) as server, ThreadPoolExecutor(8) as pool:
        first = pool.submit(_get, server, "/api/v1/matrix")
        assert received.wait(10)
        others = [pool.submit(_get, server, "/api/v1/explain", source="a", destination="b") for _ in range(7)]
        assert {other.result()[0] for other in others} == {503}
        assert scrape(server.address) == "200"
        free.set()
        assert first.result()[0] == 200


def test_the_answering_thread_holds_no_capability() -> None:
    """The auditing process keeps its own; the thread that reads what the listener wrote has none."""
    seen: list[str] = []
    here, there = multiprocessing.Pipe()

    def answer(subject: str, arguments: object) -> Answer:
        del subject, arguments
        status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
        seen.extend(line for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapInh")))
        return Answer(status=200, body=b"{}")

    before = Path("/proc/self/status").read_text()
    QuestionServer(there, answer).start()
    assert QuestionClient(here).ask("matrix", {}).status == 200
    here.close()
    assert [line.split()[1].strip("0") for line in seen] == ["", "", ""]
    assert [line for line in before.splitlines() if line.startswith("Cap")] == [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")
    ]


@pytest.mark.parametrize(
    "question", [b"", b"nonsense", b"[]", b"[1, 2, 3]", b'[1, "explain", {"source": 7}]', b'["x", "matrix", {}]']
)
def test_what_a_taken_over_listener_may_send_is_refused(answers: Answers, question: bytes) -> None:
    """Nothing is unpickled and nothing breaks; the next question is answered."""
    here, there = multiprocessing.Pipe()
    QuestionServer(there, answers.answer).start()
    here.send_bytes(question)
    assert here.recv_bytes().startswith(b"400:")
    assert QuestionClient(here).ask("matrix", {}).status == 200
    here.close()


def test_a_question_beyond_all_bounds_ends_the_conversation(answers: Answers) -> None:
    """The auditing process reads no more than it allows, and goes on auditing."""
    here, there = multiprocessing.Pipe()
    desk = QuestionServer(there, answers.answer)
    desk.start()
    with contextlib.suppress(OSError):  # the other end may hang up before all of it is written
        here.send_bytes(b"x" * 100_000)
    desk.join(5)
    assert not desk.is_alive()
    assert QuestionClient(here).ask("matrix", {}).status == 503
    here.close()


def test_an_auditing_process_that_is_gone_is_said() -> None:
    """503, at once."""
    here, there = multiprocessing.Pipe()
    there.close()
    assert QuestionClient(here).ask("matrix", {}).status == 503
    here.close()
