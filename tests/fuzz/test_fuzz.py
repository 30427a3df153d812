"""Every parser gives a value or its one error: the corpus as it is, and mutations of it, the same ones each time."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.harness import CORPUS, Hang, check, seeds, signature
from fuzz.known_red import KNOWN_RED
from fuzz.mutate import mutated
from fuzz.targets import TARGETS, Target

# So many that all targets together take about a minute on two cores.
_EXAMPLES = {"bundle": 250, "save": 500, "http": 1000, "question": 1000}
_USUAL = 1500


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_corpus_holds(target: Target) -> None:
    """Seeds, and every input that once broke the invariant."""
    red = {}
    for name, data in seeds(target).items():
        try:
            check(target, data)
        except (Exception, Hang) as error:
            if (target.name, signature(error)) not in KNOWN_RED:
                raise AssertionError(f"{name}: {signature(error)}: {error}; {target.invariant}") from error
            red[signature(error)] = name
    known = {kind: why for (name, kind), why in KNOWN_RED.items() if name == target.name}
    assert set(red) == set(known), "green again: take it out of known_red.py"
    if red:
        pytest.xfail("; ".join(f"{red[kind]}: {kind}: {why}" for kind, why in known.items()))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_mutations_of_the_corpus_hold(target: Target) -> None:
    """Cut, repeated, changed and mixed by hypothesis, which shrinks what breaks."""
    corpus = sorted(data for data in seeds(target).values() if len(data) < 1 << 15)

    @settings(
        max_examples=_EXAMPLES.get(target.name, _USUAL),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.sampled_from(corpus), random=st.randoms(use_true_random=False))
    def holds(seed: bytes, random: Random) -> None:
        data = mutated(seed, corpus, random)
        try:
            check(target, data)
        except Exception as error:
            if (target.name, signature(error)) not in KNOWN_RED:
                raise AssertionError(f"{data!r:.2000}: {signature(error)}: {error}; {target.invariant}") from error

    holds()


def test_every_target_has_a_corpus_and_an_invariant() -> None:
    """No target is empty, no directory is left over, and what is known as red names a target."""
    assert {path.name for path in CORPUS.iterdir()} == {target.name for target in TARGETS}
    assert all(seeds(target) and target.invariant.endswith(".") for target in TARGETS)
    assert {name for name, _ in KNOWN_RED} <= {target.name for target in TARGETS}
