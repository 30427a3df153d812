"""The table of marks in a text report: source, destination, port, the mark that is set, the mark that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from c2c_auditor.export.plain import plain
from c2c_auditor.export.terminal import Page
from c2c_auditor.model.report import MarkPair

_HEAD = ("source", "destination", "port", "mark set", "asks for", "verdict")
_MOST_SHOWN = 20
_SHORT = 8
# What containers have by default: as the table says it, and as the line below it does.
_USUAL = {
    8080: ("app", "8080 is an app's usual port"),
    61001: ("envoy", "61001 is envoy's in the container (mTLS)"),
    2222: ("ssh", "2222 is for cf ssh"),
}


def print_pairs(page: Page, pairs: Sequence[MarkPair]) -> None:
    """Print the table, those that differ first, and below it which app each short name stands for."""
    if not pairs:
        return
    names = _short(pairs)
    shown = pairs[:_MOST_SHOWN]
    page.grid(_HEAD, (_cells(pair, names) for pair in shown))
    if len(pairs) > len(shown):
        page.say((f"… and {len(pairs) - len(shown)} more (matrix --rules shows all)", "dim"))
    for guid, addresses in _legend(shown):
        where = f" at {', '.join(addresses)}" if addresses else ""
        page.say((f"{names[guid]} is app {plain(guid)}{where}", "dim"))
    usual = [_USUAL[port][1] for port in _USUAL if any(port == pair.first == pair.last for pair in shown)]
    if usual:
        page.say((f"{', '.join(usual)}; which ports a container has, its own list tells", "dim"))


def _short(pairs: Iterable[MarkPair]) -> dict[str, str]:
    """Guids by their beginnings, as many characters of them as tell them apart."""
    guids = {guid for pair in pairs for guid in (pair.source, pair.destination) if guid}
    lengths = range(_SHORT, max(map(len, guids), default=_SHORT) + 1)
    length = next((length for length in lengths if len({guid[:length] for guid in guids}) == len(guids)), None)
    return {guid: plain(guid[:length]) for guid in guids} | {"": "-"}


def _cells(pair: MarkPair, names: dict[str, str]) -> tuple[tuple[str, str], ...]:
    word, style = verdict(pair)
    asked = "-" if not pair.destination else "any" if pair.mark_asked is None else f"0x{pair.mark_asked:x}"
    marks = ", ".join(f"0x{mark:x}" for mark in pair.marks_set) or "not shown"
    return (
        (names[pair.source], ""),
        (names[pair.destination], ""),
        (ports_text(pair), ""),
        (marks, ""),
        (asked, style),
        (word, style),
    )


def verdict(pair: MarkPair) -> tuple[str, str]:
    """What the marks say about a pair, and its style."""
    if pair.agrees is None:
        return ("no ACCEPT shown" if not pair.destination else "mark not shown"), "yellow"
    return ("agree: accepted", "green") if pair.agrees else ("differ: rejected", "bold red")


def ports_text(pair: MarkPair) -> str:
    """``tcp 61001 (envoy)``; said too where the container does not have the port."""
    if not pair.destination:
        return "-"
    if not pair.last:
        return pair.protocol or "all"
    numbers = f"{pair.first}" if pair.first == pair.last else f"{pair.first}-{pair.last}"
    remarks = [_USUAL[pair.first][0]] if pair.first == pair.last and pair.first in _USUAL else []
    if pair.own_port is False:
        remarks.append("not its own")
    return f"{pair.protocol} {numbers}" + (f" ({'; '.join(remarks)})" if remarks else "")


def _legend(pairs: Iterable[MarkPair]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each app once, with the addresses that the rules show."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        found.setdefault(pair.source, {}).update(dict.fromkeys(pair.source_addresses))
        if pair.destination:
            found.setdefault(pair.destination, {}).update(dict.fromkeys(filter(None, (pair.destination_address,))))
    return ((guid, tuple(addresses)) for guid, addresses in found.items())
