"""All flows between two ends on their whole way through the kernel: `paths`, from one chain to the next (`stages`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.actions import Action
from c2c_auditor.netfilter.decided import Decided, Passed
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import ALL, FlowsByMark, both, union, without
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.outline import Ends, Met, Outline
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.paths import Paths
from c2c_auditor.netfilter.stages import Stage

_HARMLESS = (Action.ACCEPT, Action.RETURN, Action.GO_ON)


@frozen(kw_only=True)
class Part:
    """One stage and the walks through it."""

    stage: Stage
    paths: Paths


@frozen(kw_only=True)
class Outlined:
    """What decides about packets of ``ends`` (source and destination), and the stages and chains that tell it."""

    ends: Ends
    outline: Outline
    stages: tuple[tuple[object, ...], ...]
    met: tuple[Met, ...]


class Way:
    """The stages that packets meet one after the other. FORWARD's filter chain must be among them.

    Raises EvaluationError if it is not.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        if not any(stage.main for stage in stages):
            message = "there is no chain FORWARD in these rules"
            raise EvaluationError(message)
        self.parts = tuple(Part(stage=stage, paths=paths_of(stage)) for stage in stages)

    def disposition(self, packet: Packet, *, start: Hook = Hook.PREROUTING) -> Disposition:
        """What becomes of all flows of ``packet``'s ends, state and first mark, from the hook ``start`` on.

        Packets of the outside come to PREROUTING with other addresses than to FORWARD, so of those only the rest of
        their way can be said.

        Raises EvaluationError as `Paths.disposition`.
        """
        if len(self.parts) == 1:  # so it is on most cells, and a cell has tens of thousands of answers
            return _widened(self.parts[0].paths.disposition(packet))
        coming: FlowsByMark = {packet.mark: ALL}
        passes, possible = ALL, ALL
        accepted: list[Decided | Passed] = []
        refused: list[Decided | Passed] = []
        for part in self.parts:
            stage = part.stage
            if not stage.meets(packet) or (start is not Hook.PREROUTING and stage.hook is Hook.PREROUTING):
                continue
            one = part.paths.disposition(stage.seen(packet), coming)
            passes, possible = both(passes, one.passes), both(possible, union(one.passes, one.may_pass))
            refused += one.refused
            accepted += one.accepted if stage.main else ()
            coming = dict(one.marks)
            if not coming:
                break
        return _widened(
            Disposition(
                accepted=tuple(accepted),
                refused=tuple(refused),
                marks=coming,
                passes=passes,
                may_pass=without(possible, passes),
            )
        )

    def outline(self, destination: int, source: int | None = None) -> tuple[object, ...]:
        """What decides about packets to ``destination``, as `Paths.outline`."""
        return self.outlined(destination, source).outline

    def outlined(self, destination: int, source: int | None = None, known: Outlined | None = None) -> Outlined:
        """`outline`; ``known``, of an earlier way, is taken over where the chains of now tell the same."""
        ends = source, destination
        again = self._again(known) if known is not None and known.ends == ends else None
        if again is not None:
            return again
        found = [part.paths.outlined(destination, source) for part in self.parts]
        if len(found) == 1:
            outline = found[0][0]
        else:
            hooks = (part.stage.hook for part in self.parts)
            outline = tuple(one for hook, (rules, _) in zip(hooks, found, strict=True) for one in (hook, *rules))
        return Outlined(ends=ends, outline=outline, stages=self._stages(), met=tuple(met for _, met in found))

    def _again(self, known: Outlined) -> Outlined | None:
        if known.stages != self._stages():
            return None
        found: list[Met] = []
        for part, met in zip(self.parts, known.met, strict=True):
            again = part.paths.met_again(known.ends, met)
            if again is None:
                return None
            found.append(again)
        return Outlined(ends=known.ends, outline=known.outline, stages=known.stages, met=tuple(found))

    def _stages(self) -> tuple[tuple[object, ...], ...]:
        return tuple(
            (part.stage.hook, part.stage.table, part.stage.start, part.stage.policy, part.stage.redirects)
            for part in self.parts
        )

    def hosts(self) -> frozenset[int]:
        """Every host that a rule names which packets of more than one host can meet."""
        return frozenset().union(*(part.paths.hosts() for part in self.parts))

    def narrow(self, ends: KnownEnds) -> None:
        """From now on only walk packets between ``ends``; stages that change nothing for them are left out."""
        self.parts = tuple(part for part in self.parts if part.stage.main or _matters(part, ends))
        for part in self.parts:
            part.paths.narrow(ends)


def _widened(found: Disposition) -> Disposition:
    """Where one rule refuses all that does not pass, its set of flows is not kept (`Disposition`)."""
    if len(found.refused) != 1 or not isinstance(found.refused[0], Decided):
        return found
    return Disposition(
        accepted=found.accepted,
        refused=(Decided(ALL, found.refused[0].rule),),
        marks=found.marks,
        passes=found.passes,
        may_pass=found.may_pass,
    )


def paths_of(stage: Stage) -> Paths:
    """The walks through one stage; a policy that refuses is a rule, so that it can be told from FORWARD's own."""
    chains = stage.chains
    if not stage.main and stage.policy not in (None, "ACCEPT"):
        chain = chains[stage.start]
        end = r.Rule(target=r.Policy(chain=stage.start, table=stage.table))
        chains = {**chains, stage.start: evolve(chain, rules=(*chain.rules, end), packets=None)}
    return Paths(chains, stage.start, redirects=stage.redirects)


def _matters(part: Part, ends: KnownEnds) -> bool:
    """Whether a rule that packets between ``ends`` can meet stops them, or changes their mark."""
    return any(part.paths.action(rule) not in _HARMLESS for rule in _met(part.paths, ends))


def _met(paths: Paths, ends: KnownEnds) -> Iterator[r.Rule]:
    """The rules that packets between ``ends`` can meet, but for jumps to chains that are there."""
    seen = {paths.start}
    todo = [paths.start]
    while todo:
        for rule in paths.chains[todo.pop()].rules:
            if not ends.can_meet(rule):
                continue
            target = rule.target
            if not isinstance(target, r.Jump | r.Goto) or target.chain not in paths.chains:
                yield rule
            elif target.chain not in seen:
                seen.add(target.chain)
                todo.append(target.chain)
