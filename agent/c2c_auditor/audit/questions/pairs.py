"""The marks of rules alone: for each pair of apps that an ACCEPT names, whether its mark is the one that is set.

That is what a person compares by eye: the MARK on the source's cell, the ACCEPT on the destination's, and the port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from c2c_auditor.audit.checks.extra_rules import comment_guids
from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.questions.shown_rules import shown_containers
from c2c_auditor.audit.reading.policy_chains import PolicyChains
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.report import MarkPair
from c2c_auditor.netfilter.keywords import PROTOCOL_NAMES

_ORDER = {False: 0, None: 1, True: 2}


def mark_pairs(rulesets: Sequence[r.Ruleset], facts: CellFacts) -> tuple[MarkPair, ...]:
    """One for each ACCEPT with silk's comment, and one for each marked app without any; those that differ first.

    An app has one tag, so a MARK rule of any of ``rulesets`` tells it for all of them.
    """
    rules = [rule for ruleset in rulesets for rule in _policy_rules(ruleset)]
    marks: dict[str, dict[int, None]] = {}
    addresses: dict[str, dict[str, None]] = {}
    for rule in rules:
        source, _ = comment_guids(rule)
        if isinstance(rule.target, r.SetMark) and source:
            marks.setdefault(source, {})[rule.target.value] = None
            addresses.setdefault(source, {})[str(rule.source.host if rule.source is not None else "")] = None
    accepts = [rule for rule in dict.fromkeys(rules) if rule.target == r.ACCEPT and all(comment_guids(rule))]
    ports = dict(_ports(rulesets, facts))
    pairs = [_accepted(rule, marks, addresses, ports) for rule in accepts]
    reached = {pair.source for pair in pairs}
    pairs += [
        MarkPair(source=source, source_addresses=tuple(addresses[source]), marks_set=tuple(tags))
        for source, tags in marks.items()
        if source not in reached
    ]
    return tuple(sorted(pairs, key=lambda pair: (_ORDER[pair.agrees], pair.source, pair.destination, pair.first)))


def _policy_rules(ruleset: r.Ruleset) -> Iterator[r.Rule]:
    """The rules of the policy chains, and those of a listing that does not show their chain."""
    yield from PolicyChains.of(ruleset).entries.rules
    yield from ruleset.chains("filter").get("", r.Chain(name="")).rules


def _ports(rulesets: Iterable[r.Ruleset], facts: CellFacts) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Containers' own ports by address: those that nat maps, and those of the metadata, which tells more."""
    for ruleset in rulesets:
        yield from ((str(container.address), container.ports) for container in shown_containers(ruleset))
    for container in facts.store.containers if facts.store is not None else ():
        yield str(container.address), container.ports


def _accepted(
    rule: r.Rule,
    marks: dict[str, dict[int, None]],
    addresses: dict[str, dict[str, None]],
    ports: dict[str, tuple[int, ...]],
) -> MarkPair:
    source, destination = comment_guids(rule)
    mark, transport = fields.only(rule, r.MarkMatch), fields.only(rule, r.TransportMatch)
    address = str(rule.destination.host) if rule.destination is not None else ""
    wanted = transport.destination if transport is not None else None
    own = ports.get(address, ())
    return MarkPair(
        source=source,
        source_addresses=tuple(addresses.get(source, ())),
        destination=destination,
        destination_address=address,
        protocol=PROTOCOL_NAMES.get(rule.protocol.number, str(rule.protocol.number)) if rule.protocol else "",
        first=wanted.first if wanted is not None else 0,
        last=wanted.last if wanted is not None else 0,
        own_port=any(wanted.first <= port <= wanted.last for port in own) if own and wanted is not None else None,
        marks_set=tuple(marks.get(source, ())),
        mark_asked=mark.value if mark is not None and not mark.negated else None,
    )
