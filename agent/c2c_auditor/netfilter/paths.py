"""All flows between two ends at once: the walk of `evaluate`, over sets of flows instead of one packet.

Rules that cannot concern the two ends are not looked at (`index`), and rules in a row that do the same on every walk
are walked once (`decided`). So one answer costs what its few rules cost, whatever the size of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import ALL, FlowsByMark
from c2c_auditor.netfilter.indexed import DEEPEST, Indexed
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.walk import MOST_STEPS, Walk, too_many_steps

__all__ = ["Disposition", "Paths"]


class Paths(Indexed):
    """Answers about the rules that packets meet from one built-in chain of one table on."""

    def __init__(self, chains: Mapping[str, r.Chain], start: str, *, redirects: bool = False) -> None:
        super().__init__(chains, start, redirects=redirects)
        self._jumps: dict[r.Rule, r.Rule] = {}

    def disposition(self, packet: Packet, coming: FlowsByMark | None = None) -> Disposition:
        """What becomes of all flows of ``packet``'s ends, state and first mark; its protocol and ports do not count.

        ``coming``: the flows that come here, by the mark that they come with; all with the packet's mark if not given.

        Raises EvaluationError for loops, for jumps deeper than any kernel's, and for more steps than any real ruleset
        takes.
        """
        walk = Walk(self, packet)
        left = walk.through(self._start, coming if coming is not None else {packet.mark: ALL}, ())
        if left:
            walk.end(left, None, passes=self._chains[self._start].policy != "DROP")
        return walk.disposition()

    def outline(self, destination: int, source: int | None = None) -> tuple[object, ...]:
        """What decides about packets to ``destination``: rules, chains in brackets.

        Of rules for one source alone, only ``source``'s are part of it.

        Equal outlines give equal answers, whatever the chains are called and wherever their rules stand.
        """
        rules = self._outlined(self._start, (source, destination), 0)
        outline = (self._chains[self._start].policy, *islice(rules, MOST_STEPS))
        if len(outline) > MOST_STEPS:
            raise too_many_steps(self._start)
        return outline

    def _outlined(self, chain: str, ends: tuple[int | None, int], depth: int) -> Iterator[r.Rule | None]:
        index = self.index(chain)
        for at in index.concerning(*ends, (None,)):
            rule = index.rules[at]
            target = rule.target
            if isinstance(target, r.Jump | r.Goto) and target.chain in self._chains and depth < DEEPEST:
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
