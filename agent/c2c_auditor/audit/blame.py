"""Which commit caused a finding: the last one that touched the very rule or chain, since an audit that did not find it.

Nothing is guessed. A finding that was there before is none of the new commits' doing. The last commit to the rule must
have done what the finding is about: taken the rule away, or put it there. A commit of which not all is known, between
it and now, ends the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import ChainPlace, Change, Deed, Done, Rules
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_GONE = frozenset({Kind.CONTAINER_CHAIN_MISSING, Kind.DEFAULT_DENY_MISSING, Kind.ASG_MISSING})
"""Kinds that without a rule are about a chain that is not there."""
_LEFT = frozenset({Kind.POLICY_CHAIN_ORPHAN, Kind.CONTAINER_CHAIN_ORPHAN})
"""Kinds about a chain that nothing jumps to."""

_TWINS = {"nat": "mangle", "mangle": "nat"}


def blamed(findings: Iterable[Finding], done: Sequence[Done]) -> Iterator[tuple[Finding, Change]]:
    """Of findings that the audit before did not have, and of all that was ``done`` since, the oldest first."""
    if not done:
        return
    touched = [_Touched(one) for one in reversed(done)]
    for finding in findings:
        change = _cause(finding, touched)
        if change is not None:
            yield finding, change


class _Touched:
    """A commit, with its rules as sets once they are asked for."""

    def __init__(self, done: Done) -> None:
        self.change = done.change
        self.deed = done.deed
        self._sets: dict[tuple[int, ChainPlace], frozenset[r.Rule]] = {}

    def has(self, rules: Rules, place: ChainPlace, wanted: r.Rule) -> bool:
        """Whether ``wanted`` is among the rules at ``place``."""
        if place not in rules:
            return False
        key = id(rules), place
        if key not in self._sets:
            self._sets[key] = frozenset(rules[place])
        return wanted in self._sets[key]

    def has_planned(self, rules: Rules, place: ChainPlace, wanted: r.Rule) -> bool:
        """The same of a rule that should be there, however it is spelled; few are spelled in more than one way."""
        if self.has(rules, place, wanted):
            return True
        return _is_vague(wanted) and any(_is_planned(wanted, rule) for rule in rules.get(place, ()))


def _cause(finding: Finding, touched: Sequence[_Touched]) -> Change | None:
    if finding.place is None:
        return None
    place = ChainPlace(finding.place.family, finding.place.table, finding.place.chain)
    if place.table.startswith("inet "):
        place = place._replace(family=r.AddressFamily.IPV4)
    for one in touched:
        if one.deed is None or place in one.deed.doubtful:
            return None
        did = _did(finding, place, one, one.deed)
        if did is not None:
            return one.change if did else None
    return None


def _did(finding: Finding, place: ChainPlace, one: _Touched, deed: Deed) -> bool | None:
    """Whether this commit did what the finding is about; None if it did not touch the rule or the chain."""
    if finding.found is not None:
        if isinstance(finding.found.target, r.Policy):
            return True if place in deed.policies or place in deed.made else None
        did = _only(one.has(deed.added, place, finding.found), one.has(deed.removed, place, finding.found))
        return did if did is not None else _lost_twin(finding, place, one, deed)
    if finding.expected is not None:
        return _lost(finding.expected, place, one, deed)
    if finding.kind is Kind.POLICY_CHAIN_MISSING:
        return _only(_policy_chain(place, deed.lost), _policy_chain(place, deed.made))
    if finding.kind in _GONE:
        return _only(place in deed.lost, place in deed.made)
    if finding.kind in _LEFT:
        return _only(place in deed.made or _jumps(deed.removed, place), _jumps(deed.added, place))
    return None


def _lost_twin(finding: Finding, place: ChainPlace, one: _Touched, deed: Deed) -> bool | None:
    """The same for a mapped port, whose other rule is missing in the other table."""
    twin = _TWINS.get(place.table)
    if finding.kind is not Kind.NAT_RULE_MISSING or finding.expected is None or twin is None:
        return None
    there = place._replace(table=twin)
    return _lost(finding.expected, there, one, deed)


def _lost(expected: r.Rule, place: ChainPlace, one: _Touched, deed: Deed) -> bool | None:
    return _only(one.has_planned(deed.removed, place, expected), one.has_planned(deed.added, place, expected))


def _only(did: bool, undid: bool) -> bool | None:  # noqa: FBT001 - two facts, told apart by their order
    """True if a commit did it and did not undo it, False if it undid it, None if neither."""
    return not undid if did or undid else None


def _policy_chain(place: ChainPlace, chains: Iterable[ChainPlace]) -> bool:
    return any(
        (one.family, one.table) == (place.family, place.table) and family_of(one.chain) is ChainFamily.POLICY
        for one in chains
    )


def _jumps(rules: Rules, to: ChainPlace) -> bool:
    return any(
        (place.family, place.table) == (to.family, to.table)
        and any(isinstance(rule.target, r.Jump | r.Goto) and rule.target.chain == to.chain for rule in them)
        for place, them in rules.items()
    )


def _is_vague(rule: r.Rule) -> bool:
    """Whether a plan does not know all of a rule: of a jump its interface, of a MASQUERADE what it leaves out."""
    if isinstance(rule.target, r.Jump):
        return family_of(rule.target.chain) is not None
    return isinstance(rule.target, r.Masquerade) and rule.source is not None


def _is_planned(wanted: r.Rule, rule: r.Rule) -> bool:
    """Whether ``rule`` is a spelling of ``wanted``, which is vague."""
    if isinstance(wanted.target, r.Jump):
        return rule.target == wanted.target and (rule.source, rule.destination) == (wanted.source, wanted.destination)
    return isinstance(rule.target, r.Masquerade) and rule.source == wanted.source
