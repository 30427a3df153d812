"""Cleans texts that people pasted: takes away what a terminal, a mail program or a ticket put around iptables' output.

`CLEANED` is the table of it, `REFUSED` that of texts that cannot be judged and of what to run instead. Every line keeps
its number, so that errors name the line of the text as it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from c2c_auditor.errors import ParseError
from c2c_auditor.model.family import AddressFamily

_IPTABLES_SAVE = "save all rules with iptables-save > FILE and give that file"
_NFT_SAVE = (
    "run iptables-nft-save of the iptables that silk uses on this cell (garden.iptables_bin_dir), or of 1.8.8 or newer"
)
_INSTANCE = r"[\w-]{1,80}/[\w-]{1,80}"
_MACHINE = re.compile(rf"^({_INSTANCE}): stdout \| ?", re.MULTILINE)
# How lines begin that iptables prints about itself, with what stands before the words that matter.
_SAID = r"^(?:#|Fatal:|\S{0,80}ip6?tables)[^\n]{0,160}?"

CLEANED: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("line ends of Windows and of old Macs", re.compile(r"\r\n?"), "\n"),
    (
        "escape sequences: colours, the terminal's title",
        re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*\x07?)"),
        "",
    ),
    ("colours of grep whose escape byte a ticket dropped", re.compile(r"\[01;31m\[K|\[m\[K"), ""),
    ("byte order marks and characters of no width", re.compile("[\ufeff\u200b\u2060]"), ""),
    ("spaces that do not break", re.compile("[\u00a0\u2007\u202f]"), " "),
    ("quotation marks of mail", re.compile(r"^[ \t]{0,32}(?:(?:>|&gt;)[ \t]?){1,16}", re.MULTILINE), ""),
    (
        "fences of Markdown and of Jira",
        re.compile(
            r"^[ \t]{0,32}(?:(?:`{3,9}|~{3,9})[a-z]{0,16}|\{(?:code|noformat)(?::[^}\n]{0,64})?\})[ \t]{0,32}$",
            re.MULTILINE,
        ),
        "",
    ),
    ("what bosh ssh -c puts before each line", re.compile(rf"^{_INSTANCE}: stdout \| ?", re.MULTILINE), ""),
    (
        "what bosh ssh -c and sudo say themselves",
        re.compile(
            rf"^(?:{_INSTANCE}: stderr \|[^\n]*|Using (?:environment|deployment) '[^\n]*"
            r"|Task \d{1,9}\b[^\n]*|Succeeded|\[sudo\] password for [^\n]{0,64}:[ \t]*)$",
            re.MULTILINE,
        ),
        "",
    ),
    (
        "quotation marks as mail programs and web pages write them",
        re.compile(
            r"(?<= --comment )(?:&quot;|[\u201c-\u201e])"
            r"((?:(?!&quot;)[^\"\u201c-\u201e\n]){0,256})(?:&quot;|[\u201c\u201d])"
        ),
        r'"\1"',
    ),
    (
        "indentation of lines that iptables begins at the left",
        re.compile(r"^[ \t]{1,64}(?=[*:#]\S|# |\[\d|-[APN] |COMMIT\b|Chain \S|\S{0,80}[$#] )", re.MULTILINE),
        "",
    ),
    (
        "numbers of lines and names of files that grep puts first",
        re.compile(r"^(?:[\w./-]{1,80}:)?\d{1,7}[:-](?=:\S|\[\d|-[APN] )", re.MULTILINE),
        "",
    ),
    ("prompts without a command", re.compile(r"^(?!\*)[^\s$#]{0,80}(?: ~\])?[$#][ \t]{0,8}$", re.MULTILINE), ""),
)
"""What is taken away, in this order: its name, its pattern, and what stands there afterwards."""

REFUSED: tuple[tuple[str, re.Pattern[str], str, str], ...] = (
    (
        "iptables could not read the table",
        re.compile(rf"{_SAID}is incompatible, use 'nft' tool", re.MULTILINE),
        "iptables could not show this table: it is older than what wrote the rules",
        _NFT_SAVE,
    ),
    (
        "nft list ruleset",
        re.compile(r"^[ \t]{0,64}table (?:ip6?|inet|arp|bridge|netdev) \S{1,80} \{", re.MULTILINE),
        "this is the output of nft, which shows rules of iptables incompletely",
        _NFT_SAVE,
    ),
    (
        "no permission",
        re.compile(rf"{_SAID}(?:Permission denied|Operation not permitted)", re.MULTILINE),
        "iptables was not allowed to read the rules",
        "run it again as root: sudo iptables-save",
    ),
    (
        "a line that was cut",
        re.compile(r"^(?=[ \t]{0,32}[^\s….\[(<]).{0,65535}(?:…|\.\.\.)\]?[ \t]{0,32}$", re.MULTILINE),
        "the end of this line is missing",
        _IPTABLES_SAVE,
    ),
    (
        "a line that was broken within silk's comment",
        re.compile(r"""^.{0,65535}(?:--comment(?: "?)?|/\* ?)(?:s(?:r(?:c(?::[\w:-]{0,200})?)?)?)?$""", re.MULTILINE),
        "a terminal or a mail program broke this line in two",
        _IPTABLES_SAVE,
    ),
    (
        "a rule that was broken between its options",
        re.compile(
            r'^(?:\[\d{1,20}:\d{1,20}\] )?-A [^"\n]{0,65535}(?:"[^"\n]{0,65535}"[^"\n]{0,65535}){0,64}'
            r"\n(?:--?[a-z]|! -)",
            re.MULTILINE,
        ),
        "a terminal or a mail program broke this line in two",
        _IPTABLES_SAVE,
    ),
)
"""What cannot be judged: its name, its pattern, the problem, and what to run instead."""

_COMMAND = re.compile(
    r"^(?:(?![-:*]|\[\d)[^\n\"*]{0,100}?[$#] ?)?(?:sudo(?: -\S{1,20}){0,4} +)?(?:/\S{0,100}/)?"
    r"(?P<tool>ip6?tables)(?:-nft|-legacy)?(?P<save>-save)?(?P<options>(?: (?!v\d)[^\n]{0,1000})?)$"
    r"|^[^\s$#]{0,80}(?: ~\])?\$ [^\n]{0,1000}$",
    re.MULTILINE,
)
_TABLE = re.compile(r" (?:-t ?|--table[ =])(\w{1,32})")
# What people put in the place of lines that they left out, and grep between matches that are apart.
_LEFT_OUT = re.compile(
    r"^[ \t]{0,32}(?:[\[(<]?(?:…|\.{3,16}|snip|snipped)[\])>]?|--)[ \t]{0,32}$", re.MULTILINE | re.IGNORECASE
)
_FILTER = re.compile(r"\||\b(?:grep|head|tail|sed|awk)\b")
_MOST_COMMANDS = 64


@frozen(kw_only=True)
class Output:
    """What one command printed, as far as a pasted text tells: ``table`` and ``family`` are None where it does not.

    ``filtered`` is True where lines were left out: the command's own line shows it (a pipe into grep, for example), or
    a mark in their place does.
    """

    text: str
    table: str | None = None
    family: AddressFamily | None = None
    filtered: bool = False


def cleaned(text: str) -> str:
    """``text`` without what `CLEANED` lists; a text as iptables printed it stays as it is."""
    for _, pattern, replacement in CLEANED:
        text = pattern.sub(replacement, text)
    return text


def refuse_several_machines(text: str, *, where: str) -> None:
    """Raise a ParseError if ``text``, not yet cleaned, is what ``bosh ssh -c`` printed of several machines."""
    first = _MACHINE.search(text)
    for found in _MACHINE.finditer(text):
        if first is not None and found[1] != first[1]:
            raise ParseError(
                where=where,
                line=text.count("\n", 0, found.start()) + 1,
                text=found[0],
                problem=f"it holds the rules of several machines, {first[1]} and {found[1]}",
                remedy="give each in a file of its own: --rules FILE --rules FILE",
            )


def refuse(text: str, *, where: str) -> None:
    """Raise a ParseError if a cleaned ``text`` is one that `REFUSED` lists."""
    for _, pattern, problem, remedy in REFUSED:
        found = pattern.search(text)
        if found is not None:
            line = text.count("\n", 0, found.start()) + 1
            raise ParseError(where=where, line=line, text=found[0].strip(), problem=problem, remedy=remedy)


def outputs(text: str, *, where: str) -> Iterator[Output]:
    """The outputs of the commands whose lines stand in a cleaned ``text``; all of it where it shows no command.

    Each begins with as many empty lines as stand before it. Raises ParseError for more commands than one would paste.
    """
    commands = [found for _, found in zip(range(_MOST_COMMANDS + 1), _COMMAND.finditer(text), strict=False)]
    if len(commands) > _MOST_COMMANDS:
        line = text.count("\n", 0, commands[-1].start()) + 1
        raise ParseError(
            where=where,
            line=line,
            text=commands[-1][0].strip(),
            problem=f"more than {_MOST_COMMANDS} commands in one text",
            remedy=_IPTABLES_SAVE,
        )
    ends = [*(found.start() for found in commands), len(text)]
    if text[: ends[0]].strip():
        shown, gaps = _LEFT_OUT.subn("", text[: ends[0]])
        yield Output(text=shown, filtered=gaps > 0)
    for found, end in zip(commands, ends[1:], strict=True):
        printed = text[found.end() : end]
        if printed.strip():
            yield _output("\n" * text.count("\n", 0, found.end()) + printed, found)


def is_command(line: str) -> bool:
    """Whether a line of a cleaned text is a command that was typed, with or without its prompt."""
    return _COMMAND.match(line) is not None


def _output(text: str, command: re.Match[str]) -> Output:
    shown, gaps = _LEFT_OUT.subn("", text)
    options = command["options"] or ""
    table = _TABLE.search(options)
    tool = command["tool"]
    return Output(
        text=shown,
        table=table[1] if table is not None else None if command["save"] or tool is None else "filter",
        family=None if tool is None else AddressFamily.IPV6 if tool == "ip6tables" else AddressFamily.IPV4,
        filtered=gaps > 0 or _FILTER.search(command[0]) is not None,
    )
