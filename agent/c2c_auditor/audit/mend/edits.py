"""Commands of ``iptables-restore --noflush`` as values: what each does to a ruleset, and what takes it back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from attrs import evolve, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.render import render_rule


class Action(Enum):
    """What a command does."""

    CREATE = "create"  # an empty chain
    INSERT = "insert"
    REPLACE = "replace"
    DELETE = "delete"
    EMPTY = "empty"  # all rules go
    FILL = "fill"  # they come back
    REMOVE = "remove"  # an empty chain that nothing jumps to


@frozen(kw_only=True)
class Edit:
    """One command.

    ``position`` counts from 1 in the chain as the commands before left it; ``last`` says that an inserted rule comes
    behind all others. ``rule`` is the new one, ``before`` the one that goes; ``rules`` are all of a chain.
    ``causes`` are the numbers of the causes that it is for.
    """

    action: Action
    table: str
    chain: str
    position: int = 0
    last: bool = False
    rule: r.Rule | None = None
    before: r.Rule | None = None
    rules: tuple[r.Rule, ...] = ()
    causes: tuple[int, ...] = ()


def applied(ruleset: r.Ruleset, edits: Iterable[Edit]) -> r.Ruleset:
    """``ruleset`` as it is after ``edits``, without counters in the chains that they touch.

    Raises ValueError for an edit that the kernel would refuse.
    """
    tables = {name: dict(table.chains) for name, table in ruleset.tables.items()}
    for edit in edits:
        _apply(tables[edit.table], edit)
    return evolve(ruleset, tables={name: r.Table(name=name, chains=chains) for name, chains in tables.items()})


def _apply(chains: dict[str, r.Chain], edit: Edit) -> None:
    chain = chains.get(edit.chain)
    if (chain is None) != (edit.action is Action.CREATE):
        raise ValueError(edit)
    if chain is None:
        chains[edit.chain] = r.Chain(name=edit.chain)
        return
    if edit.action is Action.REMOVE:
        if chain.rules or chain.policy is not None:
            raise ValueError(edit)
        del chains[edit.chain]
    elif edit.action in (Action.EMPTY, Action.FILL):
        if chain.rules != (edit.rules if edit.action is Action.EMPTY else ()):
            raise ValueError(edit)
        rules = () if edit.action is Action.EMPTY else edit.rules
        chains[edit.chain] = evolve(chain, rules=rules, packets=None)
    else:
        chains[edit.chain] = evolve(chain, rules=_changed(chain.rules, edit), packets=None)


def _changed(rules: Sequence[r.Rule], edit: Edit) -> tuple[r.Rule, ...]:
    at = edit.position - 1
    if edit.before is not None and (not 0 <= at < len(rules) or rules[at] != edit.before):
        raise ValueError(edit)
    if not 0 <= at <= len(rules):
        raise ValueError(edit)
    new = (edit.rule,) if edit.rule is not None else ()
    return (*rules[:at], *new, *rules[at + (edit.before is not None) :])


def way_back(ruleset: r.Ruleset, edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """What takes ``edits`` back that were made for ``ruleset``: afterwards the rules are what they were."""
    tables = ruleset.tables.values()
    lengths = {(table.name, chain.name): len(chain.rules) for table in tables for chain in table.chains.values()}
    back: list[Edit] = []
    for edit in edits:
        key = edit.table, edit.chain
        grown = (edit.rule is not None) - (edit.before is not None)
        last = edit.action is Action.DELETE and edit.position == lengths.get(key, 0)
        lengths[key] = 0 if edit.action is Action.EMPTY else lengths.get(key, 0) + grown
        back.append(_inverse(edit, last=last))
    return tuple(reversed(back))


_INVERSE = {
    Action.CREATE: Action.REMOVE,
    Action.REMOVE: Action.CREATE,
    Action.INSERT: Action.DELETE,
    Action.DELETE: Action.INSERT,
    Action.REPLACE: Action.REPLACE,
    Action.EMPTY: Action.FILL,
    Action.FILL: Action.EMPTY,
}


def _inverse(edit: Edit, *, last: bool) -> Edit:
    return evolve(edit, action=_INVERSE[edit.action], rule=edit.before, before=edit.rule, last=last)


def touched(edits: Iterable[Edit]) -> tuple[tuple[str, str], ...]:
    """The chains (table, name) that ``edits`` rest on, each once: those that they change, make or take away."""
    return tuple(dict.fromkeys((edit.table, edit.chain) for edit in edits))


def state_of(ruleset: r.Ruleset, chains: Iterable[tuple[str, str]]) -> str:
    """Sixteen hexadecimal digits that stand for these chains' policies and rules in order; a missing one counts too."""
    digest = hashlib.sha256()
    for table, name in chains:
        digest.update(f"{table} {name}\n".encode("utf-8", "surrogateescape"))
        for line in _lines(ruleset.chains(table), name):
            digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _lines(chains: Mapping[str, r.Chain], name: str) -> Iterable[str]:
    chain = chains.get(name)
    if chain is None:
        return ("is not there",)
    return (chain.policy or "-", *map(render_rule, chain.rules))
