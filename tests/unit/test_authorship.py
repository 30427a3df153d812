"""Who made a commit: silk's own sequences are never somebody else's, and what silk does not do is."""

from __future__ import annotations

import pytest

from c2c_auditor.export.events import events
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Change
from c2c_auditor.model.report import NetlinkStatus, Report, Result
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.silk.authorship import ChangedRules, author_of

_PARSER = RuleParser()


def _rules(*lines: str) -> ChangedRules:
    """``CHAIN BODY`` each."""
    return [(chain, _PARSER.rule(body)) for chain, _, body in (line.partition(" ") for line in lines)]


NOTHING: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("by", "chains", "added", "removed"),
    [
        ("vpa", ["vpa--1795398014206300"], NOTHING, NOTHING),
        ("vpa", ["FORWARD"], ("FORWARD -j vpa--1795398014206300",), NOTHING),
        ("vpa", ["FORWARD"], NOTHING, ("FORWARD -j vpa--1795398014206300",)),
        ("vpa", ["vpa--1795398014206300"], NOTHING, ("vpa--1795398014206300 -j ACCEPT",) * 2),
        ("vpa", ["casg-2a1f", "asg-2a1f"], NOTHING, NOTHING),
        ("cni", ["overlay--2a1f", "FORWARD"], ("FORWARD -j overlay--2a1f", "overlay--2a1f -j REJECT"), NOTHING),
        ("cni", ["FORWARD"], NOTHING, ("FORWARD -s 10.255.1.4/32 -o eth0 -j netout--2a1f",)),
        ("cni", ["POSTROUTING"], ("POSTROUTING -s 10.255.1.4/32 ! -d 10.255.0.0/16 ! -o s -j MASQUERADE",), NOTHING),
        ("foreign", ["FORWARD"], ("FORWARD -j ACCEPT",), NOTHING),
        ("foreign", ["FORWARD"], NOTHING, ("FORWARD -j overlay--1", "FORWARD -j overlay--2")),
        ("foreign", ["FORWARD"], ("FORWARD -j overlay--1", "FORWARD -s 192.0.2.1 -j DROP"), NOTHING),
        ("foreign", ["POSTROUTING"], ("POSTROUTING -s 10.0.0.0/8 -j MASQUERADE",), NOTHING),
        ("foreign", ["noise"], ("noise -j RETURN",), NOTHING),
        ("foreign", ["FORWARD"], NOTHING, NOTHING),
    ],
)
def test_what_a_commit_did_tells_who_made_it(
    by: str, chains: list[str], added: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Chains and jumps of silk's are silk's; a flush of FORWARD, a policy, any other rule is somebody's."""
    assert author_of("iptables", chains, _rules(*added), _rules(*removed)) == by


def test_another_program_is_nobody_of_silks() -> None:
    """Whatever it writes: silk starts iptables by its plain name."""
    assert author_of("nft", ["vpa--1795398014206300"], (), ()) == "foreign"


def test_what_somebody_did_is_one_line_of_the_log() -> None:
    """Process, parent, and rules in iptables' spelling; what is not known is left out."""
    change = Change(
        seen=1795400000.0,
        generation=7,
        pid=4711,
        process="iptables",
        parent="bash (4700)",
        chains=("filter FORWARD",),
        removed=("-t filter -A FORWARD -j overlay--1",),
    )
    netlink = NetlinkStatus(buffer=1, overflows=0, listings=1, changes=(change,))
    (event,) = events(Report(time=1.0, result=Result.CLEAN, netlink=netlink), None)
    assert (event.level, event.message) == ("info", "rules-changed-by-others")
    assert event.data == {
        "seen": "2026-11-23T02:13:20.000+00:00",
        "generation": 7,
        "pid": 4711,
        "process": "iptables",
        "parent": "bash (4700)",
        "chains": ("filter FORWARD",),
        "added": (),
        "removed": ("-t filter -A FORWARD -j overlay--1",),
    }


def test_a_rule_that_only_counts_in_a_built_in_chain_is_somebodys() -> None:
    """Silk adds none."""
    assert author_of("iptables", ["INPUT"], [("INPUT", r.Rule())], ()) == "foreign"
