"""Who made a commit: silk's own sequences are never somebody else's, and what silk does not do is."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from c2c_auditor.export.events import events
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Act, Author, ChainPlace, Change, Deed, Rules
from c2c_auditor.model.report import Report, Result
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.silk.authorship import classified
from c2c_auditor.sources.rules.deeds import difference
from support.recordings import FILM, film
from support.silk_at_work import days_work

_PARSER = RuleParser()
_SWAP, _CREATED, _DELETED = Act.POLICY_SWAP, Act.CONTAINER_CREATED, Act.CONTAINER_DELETED
_GROUPS, _OTHER = Act.SECURITY_GROUPS, Act.OTHER
_VPA, _CNI, _FOREIGN = Author.VPA, Author.CNI, Author.FOREIGN


def _place(chain: str) -> ChainPlace:
    return ChainPlace(r.AddressFamily.IPV4, "filter", chain)


def _rules(*lines: str) -> Rules:
    """``CHAIN BODY`` each."""
    found: dict[ChainPlace, tuple[r.Rule, ...]] = {}
    for chain, _, body in (line.partition(" ") for line in lines):
        found[_place(chain)] = (*found.get(_place(chain), ()), _PARSER.rule(body))
    return found


def _deed(chains: list[str], added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> Deed:
    return Deed(chains=frozenset(map(_place, chains)), added=_rules(*added), removed=_rules(*removed))


NOTHING: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("by", "chains", "added", "removed"),
    [
        ((_VPA, _SWAP), ["vpa--1795398014206300"], NOTHING, NOTHING),
        ((_VPA, _SWAP), ["FORWARD"], ("FORWARD -j vpa--1795398014206300",), NOTHING),
        ((_VPA, _SWAP), ["FORWARD"], NOTHING, ("FORWARD -j vpa--1795398014206300",)),
        ((_VPA, _SWAP), ["vpa--1795398014206300"], NOTHING, ("vpa--1795398014206300 -j ACCEPT",) * 2),
        ((_VPA, _GROUPS), ["casg-2a1f", "asg-2a1f"], NOTHING, NOTHING),
        ((_VPA, _GROUPS), ["netout--2a1f"], ("netout--2a1f -j asg-2a1f",), NOTHING),
        ((_VPA, _GROUPS), ["netout--2a1f"], NOTHING, ("netout--2a1f -j REJECT",)),
        ((_CNI, _DELETED), ["netout--2a1f"], NOTHING, ("netout--2a1f -j asg-2a1f", "netout--2a1f -j REJECT")),
        ((_CNI, _CREATED), ["overlay--1", "FORWARD"], ("FORWARD -j overlay--1", "overlay--1 -j REJECT"), NOTHING),
        ((_CNI, _DELETED), ["FORWARD"], NOTHING, ("FORWARD -s 10.255.1.4/32 -o eth0 -j netout--2a1f",)),
        ((_CNI, _CREATED), ["POSTROUTING"], ("POSTROUTING -s 10.255.1.4/32 ! -d 10.0.0.0/8 -j MASQUERADE",), NOTHING),
        ((_FOREIGN, _OTHER), ["FORWARD"], ("FORWARD -j ACCEPT",), NOTHING),
        ((_FOREIGN, _OTHER), ["FORWARD"], NOTHING, ("FORWARD -j overlay--1", "FORWARD -j overlay--2")),
        ((_FOREIGN, _OTHER), ["FORWARD"], ("FORWARD -j overlay--1", "FORWARD -s 192.0.2.1 -j DROP"), NOTHING),
        ((_FOREIGN, _OTHER), ["vpa--1", "FORWARD"], ("vpa--1 -j ACCEPT", "FORWARD -s 192.0.2.1 -j DROP"), NOTHING),
        ((_FOREIGN, _OTHER), ["POSTROUTING"], ("POSTROUTING -s 10.0.0.0/8 -j MASQUERADE",), NOTHING),
        ((_FOREIGN, _OTHER), ["INPUT"], ("INPUT -j RETURN",), NOTHING),
        ((_FOREIGN, _OTHER), ["noise"], ("noise -j RETURN",), NOTHING),
        ((_FOREIGN, _OTHER), ["FORWARD"], NOTHING, NOTHING),
    ],
)
def test_what_a_commit_did_tells_who_made_it(
    by: tuple[Author, Act], chains: list[str], added: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Chains and jumps of silk's are silk's; a flush of FORWARD, a policy, any other rule is somebody's."""
    assert classified("iptables", "", _deed(chains, added, removed)) == by


@pytest.mark.parametrize(
    ("parent", "author"),
    [("vxlan-policy-ag", _VPA), ("cni-wrapper-plu", _CNI), ("bash", _FOREIGN), ("sudo", _FOREIGN), ("runc", _CNI)],
)
def test_who_started_the_process_tells_more_than_what_it_did(parent: str, author: Author) -> None:
    """A person who takes out one jump at a prompt is nobody of silk's, though the CNI plugin does the same."""
    deed = _deed(["FORWARD"], removed=("FORWARD -j overlay--1",))
    assert classified("iptables", parent, deed)[0] is author


@pytest.mark.parametrize(("parent", "author"), [("vxlan-policy-ag", _VPA), ("", _FOREIGN)])
def test_what_silk_is_not_known_to_do_is_silks_only_by_its_parent(parent: str, author: Author) -> None:
    """A policy, a built-in chain that is gone, a rule of a shape that is new: part of nothing that silk does today."""
    chain = frozenset({_place("FORWARD")})
    strange = _deed(["FORWARD"], added=("FORWARD -j ACCEPT",))
    for deed in (Deed(chains=chain, policies=chain), Deed(chains=chain, lost=chain), strange):
        assert classified("iptables", parent, deed) == (author, _OTHER)


def test_another_program_is_nobody_of_silks() -> None:
    """Whatever it writes, and whoever starts it: silk starts iptables by its plain name."""
    assert classified("nft", "vxlan-policy-ag", _deed(["vpa--1795398014206300"])) == (_FOREIGN, _OTHER)


def test_of_a_thousand_commits_of_silks_none_is_somebody_elses() -> None:
    """Containers created and deleted, policies and security groups replaced, by both releases of silk."""
    allowed = {
        "policies": {("vpa", "policy swap")},
        "created": {("cni", "container created"), ("vpa", "security groups")},
        "groups": {("vpa", "security groups")},
        "deleted": {("cni", "container deleted"), ("vpa", "security groups")},
    }
    commits = 0
    for at in days_work(containers=12):
        commits += len(at.commits)
        strange = [(one.process, one.command, one.verdict) for one in at.commits if one.verdict not in allowed[at.what]]
        assert not strange, at.what
    assert commits >= 1000


def test_of_the_films_commits_none_is_somebody_elses() -> None:
    """What the real programs of silk were seen to do, command by command."""
    commands = [json.loads(line)["command"] for line in (FILM / "frames.jsonl").read_text().splitlines()]
    seen = []
    for command, (before, after) in zip(commands[1:], pairwise(film()), strict=True):
        deed = difference(before.ruleset, after.ruleset)
        if deed.chains:
            author, act = classified(command[0][:15], "", deed)
            seen.append((author, act))
            words = " ".join(command)
            assert author is not _FOREIGN, words
            assert (act is _SWAP) == (author is _VPA and act is not _GROUPS), words
            assert act is _SWAP or "vpa--" not in words, words
            assert act is _GROUPS or "asg-" not in words, words
    assert len(seen) > 250
    assert {act for _, act in seen} == {_SWAP, _GROUPS, _CREATED, _DELETED}


def test_what_somebody_did_is_one_line_of_the_log() -> None:
    """Process, parent, and rules in iptables' spelling; what is not known is left out, and silk's work is not told."""
    change = Change(
        seen=1795400000.0,
        author=_FOREIGN,
        generation=7,
        pid=4711,
        process="iptables",
        command="iptables -F FORWARD",
        parent="bash (4700)",
        chains=("filter FORWARD",),
        removed=("-t filter -A FORWARD -j overlay--1",),
    )
    silks = Change(seen=1795400001.0, author=_VPA, act=_SWAP)
    (event,) = events(Report(time=1.0, result=Result.CLEAN, changes=(change, silks)), None)
    assert (event.level, event.message) == ("info", "rules-changed-by-others")
    assert event.data == {
        "time": {"rfc3339": "2026-11-23T02:13:20.000+00:00", "epoch": 1795400000.0},
        "author": "foreign",
        "act": "other",
        "generation": 7,
        "pid": 4711,
        "process": "iptables",
        "command": "iptables -F FORWARD",
        "parent": "bash (4700)",
        "chains": ["filter FORWARD"],
        "added": [],
        "removed": ["-t filter -A FORWARD -j overlay--1"],
        "left_out": 0,
    }
