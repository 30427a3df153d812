"""Who made a commit to the rules, VPA, the CNI plugin or somebody else, and what silk does with such a commit.

silk starts iptables like a person does, so a process's name does not tell them apart. Its parent does, where it was
still there to be looked at: whatever VPA starts is VPA's work, and whatever a shell starts is not silk's. Else what the
commit did tells. A person who does exactly what silk would do, from another program, is taken for silk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Act, Author, Deed, Rules
from c2c_auditor.model.table import BUILT_IN_CHAINS
from c2c_auditor.silk.chain_names import ChainFamily, family_of

# Names of processes as the kernel cuts them, at 15 bytes.
_TOOLS = frozenset({"iptables", "iptables-restor", "ip6tables", "ip6tables-resto"})
_SINGLE = frozenset({"iptables", "ip6tables"})
_PARENTS = {"vxlan-policy-ag": Author.VPA, "cni-wrapper-plu": Author.CNI}
# What people and scripts start programs from; silk's programs are started by none of these.
_SHELLS = frozenset({"ash", "bash", "busybox", "dash", "fish", "ksh", "sh", "su", "sudo", "tcsh", "zsh"})
_OF_GROUPS = frozenset({ChainFamily.ASG, ChainFamily.ASG_CANDIDATE})


def classified(process: str, parent: str, deed: Deed) -> tuple[Author, Act]:
    """Who made the commit, and what it is a part of. ``parent`` is a process's name, empty if it is not known.

    silk writes its own chains, jumps to them in built-in ones, and one MASQUERADE for each container. It takes rules
    out of a built-in chain one by one, each by a command of its own, so several at once are somebody's flush.
    """
    known = _PARENTS.get(parent)
    act = _act(process, deed) if _as_silk_does(deed) else Act.OTHER
    if process not in _TOOLS or parent in _SHELLS or (known is None and act is Act.OTHER):
        return Author.FOREIGN, Act.OTHER
    if known is not None:
        return known, act
    return Author.VPA if act in (Act.POLICY_SWAP, Act.SECURITY_GROUPS) else Author.CNI, act


def _as_silk_does(deed: Deed) -> bool:
    """No policy, no built-in chain gone, and at most one rule taken out of them."""
    if deed.policies or any(place.chain in BUILT_IN_CHAINS for place in deed.lost):
        return False
    return sum(len(rules) for place, rules in deed.removed.items() if place.chain in BUILT_IN_CHAINS) <= 1


def _families(deed: Deed) -> Iterator[ChainFamily | None]:
    """The families of silk's chains that the commit is about; None for whatever is not silk's.

    A table's first commit makes its built-in chains too, and names the table itself.
    """
    for place in deed.chains:
        if place.chain and place.chain not in BUILT_IN_CHAINS:
            yield family_of(place.chain)
    for place, rules in (*deed.added.items(), *deed.removed.items()):
        if place.chain in BUILT_IN_CHAINS:
            yield from map(_family_in_built_in, rules)


def _family_in_built_in(rule: r.Rule) -> ChainFamily | None:
    if isinstance(rule.target, r.Jump):
        return family_of(rule.target.chain)
    of_a_container = isinstance(rule.target, r.Masquerade) and rule.source is not None and rule.source.is_host
    return ChainFamily.NETOUT if of_a_container else None


def _act(process: str, deed: Deed) -> Act:
    """What silk does by such a commit; other if it is about anything that is not silk's, or about nothing.

    VPA hangs security groups into ``netout--`` and puts the closing REJECT there anew, by ``iptables``; the CNI plugin
    fills that chain by ``iptables-restore``. That a deleted container's security groups are taken away is not told
    apart from their replacement.
    """
    families = set(_families(deed))
    if not families or None in families:
        return Act.OTHER
    if ChainFamily.POLICY in families:
        return Act.POLICY_SWAP
    if families & _OF_GROUPS:
        return Act.SECURITY_GROUPS
    if families == {ChainFamily.NETOUT} and not (deed.made or deed.lost) and _of_groups(process, deed):
        return Act.SECURITY_GROUPS
    gone = deed.lost or (deed.removed and not deed.added)
    return Act.CONTAINER_DELETED if gone else Act.CONTAINER_CREATED


def _of_groups(process: str, deed: Deed) -> bool:
    """Whether all that changed in ``netout--`` is a jump to security groups, or the closing REJECT."""
    changed = (*_in_own(deed.added), *_in_own(deed.removed))
    if len(changed) != 1:
        return False
    target = changed[0].target
    if isinstance(target, r.Jump):
        return family_of(target.chain) in _OF_GROUPS
    return isinstance(target, r.Reject) and changed[0] == r.Rule(target=target) and process in _SINGLE


def _in_own(rules: Rules) -> Iterable[r.Rule]:
    return (rule for place, them in rules.items() if place.chain not in BUILT_IN_CHAINS for rule in them)
