"""Expressions as bytes, and what they ask and do.

An expression that is not known may be a condition or an action, so it is kept as both: the rule *may* match, and what
it does may be anything.
"""

from __future__ import annotations

import sys

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import attributes, number, text
from c2c_auditor.netfilter.native.expressions import LOADS, STEPS, hexadecimal
from c2c_auditor.netfilter.native.statements import Values
from c2c_auditor.netfilter.native.walk import Effect, Unknown, Walk

HEADER = 4
"""Bytes before an expression's attributes."""
_NOTHING = frozenset({"counter", "last"})
_COMPARISONS = frozenset({"cmp", "range"})


def elements(data: bytes) -> tuple[bytes, ...]:
    """The expressions in ``data``, each with its header, so that they give ``data`` when they are joined.

    Raises NotUnderstood for bytes that are no list of expressions.
    """
    found = []
    at = 0
    while at < len(data):
        length = (int.from_bytes(data[at : at + 2], sys.byteorder) + 3) & ~3
        if length < HEADER or at + length > len(data):
            raise NotUnderstood(data.hex())
        found.append(data[at : at + length])
        at += length
    return tuple(found)


def _expression(element: bytes) -> tuple[str, Values]:
    """Name and attributes of one expression."""
    given = attributes(element, HEADER)
    return text(given.get(1, b"")), attributes(given.get(2, b""))


def effects_of(data: bytes, family: r.AddressFamily) -> tuple[Effect, ...]:
    """What the expressions in ``data`` ask and do.

    Raises NotUnderstood if they are none, or something must be loaded before.
    """
    walk = Walk(family)
    for element in elements(data):
        name, values = _expression(element)
        if name not in _NOTHING:
            _step(walk, name, values)
        if not _only_loads(name, values):
            walk.done()
    return tuple(walk.effects)


def only_loads(element: bytes) -> bool:
    """Whether an expression does nothing but fill a register for those that follow."""
    return _only_loads(*_expression(element))


def _only_loads(name: str, values: Values) -> bool:
    filled = LOADS.get(name)
    return filled is not None and filled in values and number(values[filled]) != 0


def ends_with_comparison(data: bytes) -> bool:
    """Whether the last expression in ``data`` compares."""
    return _expression(elements(data)[-1])[0] in _COMPARISONS


def _step(walk: Walk, name: str, values: Values) -> None:
    step = STEPS.get(name)
    if step is not None:
        step(walk, values)
    else:
        walk.match(r.OpaqueMatch(module="nft", arguments=(name, *hexadecimal(values))))
        walk.effects.append(Unknown(name))
