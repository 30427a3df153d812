"""Reads rules from the text that ``iptables-save``, ``-S`` or ``-L`` printed, of iptables or ip6tables.

The form is recognised by its lines. A text that somebody pasted is cleaned first (`netfilter.pasted`), and may be a
part of a cell's rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from attrs import evolve

from c2c_auditor.errors import ParseError
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import (
    Chain,
    CommentMatch,
    Goto,
    Jump,
    Log,
    Loss,
    OpaqueMatch,
    OpaqueTarget,
    Rule,
    Ruleset,
    Table,
)
from c2c_auditor.netfilter import pasted, wrapped
from c2c_auditor.netfilter.listing import parse_listing
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk.chain_names import family_of
from c2c_auditor.sources.rules.older_reader import marked_if_older
from c2c_auditor.sources.rules.services import service_port

_SAVED = re.compile(r"^(?:\*\w+|:\S+ \S+|(?:\[\d+:\d+\] )?-A \S+|-[PN] \S+|# Table .* is incompatible)", re.MULTILINE)
_FRAMED = re.compile(r"^\*\w", re.MULTILINE)
_NO_COMMENT = re.compile(r"^[^#\s]", re.MULTILINE)
_WORD, _PREFIX = re.compile(r"\S*"), re.compile(r"(?:\S+ )*")
_JOINED = "Lines of the text were broken, by a terminal or a mail program; they were joined again."
_JUDGED_BUILT_IN_CHAINS = ("FORWARD", "INPUT")


def read_text(text: str, *, where: str, family: AddressFamily | None = None) -> Ruleset:
    """``text`` as a Ruleset of ``family``, if that is given, else of the family that it shows.

    Raises ParseError for a text that is empty or of no form of iptables'.
    """
    if not text.strip():
        raise _nothing(where)
    if _SAVED.search(text) or not _NO_COMMENT.search(text):
        parser = RuleParser(family) if family is not None else None
        return marked_if_older(parse_save(text, where=where, parser=parser))
    return marked_if_older(parse_listing(text, where=where, service_port=service_port, family=family))


def read_pasted(text: str, *, where: str) -> Ruleset:
    """A text that was pasted, perhaps of several commands, as one Ruleset; marked if it shows a part of the rules.

    Raises ParseError as `read_text`, and for outputs that do not belong together.
    """
    pasted.refuse_several_machines(text, where=where)
    text = pasted.cleaned(text)
    try:
        return _read_cleaned(text, where)
    except ParseError:
        ruleset = _read_joined(text, where)
        if ruleset is None:
            raise
        return ruleset


def _read_joined(text: str, where: str) -> Ruleset | None:
    """``text`` with its broken lines joined, in the way that leaves less that is not understood.

    None if no line is broken, or if it is not certain how.
    """
    readings: list[tuple[int, Ruleset]] = []
    for whole in wrapped.joined(text):
        with suppress(ParseError):
            ruleset = _read_cleaned(whole, where)
            if all(ruleset.tables != other.tables for _, other in readings):
                readings.append((sum(map(_is_odd, _rules(ruleset))), ruleset))
    readings.sort(key=lambda reading: reading[0])
    beside = readings[1][0] if len(readings) > 1 else 1
    if not readings or readings[0][0] >= beside:
        return None
    ruleset = readings[0][1]
    return evolve(ruleset, warnings=(*ruleset.warnings, _JOINED))


def _rules(ruleset: Ruleset) -> Iterator[Rule]:
    return (rule for table in ruleset.tables.values() for chain in table.chains.values() for rule in chain.rules)


def _is_odd(rule: Rule) -> bool:
    """Whether a rule looks broken elsewhere; silk's comments have no blanks, its log prefixes end in one."""
    if isinstance(rule.target, Log) and not _PREFIX.fullmatch(rule.target.prefix):
        return True
    return isinstance(rule.target, OpaqueTarget) or any(
        isinstance(match, OpaqueMatch) or (isinstance(match, CommentMatch) and not _WORD.fullmatch(match.text))
        for match in rule.matches
    )


def _read_cleaned(text: str, where: str) -> Ruleset:
    pasted.refuse(text, where=where)
    readings = [_read(output, where) for output in pasted.outputs(text, where=where)]
    if not readings:
        raise _nothing(where)
    return _marked_if_part(_joined(readings, where))


def _read(output: pasted.Output, where: str) -> Ruleset:
    """What one command printed; its own line says more of table and family than its output."""
    ruleset = read_text(output.text, where=where, family=output.family)
    if output.table is not None and not _FRAMED.search(output.text) and len(ruleset.tables) == 1:
        (table,) = ruleset.tables.values()
        ruleset = evolve(ruleset, tables={output.table: evolve(table, name=output.table)})
    chains = [chain for table in ruleset.tables.values() for chain in table.chains.values()]
    # iptables declares each chain that it prints: where a declaration is missing, lines were left out anywhere.
    if output.filtered or not all(chain.whole for chain in chains):
        lost = {Loss.OTHER_CHAINS}
        in_part = _in_part
        # A listing names a chain above its rules only: where that line may be missing, they may be another chain's.
        if Loss.OTHER_TABLES in ruleset.lost and (output.filtered or any(_headless(chain) for chain in chains)):
            lost, in_part = {*lost, Loss.CHAIN_NAMES}, _nameless
        tables = {table.name: in_part(table) for table in ruleset.tables.values()}
        ruleset = evolve(ruleset, tables=tables, lost=ruleset.lost | lost)
    return ruleset


def _headless(chain: Chain) -> bool:
    return bool(chain.name) and not chain.whole


def _nameless(table: Table) -> Table:
    """All rules in one chain without a name."""
    rules = tuple(rule for chain in table.chains.values() for rule in chain.rules)
    return evolve(table, chains={"": Chain(name="", rules=rules, whole=False)})


def _in_part(table: Table) -> Table:
    return evolve(table, chains={name: evolve(chain, whole=False) for name, chain in table.chains.items()})


def _joined(readings: Sequence[Ruleset], where: str) -> Ruleset:
    """The outputs of several commands as one Ruleset: tables side by side, chains of one table together.

    Of a chain that is shown whole and again in part, the whole one counts.
    """
    first, *others = readings
    if not others:
        return first
    tables: dict[str, dict[str, Chain]] = {}
    for ruleset in readings:
        if ruleset.family is not first.family:
            raise _apart(where, "it holds rules of iptables and of ip6tables", "give each in a file of its own")
        for table in ruleset.tables.values():
            chains = tables.setdefault(table.name, {})
            for name, chain in table.chains.items():
                known = chains.get(name)
                if known is None or (chain.whole and not known.whole):
                    chains[name] = chain
                elif known != chain and known.whole == chain.whole:
                    raise _apart(
                        where,
                        f"chain {name} of {table.name} stands there twice, with other rules",
                        "give one reading: the output of iptables-save, or each command's in a file of its own "
                        "(--rules FILE --rules FILE)",
                    )
    return evolve(
        first,
        tables={name: Table(name=name, chains=chains) for name, chains in tables.items()},
        lost=frozenset().union(*(ruleset.lost for ruleset in readings)),
        warnings=tuple(dict.fromkeys(warning for ruleset in readings for warning in ruleset.warnings)),
    )


def _marked_if_part(ruleset: Ruleset) -> Ruleset:
    """``ruleset``, with the loss if its text cannot be all of the filter table.

    No kernel holds a jump to a chain that is not there. Of jumps only those to silk's chains count: in a listing, the
    target of an unknown extension looks like a jump.
    """
    chains = ruleset.chains("filter")
    declared = all(name in chains and chains[name].whole for name in _JUDGED_BUILT_IN_CHAINS)
    targets = {
        rule.target.chain for chain in chains.values() for rule in chain.rules if isinstance(rule.target, Jump | Goto)
    }
    unlisted = any(target not in chains and family_of(target) is not None for target in targets)
    if not ruleset.tables or (declared and not unlisted):
        return ruleset
    return evolve(ruleset, lost=ruleset.lost | {Loss.OTHER_CHAINS})


def _nothing(where: str) -> ParseError:
    return ParseError(
        where=where,
        line=1,
        text="",
        problem="there is nothing in it",
        remedy="give the output of iptables-save, iptables -S or iptables -L",
    )


def _apart(where: str, problem: str, remedy: str) -> ParseError:
    return ParseError(where=where, line=1, text="", problem=problem, remedy=remedy)
