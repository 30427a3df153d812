"""One packet through one chain, or all that it meets: does it pass, which rule decides, and every rule that was tried.

As the kernel walks (net/ipv4/netfilter/ip_tables.c, net/netfilter/nf_tables_core.c): rules in order; a jump comes back
behind itself, a goto to where its chain was called from, RETURN leaves a chain; a built-in chain ends in its policy.
Where a condition only *may* hold, both ways are walked: the state of a walk is the set of marks that the packet may
carry at this point, and the answer is what all the ways come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action, action, new_mark, restored_mark
from c2c_auditor.netfilter.packet import Certainty, Packet, conditions, every, marked
from c2c_auditor.netfilter.stages import Stage

# nf_tables allows 16 jumps inside each other; legacy tables more, which is not seen in use.
_DEEPEST = 64
# Chains that call each other twice at each level double the work at each level, in the kernel too.
_MOST_STEPS = 250_000
# Ways that differ in the mark only; beyond this many the mark is taken for unknown.
_MOST_MARKS = 64
Marks = frozenset[int | None]


@frozen(kw_only=True)
class Step:
    """One rule that was tried, or (``rule`` None, ``position`` 0) a chain's policy.

    ``position`` counts from 1; ``depth`` is that of the jumps, from 0; ``table`` is `Stage.table`.

    ``matched`` says whether it took the packet.
    """

    chain: str
    position: int
    rule: r.Rule | None
    matched: Certainty
    depth: int = 0
    table: str = "filter"


@frozen(kw_only=True)
class Outcome:
    """What a walk came to. ``marks`` are those that the packet can carry where it passes, None among them for any.

    ``trace`` is every rule tried, in order. ``accepted`` and ``refused`` are the steps of it that decided; with *may*
    there are several.
    """

    passes: Certainty
    marks: Marks
    accepted: tuple[Step, ...]
    refused: tuple[Step, ...]
    trace: tuple[Step, ...]


def evaluate(chains: Mapping[str, r.Chain], start: str, packet: Packet) -> Outcome:
    """Walk ``packet`` through the built-in chain ``start`` of one table.

    A policy that is not known is taken for ACCEPT, the kernel's own default.

    Raises EvaluationError for a loop, for jumps deeper than the kernel's, for more steps than any real ruleset takes,
    and if ``start`` is not there.
    """
    chain = chains.get(start)
    if chain is None:
        message = f"there is no chain {start} in these rules"
        raise EvaluationError(message)
    return _Walk(chains, packet).all_of(chain, frozenset({packet.mark}))


def evaluate_stages(stages: Iterable[Stage], packet: Packet) -> Outcome:
    """Walk ``packet`` through ``stages``, one after the other, as far as it comes.

    ``accepted`` are the rules of the main stage; where none is the main one, those of the last.

    Raises EvaluationError as `evaluate`.
    """
    marks: Marks = frozenset({packet.mark})
    passes = Certainty.YES
    accepted: tuple[Step, ...] = ()
    refused: list[Step] = []
    trace: list[Step] = []
    decided = False
    for stage in stages:
        if not stage.meets(packet):
            continue
        walk = _Walk(stage.chains, stage.seen(packet), table=stage.table, redirects=stage.redirects)
        outcome = walk.all_of(stage.chains[stage.start], marks)
        passes = every((passes, outcome.passes))
        trace += outcome.trace
        refused += outcome.refused
        if stage.main or not decided:
            accepted, decided = outcome.accepted, stage.main
        marks = outcome.marks
        if passes is Certainty.NO:
            accepted = ()
            break
    return Outcome(passes=passes, marks=marks, accepted=accepted, refused=tuple(refused), trace=tuple(trace))


class _Walk:
    """The state of one walk: what was tried, and how the packet's possible ways ended."""

    def __init__(
        self, chains: Mapping[str, r.Chain], packet: Packet, *, table: str = "filter", redirects: bool = False
    ) -> None:
        self._chains = chains
        self._packet = packet
        self._table = table
        self._redirects = redirects
        self._trace: list[Step] = []
        self._accepted: list[Step] = []
        self._refused: list[Step] = []
        self._marks: set[int | None] = set()

    def all_of(self, chain: r.Chain, marks: Marks) -> Outcome:
        """A base chain, for a packet that carries one of ``marks``, with its policy."""
        left = self.through(chain, marks, ())
        if left:
            end = Step(chain=chain.name, position=0, rule=None, matched=Certainty.YES, table=self._table)
            self.end(end, left, passes=chain.policy != "DROP")
        return self.outcome()

    def through(self, chain: r.Chain, marks: Marks, path: tuple[str, ...]) -> Marks:
        """One chain, for a packet that carries one of ``marks``.

        With which marks it comes back undecided (none: it never does).
        """
        if chain.name in path:
            message = (
                f"{chain.name} is reached from itself: {' → '.join((*path[path.index(chain.name) :], chain.name))}"
            )
            raise EvaluationError(message)
        if len(path) > _DEEPEST:
            message = f"{chain.name} is reached through more than {_DEEPEST} jumps: {' → '.join(path[:5])} → …"
            raise EvaluationError(message)
        here = (*path, chain.name)
        returned: Marks = frozenset()
        for position, rule in enumerate(chain.rules, 1):
            taken, passed = self._tried(rule, marks)
            step = Step(
                chain=chain.name,
                position=position,
                rule=rule,
                matched=_matched(taken, passed),
                depth=len(path),
                table=self._table,
            )
            self._note(step)
            if taken:
                back, out = self._act(step, rule.target, taken, here)
                returned |= out
                passed |= back
            marks = _bounded(passed)
            if not marks:
                return returned
        return returned | marks

    def _tried(self, rule: r.Rule, marks: Marks) -> tuple[Marks, Marks]:
        """The marks with which ``rule`` may take the packet, and those with which it may not: a mark can be in both."""
        rest = conditions(rule, self._packet)
        if rest is Certainty.NO:
            return frozenset(), marks
        taken: set[int | None] = set()
        passed: set[int | None] = set()
        for mark in marks:
            answer = every((rest, marked(rule, mark)))
            if answer is not Certainty.NO:
                taken.add(mark)
            if answer is not Certainty.YES:
                passed.add(mark)
        return frozenset(taken), frozenset(passed)

    def _act(self, step: Step, target: r.Target, marks: Marks, path: tuple[str, ...]) -> tuple[Marks, Marks]:
        """What ``target`` does with a packet that its rule takes.

        The marks with which the walk goes on behind the rule, and those with which it leaves the chain.
        """
        nothing: Marks = frozenset()
        does = action(target, self._chains, redirects=self._redirects)
        if does is Action.SET_MARK and isinstance(target, r.SetMark):
            return frozenset(new_mark(target, mark) for mark in marks), nothing
        if does is Action.RESTORE_MARK:
            return frozenset(restored_mark(target, mark, self._packet.connection_mark) for mark in marks), nothing
        if isinstance(target, r.Jump | r.Goto) and does is not Action.DOUBT:
            back = self.through(self._chains[target.chain], marks, path)
            return (back, nothing) if does is Action.JUMP else (nothing, back)
        if does is Action.RETURN:
            return nothing, marks
        if does in (Action.ACCEPT, Action.DOUBT):
            self.end(step, marks, passes=True)
        if does in (Action.REFUSE, Action.DOUBT):
            self.end(step, marks, passes=False)
        if does in (Action.DOUBT, Action.FORGET_MARK):
            return frozenset({None}), nothing
        return (marks if does is Action.GO_ON else nothing), nothing

    def end(self, step: Step, marks: Marks, *, passes: bool) -> None:
        """One of the packet's ways ends here."""
        if step.position == 0:
            self._note(step)
        (self._accepted if passes else self._refused).append(step)
        if passes:
            self._marks |= marks

    def _note(self, step: Step) -> None:
        if len(self._trace) >= _MOST_STEPS:
            message = (
                f"more than {_MOST_STEPS} rules were tried for one packet: chains call each other too often, from "
                f"{self._trace[0].chain} on"
            )
            raise EvaluationError(message)
        self._trace.append(step)

    def outcome(self) -> Outcome:
        """What all ways came to."""
        doubt = None if self._accepted and self._refused else bool(self._accepted)
        return Outcome(
            passes=Certainty.of(doubt),
            marks=frozenset(self._marks),
            accepted=tuple(self._accepted),
            refused=tuple(self._refused),
            trace=tuple(self._trace),
        )


def _matched(taken: Marks, passed: Marks) -> Certainty:
    return Certainty.of(None if taken and passed else bool(taken))


def _bounded(marks: Marks) -> Marks:
    return marks if len(marks) <= _MOST_MARKS else frozenset({None})
