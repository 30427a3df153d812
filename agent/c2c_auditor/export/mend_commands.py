"""The commands of a mend as lines that ``iptables-restore --noflush`` takes, with a comment before each.

Comments and rules hold what tenants and other programs chose. So what could end a line, a comment or the text between
the two marks is an escape, and a rule that cannot be written on one line is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from c2c_auditor.audit.mend.edits import Action, Edit, state_of, touched, way_back
from c2c_auditor.audit.mend.mend import Commands, Mend
from c2c_auditor.errors import UsageError
from c2c_auditor.export.plain import plain
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.netfilter.render import render_rule

MARK = "MEND"
"""The line behind the commands, where a shell hands them to a program."""


@frozen(kw_only=True)
class Block:
    """The commands of one family: ``program`` takes ``lines``; ``fits`` is the argument of the check."""

    family: r.AddressFamily
    program: str
    fits: str
    lines: tuple[str, ...]


def blocks(mend: Mend, *, undo: bool, saving: Mapping[r.AddressFamily, str] | None = None) -> tuple[Block, ...]:
    """The commands, or with ``undo`` those that take them back, which fit the rules that the commands leave.

    ``saving`` are the paths of the programs of silk's own iptables that print rules, where they are known.

    Raises UsageError for a rule that cannot be written on one line.
    """
    known = saving if saving is not None else {}
    return tuple(
        evolve(block, program=_sibling(known[block.family])) if block.family in known else block
        for block in (_block(commands, mend.causes, undo=undo) for commands in mend.commands)
    )


def _sibling(saving: str) -> str:
    """The program beside NAME-save that loads rules: of the same version and backend."""
    return f"{saving.removesuffix('-save')}-restore"


def _block(commands: Commands, causes: Mapping[int, Finding], *, undo: bool) -> Block:
    before, edits = commands.ruleset, commands.edits
    if undo:
        before, edits = commands.after, way_back(commands.ruleset, commands.edits)
    return Block(
        family=before.family,
        program=program(before),
        fits=fits_argument(before, touched(edits)),
        lines=tuple(_table_lines(edits, causes, undo=undo)),
    )


def program(ruleset: r.Ruleset) -> str:
    """The program that loads rules where ``ruleset`` was read: of the same directory, backend and family."""
    if ruleset.backend is r.Backend.NFT and ruleset.origin.endswith("-save"):
        return _sibling(ruleset.origin)
    legacy = ruleset.backend is r.Backend.LEGACY or ruleset.reader.endswith("(legacy)")
    nft = ruleset.backend is r.Backend.NFT or ruleset.reader.endswith("(nf_tables)")
    backend = ["legacy"] if legacy else ["nft"] if nft else []
    return "-".join((ruleset.family.tool, *backend, "restore"))


def fits_argument(ruleset: r.Ruleset, chains: Sequence[tuple[str, str]]) -> str:
    """``FAMILY/BACKEND/STATE/TABLE:CHAIN,…``: these chains and what stands for their rules."""
    listed = ",".join(f"{table}:{chain}" for table, chain in chains)
    return f"{ruleset.family.value}/{ruleset.backend.value}/{state_of(ruleset, chains)}/{listed}"


def fits(argument: str, rulesets: Iterable[r.Ruleset]) -> bool:
    """Whether the chains of `fits_argument` are still what they were. Raises UsageError for another text."""
    family, _, rest = argument.partition("/")
    backend, _, rest = rest.partition("/")
    state, _, listed = rest.partition("/")
    chains = [(table, chain) for table, colon, chain in (one.partition(":") for one in listed.split(",")) if colon]
    if not (state and chains and family in {one.value for one in r.AddressFamily}):
        message = f"--fits {plain(argument)}: give the text that c2c-auditor mend printed"
        raise UsageError(message)
    return any(
        state_of(one, chains) == state for one in rulesets if (one.family.value, one.backend.value) == (family, backend)
    )


def _table_lines(edits: Sequence[Edit], causes: Mapping[int, Finding], *, undo: bool) -> Iterator[str]:
    told: set[int] = set()
    for table in dict.fromkeys(edit.table for edit in edits):
        yield f"*{table}"
        for edit in edits:
            if edit.table == table:
                yield f"# {_comment(edit, causes, told, undo=undo)}"
                yield from map(_one_line, _command(edit))
        yield "COMMIT"


def _command(edit: Edit) -> Iterator[str]:
    """The lines of ``iptables-restore --noflush`` for one edit."""
    match edit.action:
        case Action.CREATE:
            yield f":{edit.chain} - [0:0]"
        case Action.REMOVE:
            yield f"-X {edit.chain}"
        case Action.EMPTY:
            yield f"-F {edit.chain}"
        case Action.FILL:
            yield from (render_rule(rule, edit.chain) for rule in edit.rules)
        case Action.DELETE:
            yield f"-D {edit.chain} {edit.position}"
        case Action.REPLACE:
            yield f"-R {edit.chain} {edit.position} {_body(edit)}"
        case Action.INSERT:
            yield f"-A {edit.chain} {_body(edit)}" if edit.last else f"-I {edit.chain} {edit.position} {_body(edit)}"


def _body(edit: Edit) -> str:
    return render_rule(edit.rule) if edit.rule is not None else ""


def _one_line(line: str) -> str:
    if plain(line, len(line)) != line or line == MARK:
        message = f"a rule cannot be written on one line of text: {plain(line)}"
        raise UsageError(message)
    return line


_DOES = {
    Action.CREATE: "makes the chain",
    Action.REMOVE: "takes the empty chain away",
    Action.EMPTY: "takes all rules out of a chain",
    Action.FILL: "puts all rules of a chain back",
    Action.INSERT: "puts in",
    Action.DELETE: "takes out",
    Action.REPLACE: "puts right",
}


def _comment(edit: Edit, causes: Mapping[int, Finding], told: set[int], *, undo: bool) -> str:
    """What the line does, and for whom: each cause's sentence once."""
    what = "puts back as it was" if undo and edit.action is Action.REPLACE else _DOES[edit.action]
    if edit.before is not None:
        what += f" ({plain(render_rule(edit.before))})"
    numbers = ", ".join(map(str, edit.causes))
    new = [number for number in edit.causes if number not in told and number in causes]
    told.update(new)
    sentence = "; ".join(plain(causes[number].summary) for number in new[:1])
    return f"{numbers}: {what}{f' – {sentence}' if sentence else ''}"
