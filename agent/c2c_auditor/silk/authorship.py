"""Who made a commit to the rules: VPA, the CNI plugin, or somebody else.

silk starts iptables like a person does, so a process's name does not tell them apart; what a commit did mostly does.
A person who does exactly what silk would do is taken for silk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from c2c_auditor.model import rule as r
from c2c_auditor.model.table import BUILT_IN_CHAINS
from c2c_auditor.silk.chain_names import author

# The names of the processes that silk starts, cut at 15 bytes by the kernel.
_TOOLS = frozenset({"iptables", "iptables-restor", "ip6tables", "ip6tables-resto"})
ChangedRules = Sequence[tuple[str, r.Rule]]
"""Rules with the names of their chains."""


def author_of(process: str, chains: Iterable[str], added: ChangedRules, removed: ChangedRules) -> str:
    """``vpa``, ``cni`` or ``foreign``. ``chains`` are those that the commit named.

    silk writes its own chains, jumps to them in built-in ones, and one MASQUERADE for each container. It takes rules
    out of a built-in chain one by one, each by a command of its own, so several at once are somebody's flush.
    """
    if process not in _TOOLS or sum(chain in BUILT_IN_CHAINS for chain, _ in removed) > 1:
        return "foreign"
    in_own = author(chains)
    if in_own != "foreign":
        return in_own
    authors = {_author_in_built_in(rule) for _, rule in (*added, *removed)}
    return authors.pop() if len(authors) == 1 else "foreign"


def _author_in_built_in(rule: r.Rule) -> str:
    if isinstance(rule.target, r.Jump):
        return author([rule.target.chain])
    of_a_container = isinstance(rule.target, r.Masquerade) and rule.source is not None and rule.source.is_host
    return "cni" if of_a_container else "foreign"
