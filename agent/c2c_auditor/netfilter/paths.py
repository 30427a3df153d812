"""All flows between two ends at once: the walk of `evaluate`, over sets of flows instead of one packet.

Rules that cannot concern the two ends are not looked at (`index`), and rules in a row that do the same on every walk
are walked once (`decided`). So one answer costs what its few rules cost, whatever the size of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import ALL, FlowsByMark
from c2c_auditor.netfilter.indexed import Indexed
from c2c_auditor.netfilter.outline import Ends, Met, Nameless, Outline, Outlining, met_again
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.walk import Walk

__all__ = ["Disposition", "Paths"]


class Paths(Indexed):
    """Answers about the rules that packets meet from one built-in chain of one table on."""

    def __init__(self, chains: Mapping[str, r.Chain], start: str, *, redirects: bool = False) -> None:
        super().__init__(chains, start, redirects=redirects)
        self._nameless: Nameless = {}

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

    def outline(self, destination: int, source: int | None = None) -> Outline:
        """What decides about packets to ``destination``: see `outline`. Raises EvaluationError as `disposition`."""
        return self.outlined(destination, source)[0]

    def outlined(self, destination: int, source: int | None) -> tuple[Outline, Met]:
        """`outline`, and the chains that it was read from: it holds as long as these tell the same (`met_again`)."""
        outlining = Outlining(self, (source, destination), self._nameless)
        return outlining.outline(), outlining.met

    def met_again(self, ends: Ends, met: Met) -> Met | None:
        """The chains of now that tell the same of ``ends`` as ``met``; None if there are none."""
        return met_again(self, ends, met, self._nameless)
