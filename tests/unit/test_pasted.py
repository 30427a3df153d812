"""Texts that people paste: in every form the same findings as the plain text, and of a part only what it shows."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import TextWrapper

import pytest
from click.testing import CliRunner

from c2c_auditor.assembly.recorded import FilesReader
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.cli import cli
from c2c_auditor.errors import ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter import pasted
from c2c_auditor.sources.rules.text import read_pasted, read_text
from support.recordings import CELLS, GOLDEN, SMALL_CELLS

TEXTS = GOLDEN / "reports" / "texts"
_PAIRS = ("pair", "pair-nft")
_SLIP = {
    "--dport 61001 -m mark --mark 0x1 ": "--dport 61001 -m mark --mark 0x4 ",
    "dpt:61001 mark match 0x1 ": "dpt:61001 mark match 0x4 ",
}


def _tables(saved: str) -> dict[str, str]:
    """What ``iptables -t TABLE -S`` prints of each table of a saved text."""
    tables: dict[str, str] = {}
    for name, body in re.findall(r"^\*(\w+)\n(.*?)^COMMIT$", saved, re.MULTILINE | re.DOTALL):
        listed = re.sub(r"^\[\d+:\d+\] ", "", body, flags=re.MULTILINE)
        listed = re.sub(r"^:(\S+) - .*", r"-N \1", listed, flags=re.MULTILINE)
        tables[name] = re.sub(r"^:(\S+) (\S+) .*", r"-P \1 \2", listed, flags=re.MULTILINE)
    return tables


def _printed(cell: str, command: str, *, slip: bool = True) -> str:
    """What ``command`` prints on a recorded cell; ``slip`` gives one ACCEPT the tutorial's wrong mark."""
    if command == "iptables -S":
        text = _tables((CELLS / cell / "iptables-save.txt").read_text())["filter"]
    else:
        text = (CELLS / cell / f"{command.replace(' -', '-', 1).replace(' ', '')}.txt").read_text()
    for right, wrong in _SLIP.items() if slip else ():
        text = text.replace(right, wrong)
    return text


def _judged(path: Path, text: str, cell: str | None = None) -> Judgement:
    """The judgement of a text from a file, with the facts of ``cell`` if that is given."""
    path.write_bytes(text.encode())
    store, policies = (CELLS / cell / f"{name}.json" if cell else None for name in ("store", "policies"))
    return judge_cell(FilesReader(rules=(path,), store=store, policies=policies).read()).judgement


def _each_line(before: str) -> Callable[[str, str], str]:
    return lambda text, _: "".join(f"{before}{line}\n" for line in text.splitlines())


def _coloured(text: str, _: str) -> str:
    return re.sub("vpa--|ACCEPT", lambda found: f"\x1b[01;31m\x1b[K{found[0]}\x1b[m\x1b[K", text)


def _all_at_once(text: str, command: str) -> str:
    inner = f"```console\n$ sudo {command}\n{_coloured(text, '')}\n```\n".replace(" ", "\u00a0", 40)
    return "\ufeff" + "".join(f"> > {line}\r\n" for line in inner.splitlines())


def _of_bosh(text: str, _: str) -> str:
    lines = "".join(f"diego-cell/0a1b-22: stdout | {line}\r\n" for line in text.splitlines())
    return (
        "Using environment '10.0.0.6' as client 'admin'\n\nTask 123. Done\n"
        f"diego-cell/0a1b-22: stderr | Unauthorized use is strictly prohibited.\n{lines}"
        "diego-cell/0a1b-22: stderr | Connection to 10.0.0.1 closed.\n\nSucceeded\n"
    )


FORMS: dict[str, Callable[[str, str], str]] = {
    "prompt": lambda text, command: f"vcap@diego-cell/0:~$ sudo {command}\n{text}vcap@diego-cell/0:~$ ",
    "root's prompt": lambda text, command: f"[root@cell ~]# {command}\n{text}[root@cell ~]# \n",
    "bare prompt": lambda text, command: f"# /var/vcap/packages/iptables/sbin/{command}\n{text}#\n",
    "command": lambda text, command: f"{command}\n\n{text}",
    "other commands": lambda text, command: f"$ bosh ssh diego-cell/0\n$ sudo -i\n# {command}\n{text}$ exit\n",
    "quoted": _each_line("> "),
    "quoted twice": _each_line(">> "),
    "indented": _each_line("    "),
    "indented by tabs": _each_line("\t"),
    "coloured": _coloured,
    "coloured without escapes": lambda text, command: _coloured(text, command).replace("\x1b", ""),
    "title": lambda text, _: f"\x1b]0;cell\x07{text}",
    "CRLF": lambda text, _: text.replace("\n", "\r\n"),
    "CR": lambda text, _: text.replace("\n", "\r"),
    "byte order mark": lambda text, _: f"\ufeff{text}",
    "fence": lambda text, _: f"```\n{text}```\n",
    "fence with a language": lambda text, _: f"  ~~~text\n{text}\n  ~~~\n",
    "spaces that do not break": lambda text, _: text.replace(" ", "\u00a0"),
    "blank lines": lambda text, _: f"\n\n{text}\n\n",
    "all at once": _all_at_once,
    "bosh ssh": _of_bosh,
    "a fence of Jira": lambda text, _: f"{{code:bash}}\n{text}{{code}}\n",
    "no format": lambda text, _: f"{{noformat}}\n{text}{{noformat}}\n",
    "sudo asks": lambda text, command: f"$ sudo {command}\n[sudo] password for vcap: \n{text}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["iptables-save", "iptables -S", "iptables -L", "iptables -L -n -v"])
@pytest.mark.parametrize("cell", _PAIRS)
def test_every_form_of_a_paste_gives_the_findings_of_the_plain_text(
    tmp_path: Path, cell: str, command: str, form: str
) -> None:
    """With and without facts; what could not be judged is the same, too."""
    plain = _printed(cell, command)
    given = FORMS[form](plain, command)
    assert given != plain
    for facts in (None, cell):
        expected, found = (_judged(tmp_path / "rules", text, facts) for text in (plain, given))
        assert [finding.kind.value for finding in expected.findings] == ["accept_changed"]
        assert found.findings == expected.findings
        assert (found.unknown, found.notes) == (expected.unknown, expected.notes)


@pytest.mark.parametrize("command", ["iptables-save", "iptables -S", "iptables -L", "iptables -L -n -v"])
@pytest.mark.parametrize("cell", _PAIRS)
def test_what_is_cleaned_away_is_in_no_text_of_iptables(cell: str, command: str) -> None:
    """A text as it was printed stays as it is, and is the output of one command."""
    text = _printed(cell, command)
    assert pasted.cleaned(text) == text
    assert [output.text for output in pasted.outputs(text, where="x")] == [text]
    whole = read_pasted(text, where="x")
    assert whole == read_text(text, where="x")
    assert r.Loss.OTHER_CHAINS not in whole.lost


def test_rules_that_speak_of_iptables_are_rules() -> None:
    """Comments and prefixes of logs that look like a prompt, a quotation or a fence stay."""
    for comment in (
        "$ iptables -S",
        "# iptables-save",
        "> quoted",
        "```",
        "is incompatible, use 'nft' tool",
        "Permission denied",
    ):
        text = f'-P FORWARD ACCEPT\n-A FORWARD -m comment --comment "{comment}" -j ACCEPT\n'
        (rule,) = read_pasted(text, where="x").chains("filter")["FORWARD"].rules
        assert rule.matches == (r.CommentMatch(text=comment),)


@pytest.mark.parametrize(("opening", "closing"), [("\u201c", "\u201d"), ("\u201e", "\u201c"), ("&quot;", "&quot;")])
@pytest.mark.parametrize("command", ["iptables-save", "iptables -S"])
def test_quotation_marks_that_a_mail_program_changed_hide_nothing(
    tmp_path: Path, command: str, opening: str, closing: str
) -> None:
    """Silk's comments are what rules are known by."""
    text = re.sub('"([^"]*)"', rf"{opening}\1{closing}", _printed("pair", command))
    text = re.sub(f"prefix {opening}([^\n]*?){closing}", r'prefix "\1"', text)
    assert opening in text
    assert [finding.kind.value for finding in _judged(tmp_path / "rules", text).findings] == ["accept_changed"]


def test_the_rules_of_several_machines_are_not_one_cells() -> None:
    """``bosh ssh -c`` prints those of all instances below each other."""
    text = "diego-cell/a: stdout | -P FORWARD ACCEPT\ndiego-cell/b: stdout | -P INPUT ACCEPT\n"
    with pytest.raises(ParseError, match=r"line 2: it holds the rules of several machines, diego-cell/a and"):
        read_pasted(text, where="x")


@pytest.mark.parametrize("cell", SMALL_CELLS)
@pytest.mark.parametrize("form", ["iptables-save", "iptables -S", "iptables -L", "iptables -L -n -v"])
def test_whatever_a_filter_leaves_of_a_right_cell_has_no_finding_of_its_own(
    tmp_path: Path, cell: str, form: str
) -> None:
    """Lines of any chance, with the command that left them: they prove nothing about those that are not there."""
    chance = random.Random(f"{cell} {form}")
    path = tmp_path / "rules"
    whole = _printed(cell, form, slip=False)
    usual = {finding.kind for facts in (None, cell) for finding in _judged(path, whole, facts).findings}
    for share in (0.1, 0.3, 0.5, 0.8, 0.97):
        lines = [line for line in whole.splitlines(keepends=True) if chance.random() < share or line[0] in "*C"]
        for facts in (None, cell):
            found = _judged(path, f"$ {form} | grep -v x\n{''.join(lines)}", facts).findings
            assert {finding.kind for finding in found} <= usual, (share, [finding.summary for finding in found])


@pytest.mark.parametrize("cell", _PAIRS)
def test_the_outputs_of_several_commands_are_one_reading(tmp_path: Path, cell: str) -> None:
    """Table by table, chain by chain: as if iptables-save had printed all."""
    saved = _printed(cell, "iptables-save")
    tables = _tables(saved)
    by_table = "".join(f"$ sudo iptables -t {name} -S\n{text}" for name, text in tables.items())
    by_chain = "".join(
        f"cell:~# iptables -w -t {table} -S {name}\n"
        + "".join(line for line in text.splitlines(keepends=True) if line.split(" ")[1].strip() == name)
        for table, text in tables.items()
        for name in dict.fromkeys(line.split(" ")[1] for line in text.splitlines())
    )
    expected = read_text(saved, where="x")
    for text in (by_table, by_chain):
        assert read_pasted(text, where="x") == expected
        assert _judged(tmp_path / "rules", text, cell).findings == _judged(tmp_path / "rules", saved, cell).findings


def test_a_chain_that_is_shown_whole_and_in_part_counts_whole(tmp_path: Path) -> None:
    """In either order; and two listings from two cells, a part each, are held against each other."""
    listed = _tables(_printed("pair", "iptables-save"))["filter"]
    some = "".join(
        line for line in listed.splitlines(keepends=True) if "-j MARK" in line or "-A FORWARD -j vpa" in line
    )
    outputs = f"$ iptables -S\n{listed}", f"$ iptables -S | grep vpa\n{some}"
    for text in ("".join(outputs), "".join(reversed(outputs))):
        assert read_pasted(text, where="x").tables == read_text(listed, where="x").tables
        assert [finding.kind.value for finding in _judged(tmp_path / "rules", text).findings] == ["accept_changed"]
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.write_text(f"> $ iptables -S | grep MARK\n> {some}")
    (accept,) = (line for line in listed.splitlines() if "--dport 61001 -m mark" in line)
    destination.write_text(f"> {accept}\n")
    judgement = judge_cell(FilesReader(rules=(destination, source)).read()).judgement
    assert [finding.kind.value for finding in judgement.findings] == ["accept_changed"]


@pytest.mark.parametrize("facts", [False, True])
@pytest.mark.parametrize("cell", _PAIRS)
def test_a_part_of_a_right_cell_has_no_finding(tmp_path: Path, cell: str, *, facts: bool) -> None:
    """Single chains, by -S and by -L, and what grep leaves: a chain or rule that is not shown is not missing."""
    saved = _printed(cell, "iptables-save", slip=False)
    listed = _tables(saved)["filter"]
    parts = [block for block in _printed(cell, "iptables -L", slip=False).split("\n\n") if block.strip()]
    parts += [
        "".join(line for line in listed.splitlines(keepends=True) if line.split(" ")[1].strip() == name)
        for name in dict.fromkeys(line.split(" ")[1].strip() for line in listed.splitlines())
    ]
    for word in ("vpa--", "set-xmark", "10.255.1.4", "10.255.2.7", "REJECT", "ACCEPT", "FORWARD", "overlay", "-m"):
        parts += ["".join(line for line in text.splitlines(keepends=True) if word in line) for text in (saved, listed)]
        parts += [f"$ {command} {word}\n{parts[-1]}" for command in ("iptables -S | grep -e", "grep rules -e")]
    for part in parts:
        judgement = _judged(tmp_path / "rules", part, cell if facts else None)
        assert not judgement.findings, part
        assert any("a part of the cell's rules" in note and "iptables-save" in note for note in judgement.notes), part


def test_a_part_shows_what_is_wrong_in_it(tmp_path: Path) -> None:
    """The tutorial's slip in one chain alone; a jump that FORWARD, shown whole, does not have."""
    listed = _tables(_printed("pair", "iptables-save"))["filter"].splitlines(keepends=True)
    chain = "".join(line for line in listed if " vpa--" in line and "FORWARD" not in line)
    assert [finding.kind.value for finding in _judged(tmp_path / "rules", chain).findings] == ["accept_changed"]
    forward = "".join(line for line in listed if " FORWARD" in line and "vpa--" not in line)
    (found,) = _judged(tmp_path / "rules", forward, "pair").findings
    assert found.kind.value == "policy_chain_missing"
    changed = [line for line in listed if "vpa--" in line and "-N" not in line and "61001" not in line]
    assert not _judged(tmp_path / "rules", "".join(changed), "pair").findings


def _audit(path: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        cli, ["audit", "--rules", str(path), *arguments], standalone_mode=False
    )
    if done.exception is not None:
        assert isinstance(done.exception, ParseError)
        return 2, str(done.exception)
    return done.return_value, done.stdout


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("partial-listing/S-vpa.txt", 0, "no contradiction found; 41 of 46 kinds of findings not judged"),
        ("partial-listing/grep-set-xmark.txt", 0, "The text is a part of the cell's rules:"),
        ("pasted/indented-save.txt", 0, "no contradiction found"),
        ("pasted/prompt.txt", 0, "no contradiction found"),
        ("pasted/ip6.txt", 2, "these are rules of ip6tables, and policies between containers are IPv4's: give"),
        ("pasted/incompatible.txt", 2, "run iptables-nft-save of the iptables that silk uses"),
        ("coloured/save-coloured.txt", 0, "no contradiction found"),
    ],
)
def test_each_pasted_text_of_a_report_gets_its_answer(name: str, status: int, said: str) -> None:
    """A right answer, or one sentence that says what to run instead; CLEAN is none."""
    found, output = _audit(TEXTS / name)
    assert (found, said in output, "CLEAN" in output) == (status, True, False), output


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("partial-listing/S-vpa.txt", "iptables -S vpa--1795397987815968"),
        ("partial-listing/grep-set-xmark.txt", "iptables -S | grep set-xmark"),
        ("pasted/indented-save.txt", "iptables-save"),
        ("pasted/prompt.txt", "iptables -S"),
        ("coloured/save-coloured.txt", "iptables-save"),
        ("pasted/ip6.txt", "ip6tables -S"),
        ("pasted/incompatible.txt", "iptables-save"),
    ],
)
def test_each_text_of_a_report_gets_its_answer_in_every_form(
    tmp_path: Path, name: str, command: str, form: str
) -> None:
    """The same status and the same verdict, however it was pasted."""
    text = (TEXTS / name).read_text()
    path = tmp_path / "rules"
    path.write_bytes(FORMS[form](text, command).encode())
    (status, plain), (found, output) = _audit(TEXTS / name), _audit(path)
    assert found == status, output
    if status != 2:
        assert output.splitlines()[0] == plain.splitlines()[0]
    assert "CLEAN" not in output


WIPED = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
LEGACY = "# Warning: iptables-legacy tables present, use iptables-legacy{} to see them\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WIPED, "iptables-save of a Diego cell"),
        ("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n", "iptables-save of a Diego cell"),
        (
            "".join(
                f"Chain {name} (policy ACCEPT)\ntarget     prot opt source               destination\n\n"
                for name in ("INPUT", "FORWARD", "OUTPUT")
            ),
            "iptables-save of a Diego cell",
        ),
        (f"{WIPED}{LEGACY.format('')}", "iptables-legacy-save"),
        (LEGACY.format("-save"), "iptables-legacy-save"),
        (f"$ iptables-save\n{LEGACY.format('-save')}{WIPED}", "iptables-legacy-save"),
        ("-P FORWARD ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n", "iptables-save of a Diego cell"),
    ],
)
def test_rules_without_anything_of_silks_are_not_clean(tmp_path: Path, text: str, said: str) -> None:
    """A wiped table, and another host's: nothing could be judged."""
    path = tmp_path / "rules"
    path.write_text(text)
    status, output = _audit(path)
    assert (status, "CLEAN" in output) == (2, False)
    assert output.startswith("COULD NOT LOOK at everything: rules: nothing of silk's here: could not judge")
    assert said in output
    report = json.loads(_audit(path, "--format", "json")[1])
    assert (report["result"], len(report["unknown_kinds"])) == ("blind", len(Kind))


def test_a_wiped_table_beside_its_facts_is_an_outage(tmp_path: Path) -> None:
    """What should be there is known: then its absence is a finding."""
    (tmp_path / "rules").write_text(WIPED)
    facts = [f"--{name}={CELLS / 'pair' / name}.json" for name in ("store", "policies")]
    status, output = _audit(tmp_path / "rules", *facts)
    assert (status, "policy_chain_missing" in output) == (1, True)


_SAVE = "save all rules with iptables-save"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("\n# Table `filter' is incompatible, use 'nft' tool.\n", 2, "iptables-nft-save"),
        ("table ip filter {\n\tchain FORWARD {\n\t}\n}\n", 1, "iptables-nft-save"),
        ("$ sudo nft list ruleset\n    table inet x {\n", 2, "iptables-nft-save"),
        (
            "$ iptables -S\niptables v1.8.9 (legacy): can't initialize: Permission denied (you must be root)\n",
            2,
            "sudo",
        ),
        ("-P FORWARD ACCEPT\n-A FORWARD -s 10.255.1.4/32 -m comm…\n", 2, _SAVE),
        ("-P FORWARD ACCEPT\n-A FORWARD -j vpa--1 [...]\n", 2, _SAVE),
        ("-N vpa--1\n-A vpa--1 -s 10.0.0.1/32 -m other --x 1\n-j ACCEPT\n", 2, "broke this line"),
        ('-N vpa--1\n-A vpa--1 -s 10.0.0.1/32 -m comment --comment "src:6b\n-A vpa--1 -j ACCEPT\n', 2, _SAVE),
        ("-N vpa--1\n-A vpa--1 -s 10.0.0.1/32 -j\nx y z\n", 2, "could not have printed"),
        ("-N vpa--1\nx y z\n-A vpa--1 -j ACCEPT\n", 2, "not a line that"),
        (
            "$ iptables -S\n-P FORWARD ACCEPT\n$ iptables -S\n-P FORWARD DROP\n",
            1,
            "each command's in a file of its own",
        ),
        ("$ iptables -S\n-P FORWARD ACCEPT\n$ ip6tables -S\n-P FORWARD DROP\n", 1, "file of its own"),
        ("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P INPUT ACCEPT\n", 3, "twice"),
        ("$ iptables -S\n-P FORWARD ACCEPT\n" * 65, 129, "more than 64 commands"),
        ("$ iptables -S\n\n", 1, "nothing in it"),
    ],
)
def test_what_cannot_be_judged_says_what_to_run(text: str, line: int, said: str) -> None:
    """One error with the line of the text as it was given."""
    with pytest.raises(ParseError, match=f"x, line {line}:") as caught:
        read_pasted(text, where="x")
    assert said in str(caught.value)


def _at_width(text: str, width: int) -> str:
    """As a terminal breaks lines, without the blanks at its edge, which are not copied."""
    pieces = [line[at : at + width] for line in text.splitlines() for at in range(0, max(1, len(line)), width)]
    return "".join(f"{piece.rstrip()}\n" for piece in pieces)


def _by_words(text: str, width: int) -> str:
    """As a mail program breaks lines."""
    wrap = TextWrapper(width, break_long_words=False, break_on_hyphens=False).wrap
    return "".join(f"{piece}\n" for line in text.splitlines() for piece in wrap(line) or [""])


@pytest.mark.parametrize("broken", [_at_width, _by_words])
@pytest.mark.parametrize("command", ["iptables -S", "iptables -L", "iptables -L -n -v"])
def test_lines_that_were_broken_are_joined_again(broken: Callable[[str, int], str], command: str) -> None:
    """At each usual width the rules are those of the text as it was printed, and the report says that it was not."""
    for cell in ("pair", "limits-and-denies"):
        text = _printed(cell, command, slip=False)
        whole = read_pasted(text, where="x")
        for width in (72, 76, 80, 100, 118, 120, 132, 160):
            ruleset = read_pasted(broken(text, width), where="x")
            assert ruleset.tables == whole.tables, width
            assert any("they were joined again" in warning for warning in ruleset.warnings), width


@pytest.mark.parametrize("mark", ["…", "...", "[...]", "  […]", "<snip>", "--"])
def test_lines_that_somebody_left_out_make_a_text_a_part(tmp_path: Path, mark: str) -> None:
    """What stands above and below the gap is judged; a rule that is not shown may be there all the same."""
    lines = _printed("pair", "iptables -S", slip=False).splitlines()
    gap = next(at for at, line in enumerate(lines) if line.startswith("-A overlay--") and "REJECT" in line)
    shown = "\n".join((*lines[: gap - 1], mark, *lines[gap + 1 :]))
    assert not _judged(tmp_path / "rules", shown, "pair").findings
    assert Kind.DEFAULT_DENY_MISSING in _judged(tmp_path / "rules", shown, "pair").unknown
    without = _judged(tmp_path / "rules", shown.replace(f"{mark}\n", ""), "pair")
    assert Kind.DEFAULT_DENY_MISSING in {finding.kind for finding in without.findings}


def test_the_command_says_family_and_table() -> None:
    """Where no address and no built-in chain does."""
    ruleset = read_pasted("# ip6tables -t nat -S netin--1\n-N netin--1\n", where="x")
    assert (ruleset.family, list(ruleset.tables)) == (r.AddressFamily.IPV6, ["nat"])
    assert list(read_pasted("-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n", where="x").tables) == ["raw"]
