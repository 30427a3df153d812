"""One walk over all flows of two ends: what each rule takes of them, and how they end."""

from __future__ import annotations

from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action, new_mark, restored_mark
from c2c_auditor.netfilter.decided import Decided, Passed
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowsByMark, FlowSet, add, both, joined, union, without
from c2c_auditor.netfilter.indexed import DEEPEST, Indexed
from c2c_auditor.netfilter.packet import Certainty, Packet, end_conditions, marked

# Chains that call each other twice at each level double the work at each level, where the walk does not share it.
MOST_STEPS = 250_000


def too_many_steps(start: str) -> EvaluationError:
    """The error for rules that no kernel holds, met from the chain ``start`` on."""
    return EvaluationError(
        f"more than {MOST_STEPS} rules were tried for two ends: chains call each other too often, from {start} on"
    )


class Walk:
    """One walk over all flows of two ends.

    What a chain does with the same flows is the same each time. Most chains are met once; of one that is met again it
    is kept, so that chains that jump to each other in many ways cost no more than their rules.
    """

    def __init__(self, rules: Indexed, packet: Packet) -> None:
        self._rules = rules
        self._packet = packet
        self._accepted: list[Decided | Passed] = []
        self._refused: list[Decided | Passed] = []
        # What runs of the first chain left of all flows: it goes for all that is under way, and is taken off at the
        # end.
        self._within: FlowSet = ALL
        self._marks: FlowsByMark = {}
        self._met: set[str] = set()
        self._walked: dict[tuple[str, tuple[tuple[int | None, FlowSet], ...]], FlowsByMark] = {}
        self._steps = 0

    def through(self, chain: str, flows_by_mark: FlowsByMark, path: tuple[str, ...]) -> FlowsByMark:
        """One chain; what comes back undecided."""
        if chain in path or len(path) > DEEPEST:
            message = (
                f"{chain} is reached from itself, or through more than {DEEPEST} jumps: "
                f"{' → '.join((*path[:5], chain))}"
            )
            raise EvaluationError(message)
        if chain not in self._met:
            self._met.add(chain)
            return self._walk(chain, flows_by_mark, (*path, chain))
        state = chain, tuple(flows_by_mark.items())
        walked = self._walked.get(state)
        if walked is None:
            walked = self._walked[state] = self._walk(chain, flows_by_mark, (*path, chain))
        return walked

    def _walk(self, chain: str, flows_by_mark: FlowsByMark, here: tuple[str, ...]) -> FlowsByMark:
        """One chain that these flows have not been through; ``here`` are the chains passed and itself."""
        index = self._rules.index(chain)
        returned: FlowsByMark = {}
        marks = tuple(flows_by_mark)
        ends = self._packet.source, self._packet.destination
        todo = index.steps(*ends, marks)
        done = 0
        while done < len(todo) and flows_by_mark:
            at = todo[done]
            done += 1
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise too_many_steps(self._rules.start)
            flows_by_mark = (
                self._run(at, flows_by_mark, returned, here)
                if at in index.runs
                else self._rule(index.rules[at], flows_by_mark, returned, here)
            )
            if flows_by_mark and tuple(flows_by_mark) != marks:  # other marks, other rules
                marks = tuple(flows_by_mark)
                todo = [later for later in index.steps(*ends, marks) if later > at]
                done = 0
        return joined(returned, flows_by_mark)

    def _run(self, first: int, flows_by_mark: FlowsByMark, returned: FlowsByMark, path: tuple[str, ...]) -> FlowsByMark:
        """A run of rules; what goes on behind it."""
        chain = path[-1]
        index = self._rules.index(chain)
        end, part = index.runs[first]
        met = end_conditions(part, self._packet)
        if met is Certainty.NO:
            return flows_by_mark
        if met is Certainty.MAY:
            for rule in index.rules[first:end]:
                flows_by_mark = self._rule(rule, flows_by_mark, returned, path)
            return flows_by_mark
        run = self._rules.run(chain, first, self._packet)
        flows = union(*flows_by_mark.values())
        if run.accepted.flows:
            accepted = Passed(run.accepted, flows, self._within)
            self._accepted.append(accepted)
            add(self._marks, {mark: accepted.of(flows) for mark, flows in flows_by_mark.items()})
        if run.refused.flows:
            self._refused.append(Passed(run.refused, flows, self._within))
        if not run.left:
            return {}
        if len(path) == 1 and not returned:
            self._within = self._rules.narrowed(self._within, run.left)
            return flows_by_mark
        return {mark: left for mark, flows in flows_by_mark.items() if (left := both(flows, run.left))}

    def _rule(
        self, rule: r.Rule, flows_by_mark: FlowsByMark, returned: FlowsByMark, path: tuple[str, ...]
    ) -> FlowsByMark:
        """One rule; what goes on behind it. What leaves the chain is added to ``returned``."""
        asks = self._rules.asks(rule, self._packet)
        if asks.bare:
            return self._act(rule, asks.does, flows_by_mark, (returned, path))
        rest = end_conditions(rule, self._packet)
        if rest is Certainty.NO:
            return flows_by_mark
        taken: FlowsByMark = {}
        passed: FlowsByMark = {}
        for mark, flows in flows_by_mark.items():
            answer = marked(rule, mark)
            if answer is Certainty.NO:
                passed[mark] = flows
                continue
            if may := both(flows, asks.possibly):
                taken[mark] = may
            left = without(flows, asks.surely) if answer is rest is Certainty.YES else flows
            if left:
                passed[mark] = left
        if not taken:
            return flows_by_mark
        return joined(passed, self._act(rule, asks.does, taken, (returned, path)))

    def _act(
        self, rule: r.Rule, does: Action, taken: FlowsByMark, around: tuple[FlowsByMark, tuple[str, ...]]
    ) -> FlowsByMark:
        """What ``rule`` does with what it takes; what of it goes on behind the rule.

        ``around``: what has left the chain, and the chains passed.
        """
        target = rule.target
        returned, path = around
        if does is Action.GO_ON:
            return taken
        if does is Action.SET_MARK and isinstance(target, r.SetMark):
            return joined(*({new_mark(target, mark): flows} for mark, flows in taken.items()))
        if does is Action.RESTORE_MARK:
            marks = ({restored_mark(target, mark, self._packet.connection_mark): taken[mark]} for mark in taken)
            return joined(*marks)
        if isinstance(target, r.Jump | r.Goto) and does is not Action.DOUBT:
            back = self.through(target.chain, taken, path)
            if does is Action.JUMP:
                return back
            add(returned, back)
            return {}
        if does is Action.RETURN:
            add(returned, taken)
        if does in (Action.ACCEPT, Action.DOUBT):
            self.end(taken, rule, passes=True)
        if does in (Action.REFUSE, Action.DOUBT):
            self.end(taken, rule, passes=False)
        return {None: union(*taken.values())} if does in (Action.DOUBT, Action.FORGET_MARK) else {}

    def end(self, flows_by_mark: FlowsByMark, rule: r.Rule | None, *, passes: bool) -> None:
        """These flows end here."""
        (self._accepted if passes else self._refused).append(
            Decided(union(*flows_by_mark.values()), rule, self._within)
        )
        if passes:
            within = self._within
            if within is not ALL:
                flows_by_mark = {mark: left for mark, flows in flows_by_mark.items() if (left := both(flows, within))}
            add(self._marks, flows_by_mark)

    def disposition(self) -> Disposition:
        """What became of all flows."""
        accepted = union(*(one.of(ALL) for one in self._accepted))
        doubtful = union(*(one.of(accepted) for one in self._refused)) if accepted else NOTHING
        return Disposition(
            accepted=tuple(self._accepted),
            refused=tuple(self._refused),
            marks=self._marks,
            passes=without(accepted, doubtful),
            may_pass=doubtful,
        )
