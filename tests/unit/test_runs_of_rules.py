"""Rules that are read in runs, where they stand in a datagram, are those that are read one by one."""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import OpaqueMatch, OpaqueTarget, Rule
from c2c_auditor.netfilter.native.datagrams import messages_in
from c2c_auditor.netfilter.native.messages import IPV4, IPV6
from c2c_auditor.netfilter.native.parts import flat
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.sources.rules.heard import DeletedRules, Heard, NewRules
from c2c_auditor.sources.rules.netlink import DELRULE, NEWCHAIN, NEWRULE
from fuzz.harness import CORPUS
from fuzz.mutate import mutated
from support.rule_datagrams import datagram, decoded, rule_message

SEEDS = [path.read_bytes() for path in sorted((CORPUS / "native").iterdir())]


def _read(decoder: RuleDecoder, data: bytes) -> list[tuple[object, ...]] | None:
    """What is decoded; None if it is not understood, or asks for what was not loaded, of which bytes alone are kept.

    Operands that no word is known for are left out: which earlier values are named with them depends on the cut.
    """
    try:
        found = decoded(decoder, data)
    except NotUnderstood:
        return None
    rules = [flat([entry]) for *_, entry in found]
    matches = (match for them in rules for rule in them for match in rule.matches)
    if any(isinstance(match, OpaqueMatch) and match.arguments[0].startswith("0x") for match in matches):
        return None
    return [(*numbers, *map(_without_operands, them)) for (*numbers, _), them in zip(found, rules, strict=True)]


def _without_operands(rule: Rule) -> Rule:
    if isinstance(rule.target, OpaqueTarget) and rule.target.arguments[:1] == ("nft",):
        return evolve(rule, target=OpaqueTarget(name=rule.target.name))
    return rule


def _changed(message: bytes, random: Random) -> bytes:
    """A message of the same length, but for one in five, with a few bits changed or more."""
    if random.random() < 0.2:
        return mutated(message, SEEDS, random)
    changed = bytearray(message)
    for _ in range(random.randint(1, 3)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("family", AddressFamily)
def test_what_was_learned_of_others_changes_nothing(family: AddressFamily) -> None:
    """A decoder that knows every seed reads each changed message as one that knows nothing.

    Rule, handle, position and packets; bits of headers, frames and values are changed.
    """
    random = Random(7)
    understood = 0
    for _ in range(12):
        knowing = RuleDecoder(family)
        for seed in SEEDS:
            for position in (0, 6):
                _read(knowing, datagram(rule_message(seed, 7, position=position)))
        for seed in SEEDS:
            given = datagram(_changed(rule_message(seed, 7, position=random.choice((0, 6))), random))
            expected = _read(RuleDecoder(family), given)
            found = _read(knowing, given)
            if expected is not None:
                assert found == expected
                understood += 1
    assert understood > 6 * len(SEEDS)


def test_the_same_rules_are_heard_however_datagrams_divide_them() -> None:
    """All in one, one in each, and anything in between; a message of another chain, family or kind ends a run."""
    random = Random(7)
    given: list[tuple[int, bytes]] = []
    for number in range(60):
        kind = DELRULE if number % 20 > 15 else NEWRULE
        chain, family = ("vpa--2", IPV6) if number % 30 > 25 else ("vpa--1", IPV4)
        told = rule_message(SEEDS[number % 7], number + 1, position=number, chain=chain, family=family)
        given.append((kind, told) if number % 25 else (NEWCHAIN, told))
    heard = [_heard(_divided(given, random, most)) for most in (1, 1, 4, 60)]
    assert heard[0] == heard[1] == heard[2] == heard[3]
    assert sum(count for count, *_ in heard[0]) == len(given)
    assert max(count for count, *_ in heard[0]) > 10


def _divided(given: list[tuple[int, bytes]], random: Random, most: int) -> list[bytes]:
    """Datagrams of one to ``most`` messages."""
    left, divided = [datagram(message, kind=kind) for kind, message in given], []
    while left:
        count = random.randint(1, most)
        divided.append(b"".join(left[:count]))
        left = left[count:]
    return divided


def _heard(datagrams: list[bytes]) -> list[tuple[int, object]]:
    """How many messages each thing heard was made of, and what it is."""
    heard = Heard({family: RuleDecoder(family) for family in AddressFamily})
    heard.extend(datagrams, whole=True)
    assert heard.messages == sum(len(messages_in(data)) for data in datagrams)
    found: list[tuple[int, object]] = []
    for one in heard.take():
        if isinstance(one, NewRules):
            found.append((len(one.handles), (one.chain, [*one.handles], [*one.positions], one.entries, one.appended)))
        elif isinstance(one, DeletedRules):
            found.append((len(one.handles), (one.chain, [*one.handles], one.told)))
        else:
            found.append((1, one))
    return found
