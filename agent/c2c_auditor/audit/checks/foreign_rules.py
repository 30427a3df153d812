"""Rules of others in FORWARD and INPUT, by what they can do to overlay traffic before silk's own rules decide.

A container's traffic is decided at the latest by its own chains, which end in REJECT. So a rule behind the last jump to
them decides nothing any more for a container; a rule before them can let in what they would reject, or stop what a
policy allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from attrs import field, frozen

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter.actions import Action, action
from c2c_auditor.silk.chain_names import family_of

_DEEPEST = 64
# Whether a packet may be accepted, and whether it may be stopped; a jump does neither by itself.
_ABLE = {
    Action.ACCEPT: (True, False),
    Action.RETURN: (True, False),
    Action.SET_MARK: (True, False),
    Action.RESTORE_MARK: (True, False),
    Action.FORGET_MARK: (True, False),
    Action.REFUSE: (False, True),
    Action.DOUBT: (True, True),
    Action.GO_ON: (False, False),
}
FOREIGN_REMEDY = "Find out who added it (its owner's job or a person); silk neither adds nor removes it."


def foreign_rules(inputs: Inputs) -> Iterator[Finding]:
    """Each rule of FORWARD and INPUT that is no jump into silk's chains and that overlay traffic can meet."""
    chains = inputs.ruleset.chains("filter")
    reach = Reach(chains)
    for name in ("FORWARD", "INPUT"):
        chain = chains.get(name)
        if chain is None:
            continue
        ours = [at for at, rule in enumerate(chain.rules, 1) if is_silks(rule)]
        last = max(ours, default=0)
        for at, rule in enumerate(chain.rules, 1):
            if at in ours or inputs.declared.covers("filter", name, rule, chains):
                continue
            if touches(rule, inputs.networks, source_only=name == "INPUT"):
                entry = Entry(chain=name, position=at, rule=rule)
                traffic = "containers' IPv6 traffic" if inputs.ipv6 else "overlay traffic"
                yield from _foreign(entry, reach, decides=at < last, inside=traffic if name == "FORWARD" else "")
        if chain.policy not in (None, "ACCEPT") and ours:
            yield describe.finding(
                Kind.FOREIGN_RULE,
                subject=(name, "policy"),
                summary=(
                    f"The policy of {name} is {chain.policy}, where silk expects ACCEPT: what silk's rules leave "
                    "undecided is stopped."
                ),
                remedy=FOREIGN_REMEDY,
                chain=name,
            )


def is_silks(rule: r.Rule) -> bool:
    """A jump into one of silk's chains; whether it is as it should be is judged elsewhere."""
    return family_of(jumped_chain(rule)) is not None


def _foreign(entry: Entry, reach: Reach, *, decides: bool, inside: str) -> Iterator[Finding]:
    """``decides``: silk's jumps follow; ``inside``: the traffic that it meets, none for a rule of INPUT."""
    accepts, stops = reach.of(entry.rule)
    if accepts and decides:
        kind, effect = Kind.FOREIGN_ACCEPT, Effect.BREACH
        what = (
            f"lets {inside} pass before the containers' default deny"
            if inside
            else "lets containers reach the cell before silk's rules for that"
        )
    elif stops and decides:
        kind, effect = Kind.FOREIGN_DROP, Effect.OUTAGE
        what = (
            f"stops {inside} before silk's rules have decided"
            if inside
            else "stops what containers may reach on the cell"
        )
    elif not inside:
        return  # behind the containers' own chains in INPUT nothing concerns them any more
    else:
        kind, effect = Kind.FOREIGN_RULE, Effect.ADVICE
        what = (
            f"matches {inside} and neither accepts nor stops it"
            if decides
            else f"matches {inside} only behind silk's rules, which have decided by then"
        )
    yield describe.finding(
        kind,
        subject=(entry.chain, describe.text(entry.rule)),
        summary=f"Rule {entry.position} of {entry.chain}, which silk did not write, {what}.",
        remedy=FOREIGN_REMEDY,
        effect=effect,
        entry=entry,
    )


def touches(rule: r.Rule, overlay: Sequence[IPv4Network | IPv6Network], *, source_only: bool) -> bool:
    """Whether a packet from or to the overlay's networks can meet the rule's addresses.

    ``source_only`` where only a source can be on the overlay.
    """
    networks = [(int(network.network_address), int(network.netmask)) for network in overlay]
    # a packet of the overlay has its source or its destination there, not necessarily both
    ends = (rule.source,) if source_only else (rule.source, rule.destination)
    return any(_overlaps(end, *network) for end in ends for network in networks)


def _overlaps(match: r.AddressMatch | None, value: int, mask: int) -> bool:
    if match is None:
        return True
    common = match.mask & mask
    if match.negated:
        return not (
            match.mask & mask == match.mask and match.value == value & match.mask
        )  # all but a range that holds the whole overlay
    return match.value & common == value & common


@frozen
class Reach:
    """What rules can do in the end, chain by chain: each chain is looked at once, however often it is jumped to."""

    _chains: Mapping[str, r.Chain]
    _known: dict[str, tuple[bool, bool]] = field(factory=dict, init=False)

    def of(self, rule: r.Rule) -> tuple[bool, bool]:
        """Whether a packet that matches ``rule`` may be accepted, and whether it may be stopped.

        A packet that is marked, or that leaves silk's chains, counts as accepted.
        """
        inner = jumped_chain(rule)
        return self._of_chain(inner) if inner else _ABLE[action(rule.target, ())]

    def _of_chain(self, name: str, depth: int = 0) -> tuple[bool, bool]:
        """Chains that call each other without end, and those too deep for any kernel, may do anything."""
        chain = self._chains.get(name)
        if chain is None:
            return False, False
        known = self._known.get(name)
        if known is not None:
            return known
        if depth > _DEEPEST:
            return True, True
        self._known[name] = True, True  # for a loop back to it
        accepts = stops = False
        for rule in chain.rules:
            if rule.target == r.RETURN:
                continue
            inner = jumped_chain(rule)
            can = self._of_chain(inner, depth + 1) if inner else self.of(rule)
            accepts, stops = accepts or can[0], stops or can[1]
        self._known[name] = accepts, stops
        return accepts, stops
