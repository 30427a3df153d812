"""The evaluator against the kernel: random tables, real packets, and the same verdicts."""

from __future__ import annotations

import pytest

from c2c_auditor.netfilter.packet import Certainty
from support.namespaces import in_namespace
from support.proof import JUDGED, prove
from support.rulesets import STATES, World

pytestmark = pytest.mark.kernel
BACKENDS = ("nft", "legacy")
_SEED = 20261123


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_arrives_is_what_the_evaluator_says(backend: str) -> None:
    """Yes arrives, no does not, and with the mark it says; each rule counts the packets that it takes.

    Every word that the evaluator knows took part.
    """
    _with_conntrack(backend)


@in_namespace
def _with_conntrack(backend: str) -> None:
    tally = prove(backend, World(), seed=_SEED, rulesets=250)
    assert tally.rulesets >= 250
    assert tally.packets >= 5000
    # Else it would prove little: each answer is given often, and doubt is the exception.
    assert min(tally.share(Certainty.YES), tally.share(Certainty.NO)) > 0.25, tally
    assert tally.marked > 400, tally
    assert set(tally.states) == set(STATES)
    assert tally.idle(JUDGED) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_fragments_meet_the_rules_that_the_evaluator_says(backend: str) -> None:
    """Where no conntrack puts them together before the rules."""
    _with_fragments(backend)


@in_namespace
def _with_fragments(backend: str) -> None:
    tally = prove(backend, World(tracking=False), seed=_SEED, rulesets=60)
    assert min(tally.share(Certainty.YES), tally.share(Certainty.NO)) > 0.25, tally
    assert tally.idle(("-f", "! -f")) == []
