"""What a commit did, as a `Deed`, and what people are told of it; where nothing is announced, from two readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Act, Author, ChainPlace, Change, Deed, Rules
from c2c_auditor.model.table import TABLES
from c2c_auditor.netfilter.native.messages import FAMILY_NAMES, IPV4, IPV6
from c2c_auditor.netfilter.native.parts import Entry, flat
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.sources.rules.applied import Applied, ChainName
from c2c_auditor.sources.rules.committers import Process

_OWN_TABLES = frozenset(table.name for table in TABLES)
_MOST_RULES = 10
_MOST_CHAINS = 10


def deed_of(applied: Applied) -> Deed:
    """A commit that was applied, as values."""
    return Deed(
        chains=_places(applied.names),
        added=_by_place(applied.added),
        removed=_by_place(applied.removed),
        made=_places(applied.made),
        lost=_places(applied.lost),
        policies=_places(applied.policies),
        doubtful=_places(applied.doubtful),
    )


def difference(before: r.Ruleset, after: r.Ruleset) -> Deed:
    """What happened between two readings of one backend and family; a rule that was only moved is not told."""
    was, now = dict(_chains(before)), dict(_chains(after))
    changed = [place for place in was.keys() | now.keys() if was.get(place) != now.get(place)]
    rules = {place: _rules_of(was.get(place), now.get(place)) for place in changed}
    return Deed(
        chains=frozenset(changed),
        removed={place: gone for place, (gone, _) in rules.items() if gone},
        added={place: new for place, (_, new) in rules.items() if new},
        made=frozenset(place for place in changed if place not in was),
        lost=frozenset(place for place in changed if place not in now),
        policies=frozenset(
            place for place in changed if place in was and place in now and was[place].policy != now[place].policy
        ),
    )


_NOBODY = Process(pid=0, name="")


def told(
    deed: Deed, *, seen: float, author: Author, act: Act = Act.OTHER, by: Process = _NOBODY, generation: int = 0
) -> Change:
    """The first few of its chains and rules, and who made it."""
    added, removed = (list(islice(_printed(rules), _MOST_RULES)) for rules in (deed.added, deed.removed))
    count = sum(len(them) for rules in (deed.added, deed.removed) for them in rules.values())
    return Change(
        seen=seen,
        author=author,
        act=act,
        generation=generation,
        pid=by.pid,
        process=by.name,
        command=by.command,
        parent=f"{by.parent} ({by.parent_pid})" if by.parent else "",
        chains=tuple(sorted(map(_name, deed.chains))[:_MOST_CHAINS]),
        added=tuple(added),
        removed=tuple(removed),
        left_out=count - len(added) - len(removed),
    )


def _places(names: Iterable[ChainName]) -> frozenset[ChainPlace]:
    return frozenset(map(_place, names))


def _place(name: ChainName) -> ChainPlace:
    (proto, table), chain = name
    family = r.AddressFamily.IPV6 if proto == IPV6 else r.AddressFamily.IPV4
    if proto in (IPV4, IPV6) and table in _OWN_TABLES:
        return ChainPlace(family, table, chain)
    return ChainPlace(family, f"{FAMILY_NAMES.get(proto, str(proto))} {table}", chain)


def _by_place(changed: Mapping[ChainName, Sequence[Entry]]) -> Rules:
    """The rules of each chain that has some; two families' chains of one name are one place."""
    found: dict[ChainPlace, tuple[r.Rule, ...]] = {}
    for name, entries in changed.items():
        rules = flat(entries)
        if rules:
            place = _place(name)
            found[place] = found[place] + rules if place in found else rules
    return found


def _chains(ruleset: r.Ruleset) -> Iterator[tuple[ChainPlace, r.Chain]]:
    for table in (*ruleset.tables.values(), *ruleset.natives):
        for chain in table.chains.values():
            yield ChainPlace(ruleset.family, table.name, chain.name), chain


def _rules_of(was: r.Chain | None, now: r.Chain | None) -> tuple[tuple[r.Rule, ...], tuple[r.Rule, ...]]:
    """What is gone and what is new, in order."""
    before, after = Counter(was.rules if was is not None else ()), Counter(now.rules if now is not None else ())
    return tuple((before - after).elements()), tuple((after - before).elements())


def _name(place: ChainPlace) -> str:
    family = "ip6 " if place.family is r.AddressFamily.IPV6 and " " not in place.table else ""
    return f"{family}{place.table} {place.chain}".rstrip()


def _printed(rules: Mapping[ChainPlace, tuple[r.Rule, ...]]) -> Iterator[str]:
    """``-t TABLE -A CHAIN …``, as iptables would take it."""
    for place, them in rules.items():
        table = _name(place._replace(chain=""))
        for rule in them:
            yield f"-t {table} {render_rule(rule, place.chain)}"
