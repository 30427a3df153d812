"""Counters of nf_tables, read by a thread: as iptables prints them, and monotone over silk's swaps."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.counting import NativeCounting
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from support.namespaces import in_namespace

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("iptables-nft-restore") is None, reason="needs iptables-nft-restore"),
]


def _restore(*lines: str) -> None:
    text = "\n".join(("*filter", *lines, "COMMIT", ""))
    subprocess.run(("iptables-nft-restore", "--noflush", "-c"), input=text, text=True, check=True, timeout=30)


def _policy_chain(name: str, packets: int) -> None:
    _restore(
        f":{name} -",
        f"[9:9] -A {name} -s 10.255.1.4 -j MARK --set-xmark 0x1",
        f"[{packets}:1] -A {name} -d 10.255.1.5 -p tcp --dport 8080 -m mark --mark 0x1 -j ACCEPT",
    )


@in_namespace
def test_packets_are_counted_over_swaps_of_the_policy_chain() -> None:
    """Each reading is begun when it is time and shown when it has ended; MARKs, other chains and jumps do not count."""
    _policy_chain("vpa--1", 1000)
    _restore(
        ":overlay--a -",
        ":mine -",
        "[50:1] -A overlay--a -d 10.255.1.5 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "[70:1] -A overlay--a -d 10.255.1.5 -j REJECT",
        "[80:1] -A mine -j REJECT",
        "[90:1] -A FORWARD -j vpa--1",
    )
    now = [0.0]
    counting = NativeCounting(Clocks(steady=lambda: now[0]))

    def read() -> object:
        """A reading that begins now, and what is known when it has ended."""
        now[0] += 1e6
        reader.read()
        reader.packets()
        counting.wait()
        now[0] -= 1e6  # it is not time for the next
        return reader.packets()

    with Netlink() as netlink:
        reader = NativeReader(netlink, counting=counting)
        reader.read()
        assert reader.packets() is None
        counting.wait()
        assert reader.packets() == {"accepted": 0, "refused": 0}
        assert read() == {"accepted": 0, "refused": 0}
        _policy_chain("vpa--2", 30)
        for command in ("-I FORWARD 1 -j vpa--2", "-D FORWARD -j vpa--1", "-F vpa--1", "-X vpa--1"):
            subprocess.run(("iptables-nft", *command.split()), check=True, timeout=30)
        assert read() == {"accepted": 30, "refused": 0}
        subprocess.run(("iptables-nft", "-Z"), check=True, timeout=30)
        assert read() == {"accepted": 30, "refused": 0}
        _restore(":overlay--b -", "[4:1] -A overlay--b -d 10.255.1.6 -j REJECT")
        assert read() == {"accepted": 30, "refused": 4}
        assert reader.packets() == {"accepted": 30, "refused": 4}


@in_namespace
def test_a_reading_that_fails_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one tells what came since the last that did not."""
    _policy_chain("vpa--1", 1000)
    now = [0.0]
    counting = NativeCounting(Clocks(steady=lambda: now[0]))
    with Netlink() as netlink:
        reader = NativeReader(netlink, counting=counting)
        reader.read()
        with monkeypatch.context() as broken:
            broken.setattr("c2c_auditor.sources.rules.netlink._NETLINK_NETFILTER", 99)
            reader.packets()
            counting.wait()
        assert reader.packets() is None
        now[0] += 120
        reader.packets()
        counting.wait()
        assert reader.packets() == {"accepted": 0, "refused": 0}
