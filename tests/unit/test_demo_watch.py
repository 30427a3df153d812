"""The demo can fail: an agent that finds nothing, finds the wrong app, does not let go, or cries wolf does not pass."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Kind
from demo.agent import Answer, Seen
from demo.cell import Cell, Files
from demo.fault import Fault
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.screen import Screen
from demo.silk import Iptables, Silk
from demo.tour import show
from demo.watch import Outcome, Watch
from demo.world import BACKEND, FRONTEND, App


class Script:
    """An agent that gives each answer once, then the last one for ever.

    The fault's `inject` and `mend` turn to the next scene.
    """

    def __init__(self, *scenes: Iterable[Answer]) -> None:
        self._scenes = iter(scenes)
        self._answers = list(next(self._scenes))

    def turn(self, _cell: Cell) -> None:
        """The cell has changed."""
        self._answers = list(next(self._scenes))

    def answer(self) -> Answer:
        """What it says now."""
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def says(state: State, kind: Kind = Kind.MARK_MISSING, app: App = FRONTEND) -> Answer:
    """A report with one finding."""
    return Answer(
        clean=False,
        findings=(Seen(kind=kind, effect=kind.effect, state=state, summary="…", about=frozenset({app.guid})),),
    )


CLEAN = Answer(clean=True)
PENDING, CONFIRMED = says(State.PENDING), says(State.CONFIRMED)
WOLF = says(State.CONFIRMED, Kind.ACCEPT_STALE)


@pytest.fixture(name="cell", scope="module")
def _cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    directory = tmp_path_factory.mktemp("cell")
    nothing = Iptables(backend="nft", run=lambda _arguments, _text, _codes: "")
    return Cell(
        files=Files.below(directory),
        silk=Silk(iptables=nothing),
        other=nothing,
        server=PolicyServer(make_certificates(directory), Truth()),
    )


def watched(script: Script, cell: Cell) -> list[Outcome]:
    """The outcomes of a tour with one fault, a missing MARK of frontend's."""
    fault = Fault(
        name="fault", story="", kinds=frozenset({Kind.MARK_MISSING}), inject=script.turn, mend=script.turn, app=FRONTEND
    )
    screen = Screen(Console(file=io.StringIO()))
    return show([fault], cell, Watch(script, screen, patience=0.5), pause=0.2)


def test_a_fault_that_is_found_and_resolved_passes(cell: Cell) -> None:
    """Pending, then confirmed, then gone; all three times are shown."""
    (outcome,) = watched(Script([CLEAN], [CLEAN, PENDING, CONFIRMED], [CONFIRMED, CLEAN]), cell)
    assert outcome.passed
    assert None not in (outcome.pending, outcome.confirmed, outcome.resolved)


@pytest.mark.parametrize(
    "scenes",
    [
        pytest.param(([CLEAN], [CLEAN], [CLEAN]), id="never found"),
        pytest.param(([CLEAN], [PENDING], [CLEAN]), id="never confirmed"),
        pytest.param(([CLEAN], [says(State.CONFIRMED, app=BACKEND)], [CLEAN]), id="another app is named"),
        pytest.param(([CLEAN], [CONFIRMED], [CONFIRMED]), id="never resolved"),
        pytest.param(([CLEAN], [CONFIRMED, WOLF], [WOLF, CLEAN]), id="something else is said after"),
        pytest.param(([CLEAN, WOLF, CLEAN], [CONFIRMED], [CLEAN]), id="something is said before"),
        pytest.param(([WOLF],), id="the cell is not clean to begin with"),
    ],
)
def test_whatever_is_not_as_it_should_be_fails(cell: Cell, scenes: tuple[list[Answer], ...]) -> None:
    """Each way for an agent to be wrong makes the demo fail."""
    assert not all(outcome.passed for outcome in watched(Script(*scenes), cell))


def test_advice_is_no_false_alarm(cell: Cell) -> None:
    """Only outages and breaches wake people; what else is said beside a fault does no harm."""
    advice = Seen(kind=Kind.COMMENT_WRONG, effect=Effect.ADVICE, state=State.CONFIRMED, summary="…")
    both = Answer(clean=False, findings=(*CONFIRMED.findings, advice))
    (outcome,) = watched(Script([CLEAN], [both], [CLEAN]), cell)
    assert outcome.passed
