"""Changes to the rules wherever they are told: API, page, status, terminal, bundles, pseudonyms."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from attrs import evolve
from rich.console import Console

from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.errors import SourceError
from c2c_auditor.export.changes import change_document, changes_json, described, last_of
from c2c_auditor.export.document import report_document
from c2c_auditor.export.status import status_lines
from c2c_auditor.export.text import print_report
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Act, Author, ChainPlace, Change, Deed
from c2c_auditor.model.report import Report
from c2c_auditor.server.pages import Templates, finding_page, overview_page
from c2c_auditor.sources.recordings.journal import parse_changes
from c2c_auditor.sources.recordings.redact import redacted
from c2c_auditor.sources.recordings.writing import write_bundle
from c2c_auditor.sources.rules.committers import Process
from c2c_auditor.sources.rules.deeds import told
from support.recordings import CELLS
from support.reports import NOW, clean_report, flushed_report

FLUSH = Change(
    seen=NOW - 60,
    author=Author.FOREIGN,
    generation=7,
    pid=4711,
    process="iptables",
    command="iptables -F FORWARD",
    parent="bash (4700)",
    chains=("filter FORWARD",),
    removed=("-t filter -A FORWARD -j overlay--79827b7a-caea-4518-",),
    left_out=3,
)
SWAP = Change(
    seen=NOW - 30, author=Author.VPA, act=Act.POLICY_SWAP, generation=8, pid=99, process="iptables", chains=("filter",)
)
LEGACY = Change(seen=NOW - 10, author=Author.UNKNOWN, chains=("filter INPUT",), added=("-t filter -A INPUT -j DROP",))
WORDS = "`iptables -F FORWARD` by pid 4711 (iptables), parent bash (4700)"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (FLUSH, WORDS),
        (evolve(FLUSH, command="", parent=""), "4 rules added or removed in filter FORWARD by pid 4711 (iptables)"),
        (
            evolve(FLUSH, command="", left_out=0),
            "1 rule removed in filter FORWARD by pid 4711 (iptables), parent bash (4700)",
        ),
        (SWAP, "policy swap by pid 99 (iptables), of vxlan-policy-agent"),
        (LEGACY, "1 rule added in filter INPUT, by whom is not known"),
        (Change(seen=1.0, author=Author.FOREIGN, pid=7, process="nft"), "a commit to the rules by pid 7 (nft)"),
        (evolve(FLUSH, command="x\x1b[2J"), "`x\\x1b[2J` by pid 4711 (iptables), parent bash (4700)"),
    ],
)
def test_a_change_is_said_in_words(change: Change, words: str) -> None:
    """What was done and by whom, as far as it is known; foreign text steers no terminal."""
    assert described(change) == words


def test_what_others_did_comes_first() -> None:
    """Where they did nothing, silk's own work is shown."""
    assert last_of((FLUSH, SWAP, LEGACY), 5) == (LEGACY, FLUSH)
    assert last_of((SWAP,), 5) == (SWAP,)
    assert last_of((FLUSH, LEGACY), 1) == (LEGACY,)


def _blamed() -> Report:
    report = flushed_report()
    findings = tuple(evolve(finding, changed_by=FLUSH) for finding in report.findings)
    return evolve(report, findings=findings, journal=(FLUSH, SWAP))


def test_json_comes_back_as_it_was() -> None:
    """The API's answer, newest first, is what a bundle holds and what is read from it."""
    text = changes_json((FLUSH, SWAP, LEGACY))
    assert [one["generation"] for one in json.loads(text)["changes"]] == [0, 8, 7]
    assert parse_changes(text, where="x") == (FLUSH, SWAP, LEGACY)
    with pytest.raises(SourceError, match="changes"):
        parse_changes('{"changes": [{"pid": "x"}]}', where="changes.json")


def test_a_finding_tells_in_json_what_caused_it() -> None:
    """Null where nobody knows."""
    assert report_document(_blamed())["findings"][0]["changed_by"] == change_document(FLUSH)
    assert report_document(flushed_report())["findings"][0]["changed_by"] is None


def test_status_and_terminal_name_the_change() -> None:
    """Once for each cause on one screen, for each finding in an audit; and the last changes."""
    report = _blamed()
    status = list(status_lines(report, NOW))
    assert [line for line in status if line.startswith(f"  changed 2026-11-23 02:12:20 UTC, {WORDS}")]
    assert status[-1] == f"  2026-11-23 02:12:20 UTC, {WORDS}"
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    with console.capture() as captured:
        print_report(report, console)
    assert f"changed  2026-11-23 02:12:20 UTC, {WORDS}\n" in captured.get()
    assert "    - -t filter -A FORWARD -j overlay--79827b7a-caea-4518-\n    … and 3 more\n" in captured.get()


def test_the_pages_name_the_change() -> None:
    """The overview for each cause and among the last changes, the finding's page beside its since."""
    templates, report = Templates.read(), _blamed()
    page = overview_page(templates, report, NOW)
    assert f"Changed <time>2026-11-23 02:12:20 UTC, {WORDS}</time>." in page
    assert f"{WORDS}\n<pre>\n- -t filter -A FORWARD -j overlay--79827b7a-caea-4518-\n… and 3 more\n</pre>" in page
    assert "No last change" not in page
    (number, *_) = (one["id"] for one in report_document(report)["findings"])
    one = finding_page(templates, report, number, NOW)
    assert one is not None
    assert f"<dt>changed by</dt>\n<dd>2026-11-23 02:12:20 UTC, {WORDS}</dd>" in one
    evil = evolve(FLUSH, command="<script>alert(1)</script>")
    assert "<script>" not in overview_page(templates, evolve(clean_report(), journal=(evil,)), NOW)


def test_what_is_told_is_bounded() -> None:
    """The first few chains and rules, and how many more; a rule is spelled as iptables takes it."""
    places = [ChainPlace(r.AddressFamily.IPV4, "filter", f"one-{n:02}") for n in range(30)]
    rules = {place: (r.Rule(target=r.ACCEPT),) * 5 for place in places}
    deed = Deed(chains=frozenset(places), added=rules, removed=rules)
    change = told(deed, seen=1.0, author=Author.FOREIGN, by=Process(pid=1, name="x", parent="sh", parent_pid=2))
    assert (len(change.chains), len(change.added), len(change.removed), change.left_out) == (10, 10, 10, 280)
    assert change.added[0] == "-t filter -A one-00 -j ACCEPT"
    assert change.parent == "sh (2)"


def _bundle(folder: Path, **more: str) -> Path:
    names = ("iptables-save.txt", "store.json", "policies.json", "vxlan-policy-agent.json", "cell.json")
    write_bundle(folder, {name: (CELLS / "pair" / name).read_text() for name in names} | more)
    return folder


def test_a_bundle_tells_the_last_changes_and_older_ones_do_without(tmp_path: Path) -> None:
    """What the agent knew when it was captured."""
    read = BundleReader(directory=_bundle(tmp_path / "new", **{"changes.json": changes_json((FLUSH, SWAP))})).read()
    assert read.journal == (FLUSH, SWAP)
    assert all(status.up for status in read.sources)
    assert BundleReader(directory=_bundle(tmp_path / "old")).read().journal == ()


def test_pseudonyms_cover_the_changes() -> None:
    """Handles as in the rules, others' chains and tables, processes; of commands nothing is left."""
    secret = Change(
        seen=NOW,
        author=Author.FOREIGN,
        pid=4711,
        process="acme-firewall",
        command="acme-firewall --customer secret",
        parent="secret-shell (4700)",
        chains=("filter SECRET-in", "inet secretwall forward", "filter overlay--79827b7a-caea-4518-"),
        added=(
            "-t filter -A FORWARD -j SECRET-in",
            '-t inet secretwall -A forward -m comment --comment "secret customer" -j LOG --log-prefix "secret "',
        ),
        removed=("-t filter -A overlay--79827b7a-caea-4518- -d 10.255.1.4/32 -j REJECT",),
    )
    rules = ":FORWARD ACCEPT [0:0]\n:SECRET-in - [0:0]\n:overlay--79827b7a-caea-4518- - [0:0]\n"
    files = redacted({"iptables-save.txt": rules, "changes.json": changes_json((secret, FLUSH))})
    text = files["changes.json"]
    assert "secret" not in text.lower()
    assert "acme" not in text
    assert "79827b7a" not in text
    flush, change = parse_changes(text, where="x")[::-1]
    assert (flush.process, flush.parent, flush.command) == ("iptables", "bash (4700)", "")
    renamed, overlay = files["iptables-save.txt"].splitlines()[1:3]
    assert change.chains[0] == f"filter {renamed.removeprefix(':').removesuffix(' - [0:0]')}"
    assert change.chains[2] == f"filter {overlay.removeprefix(':').removesuffix(' - [0:0]')}"
    assert change.added[0] == f"-t filter -A FORWARD -j {change.chains[0].removeprefix('filter ')}"
    assert change.removed[0].endswith("-d 10.255.1.4/32 -j REJECT")
    assert re.fullmatch(r"process-\d+ \(4700\)", change.parent)
    assert redacted({"changes.json": "no json: secret"})["changes.json"] == "{"
    without = redacted({"changes.json": changes_json((secret,))}, addresses=True)["changes.json"]
    assert "10.255.1.4" not in without
    assert parse_changes(without, where="x")[0].seen == NOW
