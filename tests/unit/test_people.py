"""Names in sentences: tenants choose them, and no name reads like a part of the sentence around it."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest
from attrs import evolve

from c2c_auditor.audit.reading.people import People, quoted
from c2c_auditor.export.document import to_json
from c2c_auditor.model.cell import Container, Names, Store
from support.mutations import with_rules
from support.recordings import recording
from support.reports import judged_report


def _called(names: Names) -> str:
    container = Container(handle="h", address=IPv4Address("10.255.1.4"), app="guid", names=names)
    return People.of(Store(containers=(container,)), None).display_name("guid")


@pytest.mark.parametrize(
    ("names", "display_name"),
    [
        (Names(app="frontend", org="acme", space="dev"), '"frontend" (acme/dev)'),
        (Names(app="frontend"), '"frontend"'),
        (Names(app="front end", org="acme corp", space="dev"), '"front end" ("acme corp"/dev)'),
        (Names(app='x" (acme/dev) may reach "y'), '"x\\" (acme/dev) may reach \\"y"'),
        (Names(app="a\\"), '"a\\\\"'),
        (Names(app="\x1b[31mred\n"), '"\\x1b[31mred\\n"'),
        (Names(app="x", org="acme/dev) passes (x", space="dev"), '"x" ("acme/dev) passes (x"/dev)'),
    ],
)
def test_a_name_is_no_more_than_a_name(names: Names, display_name: str) -> None:
    """Quotation marks around it, and none inside without a backslash.

    One plain word of org and space stands as it is.
    """
    assert _called(names) == display_name


def test_an_app_without_a_name_is_its_guid() -> None:
    """Which is quoted where it is no plain word."""
    assert People().display_name("20e39f68-f0ed") == "app 20e39f68-f0ed"
    assert People().display_name("x may reach y") == 'app "x may reach y"'


def test_a_long_name_is_cut() -> None:
    """Also its escapes are bounded."""
    assert quoted("x" * 1_000_000) == f'"{"x" * 64}…"'
    assert len(quoted("\x00" * 1_000_000)) < 300


def test_a_name_of_a_million_characters_makes_a_short_report() -> None:
    """Wherever the report names the app."""
    cell = recording("pair")
    assert cell.facts.store is not None
    long = Names(app="x" * 1_000_000, space="y" * 1_000_000, org="z" * 1_000_000)
    containers = tuple(evolve(container, names=long) for container in cell.facts.store.containers)
    damaged = evolve(cell, facts=evolve(cell.facts, store=Store(containers=containers)))
    report = judged_report(damaged, with_rules(cell.ruleset, "FORWARD", ()))
    text = to_json(report)
    assert json.loads(text)["findings"]
    assert len(text) < 100_000
