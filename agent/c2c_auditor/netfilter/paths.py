"""All flows between two ends at once: the walk of `evaluate`, over sets of flows instead of one packet.

Rules that cannot concern the two ends are not looked at (`index`), so one answer costs what its few rules cost,
whatever the size of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from attrs import evolve, frozen

from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import decided
from c2c_auditor.netfilter.actions import Action, action, new_mark
from c2c_auditor.netfilter.decided import Decided, Passed, Run
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowsByMark, FlowSet, add, both, joined, matching, union, without
from c2c_auditor.netfilter.index import ChainIndex, Scope
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import Certainty, Packet, end_conditions, marked

_DEEPEST = 64
# Chains that call each other twice at each level double the work at each level, where the walk does not share it.
_MOST_STEPS = 250_000
_ACCEPTS = {Action.ACCEPT: True, Action.REFUSE: False}


@frozen(kw_only=True)
class Disposition:
    """What becomes of all flows between two ends: they pass for sure, or may, or do not.

    ``marks``: with which mark they can pass.

    ``accepted`` and ``refused`` are the rules that decide. Those that refuse are meant for what does not pass for sure,
    however wide their sets are: where one refuses all the rest, its set is not kept, and with a cell's tens of
    thousands of dispositions that halves what they take.
    """

    accepted: tuple[Decided | Passed, ...]
    refused: tuple[Decided | Passed, ...]
    marks: Mapping[int | None, FlowSet]
    passes: FlowSet
    may_pass: FlowSet

    def deciding(self, flows: FlowSet) -> Iterator[r.Rule | None]:
        """The rules that decide any of ``flows``, in the order of the walk; None is the policy."""
        for accepted in self.accepted:
            yield from accepted.rules(flows)
        left = without(flows, self.passes)
        for refused in self.refused:
            yield from refused.rules(left)


class _Asks(NamedTuple):
    """A rule as a walk sees it.

    The flows that meet it and those that may, whether it has no condition at all, and what its target does.
    """

    surely: FlowSet
    perhaps: FlowSet
    bare: bool
    does: Action


class Paths:
    """The rules that packets meet from one built-in chain of one table on.

    Each chain is indexed when it is first met. Raises EvaluationError if there is no such chain.
    """

    def __init__(self, chains: Mapping[str, r.Chain], start: str) -> None:
        if start not in chains:
            message = f"there is no chain {start} in these rules"
            raise EvaluationError(message)
        self._chains = chains
        self._start = start
        self._reading: list[str] = []
        self._indexes: dict[str, ChainIndex] = {}
        self._jumps: dict[r.Rule, r.Rule] = {}
        self._asks: dict[tuple[r.Rule, int | None], _Asks] = {}
        self._runs: dict[tuple[str, int, int | None], Run] = {}
        self._narrowed: dict[tuple[int, int], tuple[FlowSet, FlowSet, FlowSet]] = {}

    @property
    def start(self) -> str:
        """The built-in chain."""
        return self._start

    @property
    def chains(self) -> Mapping[str, r.Chain]:
        """All chains of the table."""
        return self._chains

    def index(self, chain: str) -> ChainIndex:
        """The index of one chain."""
        found = self._indexes.get(chain)
        if found is None:
            self._reading.append(chain)
            found = self._indexes[chain] = ChainIndex(self._chains[chain].rules, self._scope)
            self._reading.pop()
        return found

    def _scope(self, chain: str) -> Scope | None:
        """Of a chain that jumps are made to.

        Of one that is not there, of a loop and of endless depth nothing is known.
        """
        if chain not in self._chains or chain in self._reading or len(self._reading) > _DEEPEST:
            return None
        return self.index(chain).scope

    def hosts(self) -> frozenset[int]:
        """Every host that a rule names which packets of more than one host can meet."""
        self.index(self._start)  # and with it every chain that is come to without a host
        return frozenset().union(*(index.hosts for index in self._indexes.values()))

    def asks(self, rule: r.Rule, packet: Packet) -> _Asks:
        """What ``rule`` asks, worked out once; packets here tell nothing of TCP's options."""
        key = rule, packet.tcp_flags
        found = self._asks.get(key)
        if found is None:
            surely, perhaps = matching(rule, packet)
            bare = rule == r.Rule(target=rule.target)
            found = self._asks[key] = _Asks(surely, perhaps, bare=bare, does=action(rule.target, self._chains))
        return found

    def narrow(self, ends: KnownEnds) -> None:
        """From now on only packets between ``ends`` are asked about."""
        self.index(self._start)
        for index in self._indexes.values():
            index.narrow(ends)

    def run(self, chain: str, first: int, packet: Packet) -> Run:
        """The run of ``chain`` whose first rule stands at ``first``, worked out once."""
        key = chain, first, packet.tcp_flags
        found = self._runs.get(key)
        if found is None:
            index = self.index(chain)
            asks = ((rule, self.asks(rule, packet)) for rule in index.rules[first : index.runs[first]])
            found = self._runs[key] = Run(
                [(rule, decided.Asks(one.surely, one.perhaps, _ACCEPTS.get(one.does))) for rule, one in asks]
            )
        return found

    def narrowed(self, within: FlowSet, left: FlowSet) -> FlowSet:
        """Flows of both, of which there are few pairs, each worked out once and one object."""
        key = id(within), id(left)
        found = self._narrowed.get(key)
        if found is None:
            found = self._narrowed[key] = within, left, both(within, left)  # all three, for ids to stay theirs
        return found[2]

    def disposition(self, packet: Packet) -> Disposition:
        """What becomes of all flows of ``packet``'s ends, state and first mark; its protocol and ports do not count.

        Raises EvaluationError for loops, for jumps deeper than any kernel's, and for more steps than any real ruleset
        takes.
        """
        walk = _Walk(self, packet)
        left = walk.through(self._start, {packet.mark: ALL}, ())
        if left:
            walk.end(left, None, passes=self._chains[self._start].policy != "DROP")
        return walk.disposition()

    def outline(self, destination: int, source: int | None = None) -> tuple[object, ...]:
        """What decides about packets to ``destination``: rules, chains in brackets.

        Of rules for one source alone, only ``source``'s are part of it.

        Equal outlines give equal answers, whatever the chains are called and wherever their rules stand.
        """
        outline: list[object] = [self._chains[self._start].policy]
        for rule in self._outlined(self._start, (source, destination), 0):
            outline.append(rule)
            if len(outline) > _MOST_STEPS:
                raise _too_many_steps(self._start)
        return tuple(outline)

    def _outlined(self, chain: str, ends: tuple[int | None, int], depth: int) -> Iterator[r.Rule | None]:
        index = self.index(chain)
        for at in index.concerning(*ends, (None,)):
            rule = index.rules[at]
            target = rule.target
            if isinstance(target, r.Jump | r.Goto) and target.chain in self._chains and depth < _DEEPEST:
                yield self._nameless(rule, type(target)(chain=""))
                yield from self._outlined(target.chain, ends, depth + 1)
                yield None
            else:
                yield rule

    def _nameless(self, rule: r.Rule, target: r.Target) -> r.Rule:
        """A jump without its chain's name."""
        found = self._jumps.get(rule)
        if found is None:
            found = self._jumps[rule] = evolve(rule, target=target)
        return found


def _too_many_steps(start: str) -> EvaluationError:
    return EvaluationError(
        f"more than {_MOST_STEPS} rules were tried for two ends: chains call each other too often, from {start} on"
    )


class _Walk:
    """One walk over all flows of two ends.

    What a chain does with the same flows is the same each time, so it is walked once for them.
    """

    def __init__(self, paths: Paths, packet: Packet) -> None:
        self._paths = paths
        self._packet = packet
        self._accepted: list[Decided | Passed] = []
        self._refused: list[Decided | Passed] = []
        # What runs of the first chain left of all flows: it goes for all that is under way, and is taken off at the end.
        self._within: FlowSet = ALL
        self._marks: FlowsByMark = {}
        self._walked: dict[tuple[str, tuple[tuple[int | None, FlowSet], ...]], FlowsByMark] = {}
        self._steps = 0

    def through(self, chain: str, flows_by_mark: FlowsByMark, path: tuple[str, ...]) -> FlowsByMark:
        """One chain; what comes back undecided."""
        if chain in path or len(path) > _DEEPEST:
            message = (
                f"{chain} is reached from itself, or through more than {_DEEPEST} jumps: "
                f"{' → '.join((*path[:5], chain))}"
            )
            raise EvaluationError(message)
        state = chain, tuple(flows_by_mark.items())
        walked = self._walked.get(state)
        if walked is None:
            walked = self._walked[state] = self._walk(chain, flows_by_mark, (*path, chain))
        return walked

    def _walk(self, chain: str, flows_by_mark: FlowsByMark, here: tuple[str, ...]) -> FlowsByMark:
        """One chain that these flows have not been through; ``here`` are the chains passed and itself."""
        index = self._paths.index(chain)
        returned: FlowsByMark = {}
        marks = tuple(flows_by_mark)
        ends = self._packet.source, self._packet.destination
        todo = index.steps(*ends, marks)
        done = 0
        while done < len(todo) and flows_by_mark:
            at = todo[done]
            done += 1
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise _too_many_steps(self._paths.start)
            if at in index.runs:
                flows_by_mark = self._run(at, flows_by_mark, returned, here)
            else:
                flows_by_mark = self._rule(index.rules[at], flows_by_mark, returned, here)
            if flows_by_mark and tuple(flows_by_mark) != marks:  # other marks, other rules
                marks = tuple(flows_by_mark)
                todo = [later for later in index.steps(*ends, marks) if later > at]
                done = 0
        return joined(returned, flows_by_mark)

    def _run(
        self, first: int, flows_by_mark: FlowsByMark, returned: FlowsByMark, path: tuple[str, ...]
    ) -> FlowsByMark:
        """A run of rules; what goes on behind it."""
        chain = path[-1]
        index = self._paths.index(chain)
        met = end_conditions(index.rules[first], self._packet)
        if met is Certainty.NO:
            return flows_by_mark
        if met is Certainty.MAY:
            for rule in index.rules[first : index.runs[first]]:
                flows_by_mark = self._rule(rule, flows_by_mark, returned, path)
            return flows_by_mark
        run = self._paths.run(chain, first, self._packet)
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
            self._within = self._paths.narrowed(self._within, run.left)
            return flows_by_mark
        return {mark: left for mark, flows in flows_by_mark.items() if (left := both(flows, run.left))}

    def _rule(
        self, rule: r.Rule, flows_by_mark: FlowsByMark, returned: FlowsByMark, path: tuple[str, ...]
    ) -> FlowsByMark:
        """One rule; what goes on behind it. What leaves the chain is added to ``returned``."""
        asks = self._paths.asks(rule, self._packet)
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
            if may := both(flows, union(asks.surely, asks.perhaps)):
                taken[mark] = may
            sure = both(flows, asks.surely) if answer is rest is Certainty.YES else NOTHING
            if left := without(flows, sure):
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
            add(self._marks, {mark: left for mark, flows in flows_by_mark.items() if (left := both(flows, within))})

    def disposition(self) -> Disposition:
        """What became of all flows."""
        accepted = union(*(one.of(ALL) for one in self._accepted))
        doubtful = union(*(one.of(accepted) for one in self._refused)) if accepted else NOTHING
        refused = self._refused
        if len(refused) == 1 and isinstance(refused[0], Decided):
            refused = [Decided(ALL, refused[0].rule)]
        return Disposition(
            accepted=tuple(self._accepted),
            refused=tuple(refused),
            marks=self._marks,
            passes=without(accepted, doubtful),
            may_pass=doubtful,
        )
