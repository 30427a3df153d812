"""Where traffic differs from the policies, looked up by what findings name: rules, addresses, senders.

A rule that a thousand others stand beside, or that stops the answers of all connections, is to blame for tens of
thousands of differences. So differences with the same rules to blame are kept together (`Blame`), and a finding is
shown the first few of each kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from attrs import define, field, frozen

from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Effect
from c2c_auditor.netfilter.decided import Rules
from c2c_auditor.netfilter.flows import FlowSet, union

# How many differences of one effect a finding is shown; its text has no more.
MOST = 3
# Up to this many rules, equal ones are recognised by value; more are one object where they are the same (`Row.blame`).
_FEW = 8


@define(eq=False)
class Blame:
    """Rules that decide together, and the numbers of the first differences of each effect that they make."""

    rules: Rules
    first: dict[Effect, list[int]] = field(factory=dict)

    def add(self, effect: Effect, number: int) -> None:
        """One difference more."""
        known = self.first.setdefault(effect, [])
        if len(known) < MOST:
            known.append(number)


@frozen(kw_only=True, eq=False)
class Harm:
    """One difference of one row: ``flows`` that pass and should not, or should and may not.

    ``blames`` are the rules that decide so, ``number`` its place among all differences, ``ends`` the addresses of those
    of its ends that are containers here, the destination's first. ``address`` is what its packets come from.
    """

    number: int
    effect: Effect
    to: DestinationFlows
    row: Row
    flows: FlowSet
    address: int
    ends: tuple[str, ...]
    blames: tuple[Blame, ...]

    @property
    def rules(self) -> Iterator[r.Rule | None]:
        """The rules that decide so; None is the chain's policy."""
        return (rule for blame in self.blames for rule in blame.rules)


class Harms:
    """All differences of one reading."""

    def __init__(self, reach: Reachability) -> None:
        self.all: list[Harm] = []
        self.blames: dict[object, Blame] = {}
        self._stranger = reach.senders.overlay.stranger
        self._texts: dict[IPv4Address | IPv6Address, str] = {}
        self._by_end: dict[str, list[Harm]] = {}
        self._by_pair: dict[tuple[str, str], list[Harm]] = {}
        self._by_sender: dict[int, list[Harm]] = {}
        for to, row in reach.differences():
            for effect, flows in _harm(row):
                self._add(effect, to, row, flows)
        self._by_rule: dict[r.Rule, list[Blame]] = {}
        for blame in self.blames.values():
            for rule in blame.rules:
                if rule is not None:
                    self._by_rule.setdefault(rule, []).append(blame)

    def _add(self, effect: Effect, to: DestinationFlows, row: Row, flows: FlowSet) -> None:
        container = row.source.container
        one = Harm(
            number=len(self.all),
            effect=effect,
            to=to,
            row=row,
            flows=flows,
            address=int(container.address) if container is not None else self._stranger,
            ends=tuple(self._text(end.address) for end in (to.container, container) if end is not None),
            blames=tuple(self._blame(rules) for rules in row.blame(flows)),
        )
        self.all.append(one)
        for blame in one.blames:
            blame.add(effect, one.number)
        for end in one.ends:
            self._by_end.setdefault(end, []).append(one)
        if to.container is not None:
            self._by_pair.setdefault((one.ends[0], row.source.app), []).append(one)
        self._by_sender.setdefault(one.address, []).append(one)

    def _text(self, address: IPv4Address | IPv6Address) -> str:
        text = self._texts.get(address)
        if text is None:
            text = self._texts[address] = str(address)
        return text

    def _blame(self, rules: Rules) -> Blame:
        key: object = rules if len(rules) <= _FEW else id(rules)
        found = self.blames.get(key)
        if found is None:
            found = self.blames[key] = Blame(rules)
        return found

    def decided_by(self, rule: r.Rule | None, effects: Iterable[Effect] = Effect) -> list[Harm]:
        """The first differences of each of ``effects`` that ``rule`` decides; none where there are none."""
        blames = self._by_rule.get(rule, ()) if rule is not None else ()
        found: set[int] = set()
        for effect in effects:
            some = {number for blame in blames for number in blame.first.get(effect, ())}
            found.update(sorted(some)[:MOST])
        return [self.all[number] for number in sorted(found)]

    def at(self, address: str) -> Sequence[Harm]:
        """The differences of the container with ``address``, at either end."""
        return self._by_end.get(address, ())

    def between(self, address: str, app: str) -> Sequence[Harm]:
        """The differences from ``app`` (empty: the ingress router, and senders of no app) to one container."""
        return self._by_pair.get((address, app), ())

    def marked_by(self, rule: r.Rule) -> list[Harm]:
        """The differences of all senders that ``rule`` takes packets from."""
        return [harm for address, harms in self._by_sender.items() if is_from(rule, address) for harm in harms]


def in_order(harms: Iterable[Harm]) -> list[Harm]:
    """``harms``, each once, in the order of the rows."""
    return sorted({harm.number: harm for harm in harms}.values(), key=_number)


def is_from(rule: r.Rule, address: int) -> bool:
    """Whether ``rule`` can take packets from ``address``."""
    return rule.source is None or (address & rule.source.mask == rule.source.value) != rule.source.negated


def _number(harm: Harm) -> int:
    return harm.number


def _harm(row: Row) -> Iterator[tuple[Effect, FlowSet]]:
    """What passes and should not, and what should and may not."""
    if opened := row.open:
        yield Effect.BREACH, opened
    if blocked := union(row.blocked, row.doubtful):
        yield Effect.OUTAGE, blocked
