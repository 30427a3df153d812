"""The legacy reader against real kernel tables: it agrees with iptables-legacy-save and leaves no trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Author
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules import legacy
from c2c_auditor.sources.rules.legacy import LegacyReader, tables_in_use
from support.namespaces import in_namespace
from support.recordings import CELL_NAMES, CELLS, GOLDEN, recording

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("iptables-legacy-restore") is None, reason="needs iptables-legacy-restore"),
]
EVERY_OPTION = {
    r.AddressFamily.IPV4: GOLDEN / "every-option.txt",
    r.AddressFamily.IPV6: GOLDEN / "every-option-ipv6.txt",
}
LIST = Path("/proc/thread-self/net/ip_tables_names")


def _run(*argv: str, given: str = "") -> str:
    return subprocess.run(argv, check=True, input=given, capture_output=True, text=True, timeout=30).stdout


def _restore(rules: str, family: r.AddressFamily = r.AddressFamily.IPV4) -> None:
    _run(f"{family.tool}-legacy-restore", "-w", given=rules)


def _saved(family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
    """What iptables itself says, with counters."""
    return parse_save(
        "".join(_run(f"{family.tool}-legacy-save", "-c", "-t", table) for table in ("filter", "nat", "mangle")),
        where="iptables-legacy-save",
    )


def _packets(ruleset: r.Ruleset) -> dict[tuple[str, str], tuple[int, ...]]:
    return {
        (table, name): chain.packets or () for table in ruleset.tables for name, chain in ruleset.chains(table).items()
    }


@contextmanager
def _without_raw_sockets() -> Iterator[None]:
    """As a process without CAP_NET_RAW; the Debian package's service is one, and its tests start it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(legacy, "may_make_raw_sockets", lambda: False)
        yield


@pytest.mark.parametrize("name", CELL_NAMES)
@in_namespace
def test_a_recorded_cell_reads_as_it_is_saved(name: str) -> None:
    """Each recorded cell, loaded into the kernel, comes back with the values and counters that were saved."""
    saved = (CELLS / name / "iptables-save.txt").read_text()
    _run("iptables-legacy-restore", "-w", "-c", given=saved)
    reading = LegacyReader().read()
    assert reading == _saved()
    assert _packets(reading) == _packets(_saved())
    assert reading.backend is r.Backend.LEGACY
    with _without_raw_sockets():
        copy = LegacyReader().read()
    assert (copy, _packets(copy), copy.reader) == (reading, _packets(reading), "getsockopt")


@in_namespace
def test_what_is_different_from_the_reading_before_is_told_without_an_author() -> None:
    """Legacy announces nothing; packets are counted from the first reading on."""
    _restore("*filter\n:vpa--1 -\n-A FORWARD -j vpa--1\n-A vpa--1 -j ACCEPT\nCOMMIT\n")
    reader = LegacyReader()
    assert reader.packets() is None
    reader.read()
    assert (reader.done(), reader.packets()) == ((), {"accepted": 0, "refused": 0})
    _run("iptables-legacy", "-w", "-F", "FORWARD")
    _run("iptables-legacy", "-w", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
    reader.read()
    reader.read()
    (done,) = reader.done()
    assert (done.change.author, done.change.pid) == (Author.UNKNOWN, 0)
    assert done.change.chains == ("filter FORWARD", "filter INPUT")
    assert done.change.removed == ("-t filter -A FORWARD -j vpa--1",)
    assert done.change.added == ("-t filter -A INPUT -s 192.0.2.1/32 -j DROP",)
    assert reader.done() == ()


@pytest.mark.parametrize("family", r.AddressFamily)
@in_namespace
def test_every_option_reads_as_it_is_saved(family: r.AddressFamily) -> None:
    """Every match and target with a value of its own is decoded to what its text means.

    The others are kept, and differ when they differ.
    """
    _restore(EVERY_OPTION[family].read_text(), family)
    reading, saved = LegacyReader().read(family), _saved(family)
    assert reading.family is saved.family is family
    for table in ("filter", "nat", "mangle"):
        for name, chain in saved.chains(table).items():
            found = reading.chains(table)[name]
            if name != "opaque":
                assert (found.policy, found.rules) == (chain.policy, chain.rules), name
    read, expected = reading.chains("filter")["opaque"].rules, saved.chains("filter")["opaque"].rules
    assert [(rule.protocol, _modules(rule)) for rule in read] == [(rule.protocol, _modules(rule)) for rule in expected]
    assert len(set(read)) == len(read)
    with _without_raw_sockets():
        assert LegacyReader().read(family) == reading


def _modules(rule: r.Rule) -> list[str]:
    matches = [match.module if isinstance(match, r.OpaqueMatch) else repr(match) for match in rule.matches]
    return [*sorted(matches), rule.target.name if isinstance(rule.target, r.OpaqueTarget) else repr(rule.target)]


@in_namespace
def test_a_family_is_looked_for_in_its_own_list_and_no_table_is_made() -> None:
    """Tables of IPv4 are none of IPv6, and reading IPv6 where there are none leaves none behind."""
    _restore("*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n")
    reader = LegacyReader()
    assert (reader.in_use(r.AddressFamily.IPV4), reader.in_use(r.AddressFamily.IPV6)) == (True, False)
    assert reader.read(r.AddressFamily.IPV6).tables == {}
    assert not LIST.with_name("ip6_tables_names").read_text()


@in_namespace
def test_an_interface_that_never_matches_is_seen() -> None:
    """`! -i +` matches no packet.

    Iptables-legacy-save prints such a rule as if it matched all of them, the reader does not.
    """
    _restore("*filter\n-A FORWARD ! -i + -j ACCEPT\nCOMMIT\n")
    (rule,) = LegacyReader().read().chains("filter")["FORWARD"].rules
    assert rule.in_interface == r.InterfaceMatch(name="+", negated=True)


@in_namespace
def test_reading_makes_no_table() -> None:
    """In a namespace without legacy tables there are none afterwards either, and the answer says so."""
    assert tables_in_use() is False
    assert LegacyReader().read().tables == {}
    assert LIST.read_text() == ""


@in_namespace
def test_only_tables_that_exist_are_opened() -> None:
    """With a filter table alone, nat and mangle are neither read nor made."""
    _restore("*filter\nCOMMIT\n")
    assert tables_in_use() is True
    assert set(LegacyReader().read().tables) == {"filter"}
    assert LIST.read_text().split() == ["filter"]


@in_namespace
def test_reading_takes_no_lock_and_leaves_no_file(tmp_path: Path) -> None:
    """Where /run is empty, neither the import nor a reading makes a file there.

    Nor does either make one in the directory for temporary files.
    """
    _restore(EVERY_OPTION[r.AddressFamily.IPV4].read_text())
    code = (
        "from c2c_auditor.sources.rules.legacy import LegacyReader; import os; "
        "print(len(LegacyReader().read().tables), os.listdir('/run'))"
    )
    argv = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$0" "$@"', sys.executable, "-c", code)
    said = subprocess.run(
        argv, check=True, capture_output=True, text=True, timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert (said.stdout.split(), said.stderr) == (["3", "[]"], "")
    assert list(tmp_path.iterdir()) == []


@in_namespace
def test_unchanged_rules_are_the_identical_values() -> None:
    """A rule inserted on top moves every jump's offset and every rule's place.

    What did not change is not understood again.
    """
    _restore(EVERY_OPTION[r.AddressFamily.IPV4].read_text())
    reader = LegacyReader()
    before = reader.read().chains("filter")["FORWARD"].rules
    _run("iptables-legacy", "-w", "-I", "FORWARD", "1", "-s", "10.9.9.9", "-j", "ACCEPT")
    after = reader.read().chains("filter")["FORWARD"].rules
    assert [id(rule) for rule in after[1:]] == [id(rule) for rule in before]


@in_namespace
def test_every_change_is_seen_at_once() -> None:
    """Each command's effect is in the next reading: append, jump, policy, delete, rename.

    One jump leads to another chain whose name is as long.
    """
    _restore("*filter\n:aaa - [0:0]\n:bbb - [0:0]\n-A FORWARD -j aaa\nCOMMIT\n*nat\nCOMMIT\n*mangle\nCOMMIT\n")
    reader, copier = LegacyReader(), LegacyReader()
    for command in (
        "-A aaa -s 10.255.1.4 -j MARK --set-xmark 0x9",
        "-R FORWARD 1 -j bbb",
        "-R FORWARD 1 -g bbb",
        "-P FORWARD DROP",
        "-t nat -A POSTROUTING -s 10.255.9.9 -j MASQUERADE",
        "-D FORWARD 1",
        "-E aaa ccc",
    ):
        reader.read()
        _run("iptables-legacy", "-w", *command.split())
        assert reader.read() == _saved(), command
        with _without_raw_sockets():
            assert copier.read() == _saved(), command


@in_namespace
def test_a_reading_is_never_half_of_two_states() -> None:
    """While two rulesets are swapped all the time, each reading is one of them or an error that says so."""
    states = [
        "".join(f"-A FORWARD -s 10.0.{byte}.{n} -j {target}\n" for byte in range(8) for n in range(250))
        for target in ("ACCEPT", "DROP")
    ]
    texts = [f"*filter\n{rules}COMMIT\n" for rules in states]
    _restore(texts[0])
    loop = subprocess.Popen(
        (
            "sh",
            "-c",
            'for n in $(seq 15); do for text; do echo "$text" | iptables-legacy-restore -w; done; done',
            "sh",
            *texts,
        )
    )
    readers = ((LegacyReader(), nullcontext), (LegacyReader(), _without_raw_sockets))
    readings = []
    while loop.poll() is None:
        for reader, way in readers:
            try:
                with way():
                    readings.append(reader.read().chains("filter")["FORWARD"].rules)
            except SourceError as error:
                if error.reason is not Reason.INCONSISTENT:
                    raise
    assert loop.returncode == 0
    assert readings
    assert {len(rules) for rules in readings} == {2000}
    assert {frozenset(rule.target for rule in rules) for rules in readings} <= {
        frozenset({r.ACCEPT}),
        frozenset({r.DROP}),
    }


@in_namespace
def test_memory_stays_flat() -> None:
    """Hundreds of readings of changing rules need no more memory than the first ones.

    Rules that no longer exist are forgotten.
    """
    rules = "".join(
        f"-A FORWARD -s 10.0.{n >> 8}.{n & 255} -m comment --comment src:{n} -j ACCEPT\n" for n in range(2000)
    )
    _restore(f"*filter\n{rules}COMMIT\n")
    reader = LegacyReader()
    sizes = []
    for n in range(300):
        _run("iptables-legacy", "-w", "-R", "FORWARD", "1", "-s", f"10.9.{n >> 8}.{n & 255}")
        reader.read()
        sizes.append(_resident_pages())
    assert max(sizes[-50:]) < max(sizes[:50]) * 1.05


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@in_namespace
def test_without_privileges_it_says_which_are_missing() -> None:
    """A process without CAP_NET_ADMIN gets an error that says so. It cannot see which tables exist."""
    _restore("*filter\nCOMMIT\n")
    reader = LegacyReader()
    reader.read()
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    assert tables_in_use() is not True
    with pytest.raises(SourceError, match=r"\(give the agent CAP_NET_ADMIN\)") as caught:
        reader.read()
    assert caught.value.reason is Reason.PERMISSION


@in_namespace
def test_a_missing_library_is_named(tmp_path: Path) -> None:
    """Without python-iptables' libraries and iptables-legacy-save the error says what to install.

    The environment stays as it was.
    """
    _restore("*filter\nCOMMIT\n")
    before = dict(os.environ)
    sys.modules["iptc"] = None  # type: ignore[assignment]  # as Python itself notes a module that is not there
    with pytest.raises(SourceError, match="libip4tc") as caught:
        LegacyReader(bin_dir=tmp_path).read()
    assert caught.value.reason is Reason.MISSING
    assert dict(os.environ) == before


@in_namespace
def test_more_rules_than_can_be_judged_are_refused() -> None:
    """Table by table: as many as allowed are read, one more is an error."""
    rules = "*filter\n:FORWARD ACCEPT [0:0]\n" + "-A FORWARD -j DROP\n" * 3 + "COMMIT\n"
    subprocess.run(("iptables-legacy-restore", "-w"), input=rules, text=True, check=True, timeout=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(legacy, "MOST_RULES", 3)
        assert len(LegacyReader().read().chains("filter")["FORWARD"].rules) == 3
        patch.setattr(legacy, "MOST_RULES", 2)
        for way in (nullcontext, _without_raw_sockets):
            with way(), pytest.raises(SourceError) as caught:
                LegacyReader().read()
            assert caught.value.reason is Reason.TOO_LARGE


@pytest.fixture
def _no_python_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import fails, as where its library was not built."""
    for name in ("iptc", "iptc.ip4tc", "iptc.ip6tc"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("_no_python_iptables")
@in_namespace
def test_without_python_iptables_the_program_is_read() -> None:
    """The same values and counters, of both families, and it is said; a table that is not there is not made."""
    for family in r.AddressFamily:
        _restore(EVERY_OPTION[family].read_text(), family)
        reader = LegacyReader()
        reading = reader.read(family)
        assert reading == reader.read(family) == _saved(family)
        assert _packets(reading) == _packets(_saved(family))
        assert (reading.backend, reading.reader) == (r.Backend.LEGACY, _run(f"{family.tool}-legacy-save", "-V").strip())
        (said,) = reading.warnings
        assert said.startswith(f"The legacy rules were read with {family.tool}-legacy-save: python-iptables cannot be")
        assert "raw" not in (LIST.with_name(LIST.name.replace("ip_", f"{family.tool[:-6]}_"))).read_text()


@pytest.mark.usefixtures("_no_python_iptables")
@in_namespace
def test_the_report_says_that_the_program_was_read() -> None:
    """And judges as it does with python-iptables: the cell is clean."""
    _restore((CELLS / "pair" / "iptables-save.txt").read_text())
    judged = judge_cell(Reading(facts=recording("pair").facts, rulesets=(LegacyReader().read(),)))
    assert judged.judgement.findings == ()
    said = [note for note in judged.judgement.notes if "iptables-legacy-save: python-iptables cannot" in note]
    assert len(said) == 1
    main = recording("pair").ruleset
    _restore("*filter\n-F\n-X\n-A FORWARD -s 198.51.100.1 -j DROP\nCOMMIT\n")
    judged = judge_cell(Reading(facts=recording("pair").facts, rulesets=(main, LegacyReader().read())))
    assert [note for note in judged.judgement.notes if note in said] == said
