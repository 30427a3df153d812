"""What should stand in the policy chain, and the jump to it."""

from __future__ import annotations

from collections.abc import Sequence

from c2c_auditor.audit.comparison.compare import Comparison
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.order import misplaced
from c2c_auditor.audit.comparison.sequence import longest_increasing
from c2c_auditor.audit.mend.draft import Draft
from c2c_auditor.audit.mend.slots import FRONT
from c2c_auditor.audit.reading.inputs import Inputs, compare_planned
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.silk.chain_names import policy_chain_name, policy_chain_time
from c2c_auditor.silk.policy import Planned

_TABLE, _FORWARD = "filter", "FORWARD"


def policy_chain(draft: Draft, inputs: Inputs, ahead: frozenset[str], now: float | None) -> None:
    """Put the plan into the newest policy chain, and take older ones away.

    ``ahead`` are chains whose time is ahead of the clock's; ``now``, in seconds since the epoch, names a new chain, and
    without it none is made.
    """
    if inputs.planned is None:
        return
    name = _in_force(inputs, ahead)
    for other in inputs.chains.names:
        if other != name:
            draft.remove(_TABLE, other)
    if name:
        _chain(draft, inputs, name, inputs.planned)
        _jumps(draft, inputs, name)
    elif inputs.planned and now is not None:
        made = policy_chain_name(now)
        draft.places(_TABLE, made).arrange(_rules(inputs.planned), ())
        draft.places(_TABLE, _FORWARD).insert(FRONT, _jump(made))


def _in_force(inputs: Inputs, ahead: frozenset[str]) -> str:
    """The chain that stays: the newest that is jumped to, else the newest. Empty if none is, or none is needed.

    One whose time is ahead never stays: VPA would never take it away.
    """
    chains = inputs.chains
    if not chains.active and not inputs.planned:
        return ""
    candidates = [name for name in chains.active or chains.names if name not in ahead]
    return max(candidates, key=lambda name: policy_chain_time(name) or 0.0, default="")


def _rules(planned: Sequence[Planned]) -> tuple[r.Rule, ...]:
    return tuple(dict.fromkeys(plan.rule for plan in planned))


def _chain(draft: Draft, inputs: Inputs, name: str, planned: Sequence[Planned]) -> None:
    rules = inputs.ruleset.chains(_TABLE)[name].rules
    entries = [Entry(chain=name, position=at, rule=rule) for at, rule in enumerate(rules, 1)]
    outcome = compare_planned(planned, entries, inputs.people)
    kept = [(plan.rule, entry) for plan, entry in outcome.matched]
    kept += [(pair.planned.rule, pair.entry) for pair in outcome.changed]
    places = draft.places(_TABLE, name)
    places.arrange(_rules(planned), kept, _displaced(outcome, everything=draft.in_order))


def _displaced(outcome: Comparison[Planned], *, everything: bool) -> frozenset[int]:
    """The rules that stand where they do not work, or ``everything`` that stands in another order than silk's."""
    if everything:
        positions = [entry.position for _, entry in outcome.matched]
        straight = longest_increasing(positions)
        return frozenset(at for index, at in enumerate(positions) if index not in straight)
    return frozenset(found.moved.entry.position for found in misplaced(outcome.matched))


def _jump(chain: str) -> r.Rule:
    return r.Rule(target=r.Jump(chain=chain))


def _jumps(draft: Draft, inputs: Inputs, name: str) -> None:
    """One jump without condition, before every container's chain; silk inserts it at the front."""
    places, wanted = draft.places(_TABLE, _FORWARD), _jump(name)
    to_it = [jump for jump in inputs.chains.jumps if jumped_chain(jump.rule) == name]
    plain = [jump for jump in to_it if jump.rule == wanted]
    if not plain and to_it and not draft.in_order:
        places.put(to_it[0].position, wanted)
    elif not plain:
        for jump in to_it:
            places.put(jump.position, None)
        places.insert(FRONT, wanted)
    elif draft.goes(_TABLE, _FORWARD, plain[0].position):
        places.insert(FRONT, wanted)
