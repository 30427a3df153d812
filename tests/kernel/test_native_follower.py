"""What commits announce, applied to a replica of nf_tables, is what a new listing gives, after any command."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.model.table import READ_TABLES
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.sources.rules import ahead, follower, native, rulesets
from c2c_auditor.sources.rules.follower import Follower
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.replica import Replica
from support.commits import commits_to
from support.namespaces import in_namespace
from support.recordings import CELLS

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("iptables-nft-restore") is None, reason="needs iptables-nft-restore"),
]
CHAINS = ("one", "two", "three")
IPV6 = r.AddressFamily.IPV6


class Followed:
    """A follower with its replica, and a new one to compare it with."""

    def __init__(self, netlink: Netlink) -> None:
        self.requests, self.announcements = netlink.requests, netlink.announcements
        self.replica = Replica({family: RuleDecoder(family) for family in r.AddressFamily})
        self.follower = Follower(netlink, self.replica)

    def rules(self) -> r.Ruleset:
        """The state at the newest generation."""
        self.follower.catch_up()
        return rulesets.ruleset(self.replica.tables, r.AddressFamily.IPV4, READ_TABLES)


@contextmanager
def followed(buffer: int = 1 << 22) -> Iterator[Followed]:
    """One in this namespace."""
    with Netlink(buffer) as netlink:
        yield Followed(netlink)


def _listed() -> r.Ruleset:
    with followed() as new:
        return new.rules()


def _run(*argv: str, given: str = "", check: bool = True) -> bool:
    done = subprocess.run(argv, check=False, input=given, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done.returncode == 0


def _address(number: int) -> str:
    return f"10.0.{number // 256}.{number % 256}"


_CHAIN = st.sampled_from((*CHAINS, "FORWARD"))
_PLACE = st.integers(1, 5)
_RULE = st.tuples(st.integers(0, 999), st.sampled_from(("ACCEPT", "RETURN", *CHAINS[1:])))


def _rule(drawn: tuple[int, str]) -> str:
    return f"-s {_address(drawn[0])} -j {drawn[1]}"


# A chain may only be jumped to by one that stands before it, or the kernel sees a loop and refuses.
_COMMANDS = st.one_of(
    st.tuples(_CHAIN, _RULE).map(lambda drawn: f"-A {drawn[0]} {_rule(drawn[1])}"),
    st.tuples(_CHAIN, _PLACE, _RULE).map(lambda drawn: f"-I {drawn[0]} {drawn[1]} {_rule(drawn[2])}"),
    st.tuples(_CHAIN, _PLACE, _RULE).map(lambda drawn: f"-R {drawn[0]} {drawn[1]} {_rule(drawn[2])}"),
    st.tuples(_CHAIN, _PLACE).map(lambda drawn: f"-D {drawn[0]} {drawn[1]}"),
    _CHAIN.map(lambda chain: f"-F {chain}"),
    st.sampled_from(CHAINS).map(lambda chain: f"-N {chain}"),
    st.sampled_from(CHAINS).map(lambda chain: f"-X {chain}"),
    st.tuples(st.sampled_from(CHAINS), st.sampled_from((*CHAINS, "four"))).map(lambda pair: "-E {} {}".format(*pair)),
    st.sampled_from(("DROP", "ACCEPT")).map(lambda policy: f"-P FORWARD {policy}"),
)
"""Commands of iptables; some are refused, which changes nothing."""


@in_namespace
def test_after_any_command_the_replica_is_what_a_listing_gives() -> None:
    """Appended, inserted, replaced and deleted rules; chains made, renamed, flushed and deleted; batches of them."""
    with followed() as follows:
        follows.rules()
        listings = follows.follower.listings

        @seed(20261126)
        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(batches=st.lists(st.lists(_COMMANDS, min_size=1, max_size=6), min_size=1, max_size=8))
        def check(batches: list[list[str]]) -> None:
            _run("iptables-nft-restore", given="*filter\n" + "".join(f":{name} -\n" for name in CHAINS) + "COMMIT\n")
            for commands in batches:
                together = "\n".join(("*filter", *commands, "COMMIT", ""))
                if len(commands) == 1 or not _run("iptables-nft-restore", "-n", given=together, check=False):
                    for command in commands:
                        _run("iptables-nft", *command.split(), check=False)
                follows.follower._follow(follows.requests.generation())  # noqa: SLF001 - without what dumps would mend
                # In doubt is only what a batch does to a chain whose first rule it deletes.
                assert not follows.replica.stale or any(command.startswith("-D") for command in commands), commands
                assert follows.rules() == _listed(), commands
                assert not follows.replica.stale

        check()
        assert follows.follower.listings == listings


@in_namespace
def test_silks_swap_of_the_policy_chain_is_followed_in_each_of_its_six_commits() -> None:
    """A new chain, its jump, its rules, the old jump gone, the old chain flushed, and deleted: no dump is needed."""
    saved = re.sub(r"^\[.*?\] ", "", (CELLS / "pair-nft" / "iptables-save.txt").read_text(), flags=re.MULTILINE)
    _run("iptables-nft-restore", given=saved)
    (old,) = {line.split()[1] for line in saved.splitlines() if line.startswith("-A vpa--")}
    lines = [line for line in saved.splitlines() if line.startswith(f"-A {old} ")]
    new = "vpa--9999999999999999"
    with followed() as follows:
        follows.rules()
        fill = "\n".join(("*filter", *(line.replace(old, new) for line in lines), "COMMIT", ""))
        for command, given in (
            (f"-N {new}", ""),
            (f"-I FORWARD 1 -j {new}", ""),
            ("", fill),
            (f"-D FORWARD -j {old}", ""),
            (f"-F {old}", ""),
            (f"-X {old}", ""),
        ):
            _run(*(("iptables-nft-restore", "-n") if given else ("iptables-nft", *command.split())), given=given)
            follows.follower._follow(follows.requests.generation())  # noqa: SLF001 - without what dumps would mend
            assert not follows.replica.stale, command
            assert follows.rules() == _listed(), command
        assert len(follows.rules().chains("filter")[new].rules) == len(lines)


@in_namespace
def test_a_chain_that_is_renamed_keeps_its_rules_and_those_that_jump_to_it() -> None:
    """As silk does with a security group chain: the old one goes, the candidate takes its name."""
    _run(
        "iptables-nft-restore",
        given="*filter\n:casg-1 -\n:netout--1 -\n-A casg-1 -s 10.0.0.1 -j ACCEPT\n-A netout--1 -g casg-1\nCOMMIT\n",
    )
    with followed() as follows:
        follows.rules()
        _run("iptables-nft", "-E", "casg-1", "asg-1")
        follows.follower._follow(follows.requests.generation())  # noqa: SLF001 - without what dumps would mend
        read = follows.rules()
        assert read == _listed()
        assert read.chains("filter")["netout--1"].rules == (r.Rule(target=r.Goto(chain="asg-1")),)


@in_namespace
def test_what_is_lost_leads_to_a_new_listing() -> None:
    """A restore of thousands of rules overflows a small buffer; nothing is missed, and the overflow is counted."""
    with followed(buffer=4096) as follows:
        follows.rules()
        for name in ("fleet-40", "fleet-12-nft", "fleet-40"):
            _run("iptables-nft-restore", given=(CELLS / name / "iptables-save.txt").read_text())
        assert follows.rules() == _listed()
        assert follows.announcements.overflows > 0
        assert follows.follower.listings > 1


@in_namespace
def test_what_a_thread_receives_ahead_is_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chain by the thread, with little room; it ends with the reading, also with one that fails, as it may."""
    _run("iptables-nft-restore", given=(CELLS / "fleet-40" / "iptables-save.txt").read_text())
    many = "\n".join(f"-A FORWARD -s {_address(number)} -j ACCEPT" for number in range(2000))
    _run("iptables-nft-restore", "-n", given=f"*filter\n{many}\nCOMMIT\n")
    expected = _listed()
    monkeypatch.setattr(follower, "_LARGE", 0)
    monkeypatch.setattr(ahead, "_WAITING", 1)
    assert _listed() == expected
    with followed() as follows:
        # An answer's end alone is 20 bytes: chains without rules are not received by the thread.
        giving_up = lambda _, datagrams: [one.given_up for one in datagrams if len(one) > 20]  # noqa: E731
        monkeypatch.setattr(follows.replica, "fill_chain", giving_up)
        with pytest.raises(AttributeError, match="given_up"):
            follows.rules()
        assert follows.follower.generation is None
        monkeypatch.setattr(ahead, "Requests", lambda **_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            follows.rules()
        monkeypatch.undo()
        assert follows.rules() == expected
    deadline = time.monotonic() + 30
    while any(thread.name == "dumps" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@in_namespace
def test_readings_end_while_others_commit_without_pause() -> None:
    """Two writers at full speed, to other chains and to FORWARD: each reading is that of one generation, and whole."""
    _run("iptables-nft-restore", given=(CELLS / "fleet-40" / "iptables-save.txt").read_text())
    with followed() as follows:
        stop = threading.Event()
        writers = [threading.Thread(target=_write, args=(chain, stop)) for chain in ("noise", "FORWARD")]
        for writer in writers:
            writer.start()
        try:
            for _ in range(30):
                follows.follower.generation = None  # as after an overflow
                read = follows.rules()
                assert "overlay--" in "".join(read.chains("filter"))
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert follows.rules() == _listed()


def _write(chain: str, stop: threading.Event) -> None:
    _run("iptables-nft", "-N", chain, check=False)
    while not stop.is_set():
        _run("iptables-nft", "-I", chain, "-s", "192.0.2.1", "-j", "ACCEPT")
        _run("iptables-nft", "-D", chain, "1")


@in_namespace
def test_a_commit_to_one_family_is_followed_by_the_reading_of_that_one_alone() -> None:
    """Chains that did not change are the identical objects."""
    _run("iptables-nft-restore", given=(CELLS / "pair-nft" / "iptables-save.txt").read_text())
    with followed() as follows:
        before = follows.rules()
        _run("ip6tables-nft", "-A", "FORWARD", "-j", "ACCEPT")
        after = follows.rules()
        assert all(after.chains("filter")[name] is chain for name, chain in before.chains("filter").items())
        _run("iptables-nft", "-A", "INPUT", "-j", "ACCEPT")
        after = follows.rules()
        changed = [name for name, chain in after.chains("filter").items() if chain is not before.chains("filter")[name]]
        assert changed == ["INPUT"]


@in_namespace
def test_two_hundred_commits_a_second_make_nobody_blind() -> None:
    """Each reading is whole and none needs a new listing; one that must list meanwhile ends too."""
    _run("iptables-nft-restore", given=(CELLS / "fleet-40" / "iptables-save.txt").read_text())
    _run("iptables-nft", "-N", "noise")
    with followed() as follows:
        expected = {name: chain for name, chain in follows.rules().chains("filter").items() if name != "noise"}
        with commits_to("noise", a_second=200) as commits:
            for _ in range(20):
                before = commits[0]
                while commits[0] == before:
                    time.sleep(0.01)
                read = follows.rules().chains("filter")
                assert {name: chain for name, chain in read.items() if name != "noise"} == expected
            assert follows.follower.listings == 1
            for _ in range(5):
                follows.follower.generation = None  # as after an overflow
                read = follows.rules().chains("filter")
                assert {name: chain for name, chain in read.items() if name != "noise"} == expected
        assert follows.rules() == _listed()
        assert follows.announcements.overflows == 0


@in_namespace
def test_what_is_remembered_of_rules_that_are_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell whose containers come and go for months holds no more than one that was just started."""
    monkeypatch.setattr(native, "_SPARE", 10)
    decoders: list[RuleDecoder] = []

    class Decoder(RuleDecoder):
        def __init__(self, family: r.AddressFamily) -> None:
            super().__init__(family)
            decoders.append(self)

    monkeypatch.setattr(native, "RuleDecoder", Decoder)
    with Netlink() as netlink:
        reader = native.NativeReader(netlink)
        lasting = None
        for turn in range(12):
            lines = [f"-A FORWARD -s 10.{turn}.0.{host} -p tcp --dport {host} -j ACCEPT" for host in range(1, 21)]
            text = "\n".join(("*filter", ":FORWARD ACCEPT", ":one -", "-A FORWARD -j one", *lines, "COMMIT", ""))
            subprocess.run(("iptables-nft-restore", "-w"), input=text, text=True, check=True, timeout=30)
            rules = reader.read().chains("filter")["FORWARD"].rules
            assert len(rules) == 21
            assert lasting is None or rules[0] is lasting
            lasting = rules[0]
            # A quarter more than there are, and what may come before they are counted again.
            assert sum(map(len, decoders)) <= 21 * 5 // 4 + 10 + 20
        assert reader.read() == _listed()
