"""Takes a legacy table apart, as the kernel hands it out: the entries of all its chains, one behind the other.

A built-in chain begins where its hook says, any other behind an entry with the target ERROR, which has its name. Each
chain ends with an entry that is its policy, and the table with an ERROR of no chain. Sources: Linux
net/netfilter/x_tables.c (``xt_alloc_initial_table``), net/ipv4/netfilter/ip_tables.c (``copy_entries_to_user``),
iptables libiptc/libiptc.c (``parse_table``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.netfilter.binary.entries import LAYOUTS, Layout, is_jump
from c2c_auditor.netfilter.binary.matches import fields, known

# In a target, from its beginning: its name, and its data, which is a verdict or the name of a chain.
_TARGET_NAME, _DATA = 2, 32
_ERROR = b"ERROR\0"
_POLICIES = {-1: "DROP", -2: "ACCEPT"}


@frozen(kw_only=True)
class Entry:
    """A rule's bytes and packets; ``chain`` is where it jumps to, empty if it only counts, None if it does neither."""

    content: bytes
    chain: bytes | None
    packets: int


@frozen(kw_only=True)
class EntryChain:
    """A chain's rules; only built-in chains have a ``policy``."""

    name: bytes
    policy: str | None
    entries: tuple[Entry, ...]


@frozen
class _Place:
    """An entry in the table: where it begins and ends, its target, all in bytes, and its packets."""

    at: int
    end: int
    target: int
    packets: int


def chains_in(content: bytes, hooks: Mapping[str, int], family: AddressFamily) -> tuple[EntryChain, ...]:
    """The chains of a table; ``hooks`` says at which byte each built-in one begins.

    Raises NotUnderstood for bytes that the kernel cannot have given.
    """
    begins = {at: name.encode() for name, at in hooks.items()}
    built_in = frozenset(begins)
    chains: list[list[_Place]] = []
    for place in _places(content, LAYOUTS[family]):
        if content.startswith(_ERROR, place.target + _TARGET_NAME):
            begins[place.end] = content[place.target + _DATA : place.end].partition(b"\0")[0]
            continue
        if place.at in begins:
            chains.append([])
        if not chains:
            raise NotUnderstood("an entry of no chain")
        chains[-1].append(place)
    return tuple(_chain(content, places, begins, built_in) for places in chains)


def _places(content: bytes, of: Layout) -> Iterator[_Place]:
    at = 0
    while at < len(content):
        target, size, packets = fields(of.numbers, content, at + of.numbers_at)
        if not of.size <= target <= size - _DATA or at + size > len(content):
            raise NotUnderstood(f"an entry of {size} bytes at {at} with a target at {target}")
        yield _Place(at, at + size, at + target, packets)
        at += size


def _chain(content: bytes, places: list[_Place], begins: Mapping[int, bytes], built_in: frozenset[int]) -> EntryChain:
    *rules, policy = places
    begin = places[0].at
    return EntryChain(
        name=begins[begin],
        policy=known(_POLICIES, *fields("=i", content, policy.target + _DATA)) if begin in built_in else None,
        entries=tuple(_entry(content, place, begins) for place in rules),
    )


def _entry(content: bytes, place: _Place, begins: Mapping[int, bytes]) -> Entry:
    entry, chain = content[place.at : place.end], None
    if is_jump(entry, place.target - place.at):
        (leads_to,) = fields("=i", content, place.target + _DATA)
        chain = b"" if leads_to == place.end else known(begins, leads_to)
    return Entry(content=entry, chain=chain, packets=place.packets)
