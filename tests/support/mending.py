"""Mends of damaged recordings, and their commands on a real kernel: many at once, each on chains of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, frozen

from c2c_auditor.audit.mend.edits import Action, Edit
from c2c_auditor.audit.mend.mend import Commands, Mend, Request, mend
from c2c_auditor.audit.mend.rights import Named, is_foreign
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.export.mend_commands import Block, blocks
from c2c_auditor.model import rule as r
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.render import render_rule
from support.recordings import Recording

SECONDS = 100
_LINE = re.compile(r"\[(\d+):\d+\] -A (\S+)(.*)")


def scene_of(cell: Recording, ruleset: r.Ruleset | None = None, previous: Scene | None = None) -> Scene:
    """A recorded cell, or the same with other rules, judged."""
    rulesets = (ruleset if ruleset is not None else cell.ruleset,)
    return judge_cell(Reading(time=1.8e9, facts=cell.facts, rulesets=rulesets), previous)


def with_elsewhere(cell: Recording) -> Recording:
    """``cell`` with an empty chain for the jumps of `mutations`: no kernel holds one to a chain that is not there."""
    tables = {
        name: r.Table(name=name, chains={**table.chains, "elsewhere": r.Chain(name="elsewhere")})
        for name, table in cell.ruleset.tables.items()
    }
    return evolve(cell, ruleset=evolve(cell.ruleset, tables=tables))


def mended(scene: Scene) -> Mend:
    """The mend of all that was found; rules of others go as well, named as a person would."""
    findings = scene.judgement.findings
    return mend(scene, Request(findings=findings, foreign=tuple(strangers(scene))))


def strangers(scene: Scene) -> Iterator[Named]:
    """The rules that silk did not write, as a person names them."""
    for judged in scene.judged:
        for finding in judged.judgement.findings:
            if is_foreign(judged.inputs, finding) and finding.found is not None and finding.place is not None:
                yield Named(table=finding.place.table, chain=finding.place.chain, rule=finding.found)


@frozen(kw_only=True)
class Case:
    """One damaged chain, the edits for it and their lines, and what should stand there afterwards."""

    table: str
    damaged: tuple[r.Rule, ...]
    edits: tuple[Edit, ...]
    lines: tuple[str, ...]
    expected: tuple[r.Rule, ...]


def cases_of(found: Mend) -> Iterator[Case]:
    """The commands of a mend, chain by chain; none of them makes a chain or takes one away."""
    (block,) = blocks(found, undo=False)
    (commands,) = found.commands
    lines = [line for line in block.lines if line.startswith("-")]
    by_chain: dict[tuple[str, str], list[tuple[Edit, str]]] = {}
    for edit, line in zip(commands.edits, lines, strict=True):
        assert edit.action in (Action.INSERT, Action.DELETE, Action.REPLACE)
        by_chain.setdefault((edit.table, edit.chain), []).append((edit, line))
    for (table, chain), pairs in by_chain.items():
        yield Case(
            table=table,
            damaged=_rules(commands.ruleset, table, chain),
            edits=tuple(edit for edit, _ in pairs),
            lines=tuple(_elsewhere(line) for _, line in pairs),
            expected=_rules(commands.after, table, chain),
        )


def possible(case: Case) -> bool:
    """Whether iptables would write the damaged chain at all: only filter may refuse, and ports need their protocol."""
    return not any(_refused(case.table, rule) for rule in case.damaged)


def _refused(table: str, rule: r.Rule) -> bool:
    if isinstance(rule.target, r.Reject):
        return table != "filter"
    icmp = any(isinstance(match, r.IcmpMatch) for match in rule.matches)
    if icmp and rule.protocol != r.ProtocolMatch(number=r.ICMP):
        return True
    return table == "nat" and rule.target == r.DROP


def _rules(ruleset: r.Ruleset, table: str, chain: str) -> tuple[r.Rule, ...]:
    return ruleset.chains(table)[chain].rules


def _elsewhere(line: str) -> str:
    """The line for another chain, whose name is filled in later."""
    option, _, rest = line.split(" ", 2)
    return f"{option} CHAIN {rest}"


class Kernel:
    """The tables of one backend in this network namespace, by its own tools."""

    def __init__(self, backend: str, tool: str = "iptables") -> None:
        self._program = f"{tool}-{backend}"

    def load(self, text: str, *options: str) -> None:
        """``iptables-restore`` of ``text``."""
        command = (f"{self._program}-restore", "-w", *options)
        done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=SECONDS, check=False)
        refused = re.search(r"line:? (\d+)", done.stderr)
        line = text.splitlines()[int(refused[1]) - 1] if refused else ""
        assert done.returncode == 0, f"{done.stderr} {line}"

    def chains(self, table: str) -> Mapping[str, list[tuple[int, str]]]:
        """Each chain's rules as the tool prints them, with their packets."""
        command = (f"{self._program}-save", "-c", "-t", table)
        text = subprocess.run(command, text=True, capture_output=True, timeout=SECONDS, check=True).stdout
        found: dict[str, list[tuple[int, str]]] = {}
        for line in text.splitlines():
            if line.startswith(":"):
                found[line[1:].split(" ", 1)[0]] = []
            elif match := _LINE.match(line):
                found[match[2]].append((int(match[1]), match[3].strip()))
        return found


def prove(cases: Sequence[Case], chains: Mapping[str, set[str]], backend: str) -> None:
    """Each of ``cases`` on a chain of its own: loaded with counters, mended by its lines, and read back.

    ``chains`` are those that rules jump to, by table. What no line is for keeps its text and its counters.
    """
    kernel = Kernel(backend)
    for table in dict.fromkeys(case.table for case in cases):
        here = {f"case-{number}": case for number, case in enumerate(cases) if case.table == table}
        names = [*sorted(chains[table]), *here]
        text = [f"*{table}", *(f":{name} - [0:0]" for name in names)]
        for name, case in here.items():
            text += [f"[{at}:{at}] {render_rule(rule, name)}" for at, rule in enumerate(case.damaged, 7)]
        # One of each expected chain beside it, to be compared in the tool's own words.
        text += [f":{name}-x - [0:0]" for name in here]
        for name, case in here.items():
            text += [render_rule(rule, f"{name}-x") for rule in case.expected]
        kernel.load("\n".join([*text, "COMMIT", ""]), "--counters")
        before = kernel.chains(table)
        lines = [line.replace("CHAIN", name, 1) for name, case in here.items() for line in case.lines]
        kernel.load("\n".join([f"*{table}", *lines, "COMMIT", ""]), "--noflush")
        after = kernel.chains(table)
        for name, case in here.items():
            assert [rule for _, rule in after[name]] == [rule for _, rule in before[f"{name}-x"]], case.lines
            kept = _kept(before[name], case.edits)
            assert [one for one, old in zip(after[name], kept, strict=True) if old] == [one for one in kept if one]


def _kept(rules: Sequence[tuple[int, str]], edits: Sequence[Edit]) -> list[tuple[int, str] | None]:
    """What stands there afterwards of the rules before, in its place; None for what is new."""
    kept: list[tuple[int, str] | None] = list(rules)
    for edit in edits:
        at = edit.position - 1
        kept[at : at + (edit.before is not None)] = [None] * (edit.rule is not None)
    return kept


def run_block(commands: Commands, block: Block) -> None:
    """What was printed for one family, run by the program that was printed, without its check."""
    backend = commands.ruleset.backend.value
    assert block.program.endswith(f"{commands.ruleset.family.tool}-{backend}-restore"), block.program
    Kernel(backend, commands.ruleset.family.tool).load("\n".join([*block.lines, ""]), "--noflush")
