"""The evaluator against the kernel: random tables are loaded, real packets sent, and what arrives is what the evaluator says."""

from __future__ import annotations

import pytest

from support.namespaces import in_namespace
from support.proof import prove
from support.rulesets import World

pytestmark = pytest.mark.kernel
BACKENDS = ("nft", "legacy")


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_arrives_is_what_the_evaluator_says(backend: str) -> None:
    """Yes arrives, no does not, with the mark it says; each rule counts the packets that it took. Every word that the evaluator knows took part."""
    _verdicts(backend)


@in_namespace
def _verdicts(backend: str) -> None:
    tally = prove(backend, World(), seed=20261123, rulesets=110)
    assert tally.rulesets >= 100
    assert tally.packets >= 2000
    # Else it would prove little: each answer is given often, and doubt is the exception.
    assert min(tally.verdicts["yes"], tally.verdicts["no"]) > tally.packets / 5, tally
    assert tally.marked > 50, tally
    taken = {word for word, answers in tally.words.items() if answers["yes"] or answers["may"]}
    missed = {word for word, answers in tally.words.items() if answers["no"] or answers["may"]}
    assert {
        "-s",
        "-d",
        "! -s",
        "! -d",
        "-i",
        "-o",
        "-p",
        "--dport",
        "--sport",
        "--dports",
        "--mark",
        "! --mark",
        "--dst-range",
    } <= taken & missed
