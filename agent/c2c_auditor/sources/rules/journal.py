"""Counts commits by author, and keeps what others than silk did until somebody asks for it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Change
from c2c_auditor.netfilter.native.messages import FAMILY_NAMES, IPV4
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk.authorship import author_of
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.follower import Turn
from c2c_auditor.sources.rules.replica import ChangedRule, TableKey

_MOST_CHANGES = 100
_MOST_RULES = 20
_PROC = Path("/proc")


class Journal:
    """What `take` gave is forgotten; of more than a hundred changes in between the newest are kept."""

    def __init__(self, clocks: Clocks | None = None) -> None:
        self._clocks = clocks if clocks is not None else Clocks()
        self._counts: Counter[str] = Counter()
        self._changes: deque[Change] = deque(maxlen=_MOST_CHANGES)

    def note(self, turn: Turn) -> None:
        """Add a commit."""
        applied = turn.applied
        added, removed = list(_rules(applied.added)), list(_rules(applied.removed))
        author = author_of(turn.commit.name, (name for _, name in applied.names), added, removed)
        self._counts[author] += 1
        if author != "foreign":
            return
        shown = applied.added[:_MOST_RULES], applied.removed[:_MOST_RULES]
        self._changes.append(
            Change(
                seen=self._clocks.wall(),
                generation=turn.commit.generation,
                pid=turn.commit.pid,
                process=turn.commit.name,
                parent=_parent(turn.commit.pid, turn.commit.name),
                chains=tuple(sorted(_where(table, name) for table, name in applied.names)),
                added=tuple(map(_printed, shown[0])),
                removed=tuple(map(_printed, shown[1])),
                left_out=sum(map(len, (applied.added, applied.removed))) - sum(map(len, shown)),
            )
        )

    def counts(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""
        counted, self._counts = dict(self._counts), Counter()
        return counted

    def take(self) -> tuple[Change, ...]:
        """What others did since the last call, the oldest first."""
        taken = tuple(self._changes)
        self._changes.clear()
        return taken


def _rules(changed: Iterable[ChangedRule]) -> Iterable[tuple[str, r.Rule]]:
    return ((chain, rule) for _, chain, one in changed for rule in ((one,) if isinstance(one, r.Rule) else one))


def _where(table: TableKey, chain: str) -> str:
    family = "" if table[0] == IPV4 else f"{FAMILY_NAMES.get(table[0], str(table[0]))} "
    return f"{family}{table[1]} {chain}".rstrip()


def _printed(changed: ChangedRule) -> str:
    """``-t TABLE -A CHAIN …``, as iptables would take it; a rule of nftables that acts twice, joined."""
    table, chain, one = changed
    rules = (one,) if isinstance(one, r.Rule) else one
    return f"-t {_where(table, '')} " + "; ".join(render_rule(rule, chain) for rule in rules)


def _parent(pid: int, name: str) -> str:
    """The name and pid of the process that started it, if it lives and is the one that is meant."""
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if fields.get("Name") != name:
            return ""
        parent = fields.get("PPid", "0")
        return f"{(_PROC / parent / 'comm').read_text(encoding='utf-8', errors='replace').strip()} ({parent})"
    except OSError:
        return ""
