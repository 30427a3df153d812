"""A listing alone shows that FORWARD or INPUT was flushed: the containers' chains are there and not reached."""

from __future__ import annotations

import pytest

from c2c_auditor.audit.judge import judge
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.sources.rules.text import read_text
from support.recordings import CELLS, GOLDEN

TEXTS = {
    "IPv4": (CELLS / "pair" / "iptables-save.txt").read_text(),
    "IPv6": (GOLDEN / "ip6tables" / "ip6tables-save.txt").read_text(),
}


def _found(text: str) -> list[tuple[str, Effect]]:
    found = judge(CellFacts(), read_text(text, where="x"), None).findings
    return [(one.summary, one.effect) for one in found if one.kind is Kind.JUMP_MISSING and "flushed" in one.subject]


def _without(text: str, *words: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not all(word in line for word in words))


@pytest.mark.parametrize("family", TEXTS)
@pytest.mark.parametrize("chain", ["FORWARD", "INPUT"])
def test_a_flushed_chain_is_a_breach(family: str, chain: str) -> None:
    """In either family, without any store."""
    ((summary, effect),) = _found(_without(TEXTS[family], f"-A {chain}"))
    assert (f"{chain} reaches no" in summary, effect) == (True, Effect.BREACH)


@pytest.mark.parametrize("family", TEXTS)
def test_a_whole_listing_and_a_part_of_one_are_none(family: str) -> None:
    """One container's lost jump may be that of a container that is gone; a part does not show the built-in chain."""
    text = TEXTS[family]
    assert _found(text) == []
    assert _found(_without(_without(text, ":FORWARD"), "-A FORWARD")) == []
    assert _found(_without(text, "-A FORWARD", "overlay--35bf992d")) == [] or family == "IPv6"


def test_a_chain_that_is_reached_through_anothers_is_reached() -> None:
    """A jump need not stand in the built-in chain itself."""
    text = _without(TEXTS["IPv4"], "-A FORWARD", "overlay--78e51061").replace(
        "-A FORWARD -j overlay--35bf992d", "-A via -j overlay--35bf992d"
    )
    text = text.replace(":asg-", ":via - [0:0]\n-A FORWARD -j via\n:asg-", 1)
    assert _found(text) == []
