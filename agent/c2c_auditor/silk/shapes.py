"""Shared by the chain families: the form of a chain's plan, and conditions that several of them use."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ChainFamily

ESTABLISHED = canonical.states(frozenset({"RELATED", "ESTABLISHED"}))
NEW_CONNECTIONS = canonical.states(frozenset({"INVALID", "NEW", "UNTRACKED"}))
_LOG_PREFIX = 28


@frozen(kw_only=True)
class ChainPlan:
    """What one chain of a container should hold.

    ``middle`` is False where ``head`` and ``tail`` are all of it. Where it is True, rules stand between them that
    nothing on the cell tells.
    """

    family: ChainFamily
    table: str
    name: str
    container: Container
    head: tuple[r.Rule, ...]
    tail: tuple[r.Rule, ...] = ()
    middle: bool = False


def family_of_address(container: Container) -> AddressFamily:
    """The family that a container's rules are planned for: that of its address."""
    return AddressFamily.of(container.address.version)


def reject(container: Container) -> r.Reject:
    """What refuses a container's packets, with the answer of its family (lib/rules/rules.go)."""
    return r.REJECTS[family_of_address(container)]


def logged(prefix: str, handle: str) -> str:
    """A log prefix as silk cuts it: 28 characters and a space."""
    return f"{prefix}{handle}"[:_LOG_PREFIX] + " "


def limited(per_second: int) -> r.LimitMatch:
    """``-m limit --limit N/s --limit-burst N``."""
    return r.LimitMatch(period=canonical.limit_period(per_second, 1, 10_000), burst=per_second)
