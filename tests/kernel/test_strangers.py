"""Rules of others in a real kernel, on both backends: each has the effect on flows that it has, and no other."""

from __future__ import annotations

import subprocess

import pytest

from c2c_auditor.audit.judge import judge
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from support.namespaces import in_namespace
from support.recordings import CELLS, recording
from support.strangers import STRANGERS

pytestmark = pytest.mark.kernel


def _iptables(backend: str, how: str, typed: str) -> None:
    subprocess.run((f"iptables-{backend}", "-w", how, "FORWARD", *typed.split()), check=True, timeout=30)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@in_namespace
def test_a_strangers_rule_is_read_and_judged_by_what_it_does(backend: str) -> None:
    """Each in front of FORWARD of the recorded pair, one after the other."""
    cell = recording("pair")
    whole = (CELLS / "pair" / "iptables-save.txt").read_bytes()
    subprocess.run((f"iptables-{backend}-restore", "-w"), input=whole, check=True, timeout=30)
    found = {}
    with Netlink() as netlink:
        reader = NativeReader(netlink) if backend == "nft" else LegacyReader()
        for typed in STRANGERS:
            _iptables(backend, "-I", typed)
            found[typed] = [finding.effect for finding in judge(cell.facts, reader.read(), None).findings]
            _iptables(backend, "-D", typed)
    assert found == {typed: [effect] for typed, effect in STRANGERS.items()}
