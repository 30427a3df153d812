"""What decides about packets to one end: the rules that can concern it, without chains' names, and each only once.

While silk replaces the policy chain, two that are nearly equal are in force. What the first of them did with a packet,
equal rules of the second cannot do again. So they are left out, and rules that decide alike have one outline: what was
worked out for the one chain holds while there are two, and for the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import MARKING, Action
from c2c_auditor.netfilter.index import ChainIndex
from c2c_auditor.netfilter.indexed import DEEPEST, Indexed
from c2c_auditor.netfilter.walk import MOST_STEPS, too_many_steps

Outline = tuple[object, ...]
Ends = tuple[int | None, int]
Met = Mapping[str, ChainIndex | None]
Nameless = dict[r.Rule, tuple[r.Rule, bool]]
"""Jumps without their chains' names, and whether they have no condition."""
# The rules that all packets which come here have been through with the marks that they have now.
_Passed = set[r.Rule]
_ONCE = (Action.ACCEPT, Action.REFUSE, Action.GO_ON)


class Outlining:
    """Makes the outline for ``ends``, source and destination; of rules for one source alone only that one's count.

    ``nameless`` is kept from one to the next. ``met`` are the chains that it was read from, None for one that is not
    there.
    """

    def __init__(self, rules: Indexed, ends: Ends, nameless: Nameless) -> None:
        self._rules = rules
        self._ends = ends
        self._known = nameless
        self._steps = 0
        self.met: dict[str, ChainIndex | None] = {}

    def outline(self) -> Outline:
        """The first chain's policy, then rules, those of a chain between the jump to it and None.

        Equal outlines give equal answers, whatever the chains are called and wherever their rules stand. Raises
        EvaluationError for more rules than any real ruleset has for two ends.
        """
        start = self._rules.start
        rules, _ = self._chain(start, 0, set())
        return self._rules.chains[start].policy, *rules

    def _chain(self, chain: str, depth: int, passed: _Passed) -> tuple[list[r.Rule | None], _Passed]:
        """One chain's rules, and what packets have been through that come out of it; ``passed`` is used up."""
        index = self.met[chain] = self._rules.index(chain)
        concerning = index.concerning(*self._ends, (None,))
        self._steps += len(concerning)
        if self._steps > MOST_STEPS:
            raise too_many_steps(self._rules.start)
        found: list[r.Rule | None] = []
        left: list[_Passed] = []
        for at in concerning:
            rule = index.rules[at]
            # Most rules accept: asking them for more would cost an audit of 20,000 a tenth of its time.
            does = Action.ACCEPT if rule.target is r.ACCEPT else self._rules.action(rule)
            if does in _ONCE or _sets_whole_mark(rule):
                if rule not in passed:
                    found.append(rule)
                    passed = passed if does in _ONCE else set(_unmarked(passed))
                    passed.add(rule)
            elif isinstance(rule.target, r.Jump | r.Goto) and does is not Action.DOUBT and depth < DEEPEST:
                inner, behind = self._chain(rule.target.chain, depth + 1, passed.copy())
                jump, bare = _nameless(rule, rule.target, self._known)
                if does is Action.GOTO:
                    left.append(behind)
                elif inner:
                    passed = behind if bare else passed & behind
                else:
                    continue  # nothing happens there
                found += (jump, *inner, None)
            else:
                found.append(rule)
                self._left_out(rule)
                if does is Action.RETURN:
                    left.append(passed.copy())
                elif does in MARKING or does is Action.DOUBT:
                    passed = set(_unmarked(passed))
        return found, passed.intersection(*left)

    def _left_out(self, rule: r.Rule) -> None:
        """A jump that is not followed may be one as soon as its chain is there."""
        if isinstance(rule.target, r.Jump | r.Goto):
            self.met[rule.target.chain] = self._rules.found(rule.target.chain)


def met_again(rules: Indexed, ends: Ends, met: Met, nameless: Nameless) -> Met | None:
    """The chains of ``rules`` that tell the same as ``met`` does, which an outline for ``ends`` was read from.

    They may be called otherwise, and hold other rules that do not concern ``ends``. None where the outline has to be
    read anew.
    """
    again: dict[str, ChainIndex | None] = {}
    todo = [(rules.start, rules.start)]
    seen = set(todo)
    while todo:
        name, renamed = todo.pop()
        if name not in met:
            return None
        before, now = met[name], rules.found(renamed)
        again[renamed] = now
        if before is None or now is None:
            if before is not now or name != renamed:  # an outline has the jump itself then
                return None
            continue
        if before is now and not now.jumping:
            continue
        found = _concerning(now, ends)
        earlier = found if before is now else _concerning(before, ends)
        if before.jumping or now.jumping:
            jumps = _renamed(earlier, found, nameless)
            if jumps is None:
                return None
            todo += (pair for pair in jumps if pair not in seen)
            seen.update(jumps)
        elif earlier != found:
            return None
    return again


def _concerning(index: ChainIndex, ends: Ends) -> list[r.Rule]:
    rules = index.rules
    return [rules[at] for at in index.concerning(*ends, (None,))]


def _renamed(before: Sequence[r.Rule], now: Sequence[r.Rule], known: Nameless) -> list[tuple[str, str]] | None:
    """The chains that both jump to, as the one and the other call them; None where the rules say anything else."""
    if len(before) != len(now):
        return None
    found: list[tuple[str, str]] = []
    for rule, other in zip(before, now, strict=True):
        one, two = rule.target, other.target
        if isinstance(one, r.Jump | r.Goto) and isinstance(two, r.Jump | r.Goto):
            if rule != other and _nameless(rule, one, known) != _nameless(other, two, known):
                return None
            found.append((one.chain, two.chain))
        elif rule != other:
            return None
    return found


def _nameless(rule: r.Rule, target: r.Jump | r.Goto, known: Nameless) -> tuple[r.Rule, bool]:
    """A jump without its chain's name, and whether it has no condition."""
    found = known.get(rule)
    if found is None:
        nameless = evolve(rule, target=type(target)(chain=""))
        found = known[rule] = nameless, nameless == r.Rule(target=nameless.target)
    return found


def _sets_whole_mark(rule: r.Rule) -> bool:
    """Whether ``rule`` gives all packets of its ends one mark: doing that twice is doing it once.

    Not so where it asks for more: a rate may spare a packet the first time.
    """
    plain = r.Rule(
        source=rule.source,
        destination=rule.destination,
        matches=tuple(match for match in rule.matches if isinstance(match, r.CommentMatch)),
        target=rule.target,
    )
    return isinstance(rule.target, r.SetMark) and rule.target.mask == r.ALL_BITS and rule == plain


def _asks_for_mark(rule: r.Rule) -> bool:
    return any(isinstance(match, r.MarkMatch) for match in rule.matches)


def _unmarked(passed: _Passed) -> Iterator[r.Rule]:
    """Those that other marks make no difference to."""
    return (rule for rule in passed if not isinstance(rule.target, r.SetMark) and not _asks_for_mark(rule))
