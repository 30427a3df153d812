"""The rules of a table as walks look them up, with what is the same on every walk worked out once."""

from __future__ import annotations

from collections.abc import Mapping

from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action, action
from c2c_auditor.netfilter.decided import Asks, Run
from c2c_auditor.netfilter.flows import FlowSet, both, matching, union
from c2c_auditor.netfilter.index import ChainIndex, Scope, chain_index
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import Packet

DEEPEST = 64


class Indexed:
    """The rules that packets meet from one built-in chain of one table on, and what walks have in common.

    Each chain is indexed when it is first met. ``redirects``: see `actions.action`. Raises EvaluationError if there is
    no such chain.
    """

    def __init__(self, chains: Mapping[str, r.Chain], start: str, *, redirects: bool = False) -> None:
        if start not in chains:
            message = f"there is no chain {start} in these rules"
            raise EvaluationError(message)
        self._chains = chains
        self._start = start
        self._redirects = redirects
        self._reading: list[str] = []
        self._indexes: dict[str, ChainIndex] = {}
        self._asks: dict[tuple[r.Rule, int | None], Asks] = {}
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
            found = self._indexes[chain] = chain_index(self._chains[chain], self._scope)
            self._reading.pop()
        return found

    def found(self, chain: str) -> ChainIndex | None:
        """`index`, None for a chain that is not there."""
        return self.index(chain) if chain in self._chains else None

    def _scope(self, chain: str) -> Scope | None:
        """Of a chain that jumps are made to.

        Of one that is not there, of a loop and of endless depth nothing is known.
        """
        if chain not in self._chains or chain in self._reading or len(self._reading) > DEEPEST:
            return None
        return self.index(chain).scope

    def hosts(self) -> frozenset[int]:
        """Every host that a rule names which packets of more than one host can meet."""
        self.index(self._start)  # and with it every chain that is come to without a host
        return frozenset().union(*(index.hosts for index in self._indexes.values()))

    def asks(self, rule: r.Rule, packet: Packet) -> Asks:
        """What ``rule`` asks, worked out once; packets here tell nothing of TCP's options."""
        key = rule, packet.tcp_flags
        found = self._asks.get(key)
        if found is None:
            surely, perhaps = matching(rule, packet)
            bare = rule == r.Rule(target=rule.target)
            found = self._asks[key] = Asks(surely, union(surely, perhaps), bare=bare, does=self.action(rule))
        return found

    def action(self, rule: r.Rule) -> Action:
        """What ``rule`` does with a packet that it takes."""
        return action(rule.target, self._chains, redirects=self._redirects)

    def narrow(self, ends: KnownEnds) -> None:
        """From now on only walk packets between ``ends``."""
        self.index(self._start)
        self._indexes = {name: index.narrowed(ends) for name, index in self._indexes.items()}

    def run(self, chain: str, first: int, packet: Packet) -> Run:
        """The run of ``chain`` whose first rule stands at ``first``, worked out once."""
        key = chain, first, packet.tcp_flags
        found = self._runs.get(key)
        if found is None:
            index = self.index(chain)
            asks = ((rule, self.asks(rule, packet)) for rule in index.rules[first : index.runs[first][0]])
            found = self._runs[key] = Run(tuple(asks))
        return found

    def narrowed(self, within: FlowSet, left: FlowSet) -> FlowSet:
        """Flows of both, of which there are few pairs, each worked out once and one object."""
        key = id(within), id(left)
        found = self._narrowed.get(key)
        if found is None:
            found = self._narrowed[key] = within, left, both(within, left)  # all three, for ids to stay theirs
        return found[2]
