"""The one decoder of JSON at the edge: exact types, errors by key, and no other error whatever the text."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from attrs import frozen

from c2c_auditor.decoding import (
    Address,
    Count,
    DecodeError,
    Dialect,
    Loose,
    Network,
    Port,
    Positive,
    Tag,
    decode,
    parse_json,
    parse_tag,
    replace_surrogates,
    shown_value,
    structure,
)


class Colour(str, Enum):
    """An enum of strings, as the project's own."""

    RED = "red"


@frozen(kw_only=True)
class Inner:
    """An object inside another one."""

    number: int = 0
    switch: bool | None = False


@frozen(kw_only=True)
class Outer:
    """One field of each kind."""

    inner: Inner = Inner()
    text: str = "usual"
    truth: bool = False
    real: float = 0.0
    path: Path = Path("/x")
    tag: Tag = Tag(1)
    positive: Positive = Positive(1.0)
    count: Count = Count(1)
    port: Port = Port(1)
    loose: Loose = Loose("")
    colour: Colour = Colour.RED
    addresses: tuple[Address, ...] = ()
    networks: tuple[Network, ...] = ()
    inners: tuple[Inner, ...] = ()


def test_each_kind_is_decoded() -> None:
    """Integers are numbers; networks may have bits beyond their prefix."""
    text = """{"inner": {"number": 7}, "text": "x", "truth": true, "real": 3, "path": "/y", "tag": "00ff",
        "positive": 0.5, "count": 2, "port": 65535, "loose": "y", "colour": "red", "addresses": ["10.0.0.1", "fd00::1"],
        "networks": ["10.1.2.3/8", "fd00::/8"], "inners": [{}, {"number": 8}]}"""
    for dialect in Dialect:
        assert decode(text, Outer, dialect) == Outer(
            inner=Inner(number=7),
            text="x",
            truth=True,
            real=3.0,
            path=Path("/y"),
            tag=Tag(255),
            positive=Positive(0.5),
            count=Count(2),
            port=Port(65535),
            loose=Loose("y"),
            addresses=(IPv4Address("10.0.0.1"), IPv6Address("fd00::1")),
            networks=(IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8")),
            inners=(Inner(), Inner(number=8)),
        )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"inner": []}', "inner"),
        ('{"inner": {"number": 1.0}}', "inner.number"),
        ('{"inner": {"number": true}}', "inner.number"),
        ('{"inner": {"switch": 0}}', "inner.switch"),
        ('{"text": 1}', "text"),
        ('{"truth": 1}', "truth"),
        ('{"real": "1"}', "real"),
        ('{"real": 1e999}', "real"),
        ('{"real": %s}' % ("9" * 400), "real"),
        ('{"path": ""}', "path"),
        ('{"path": "a\\u0000"}', "path"),
        ('{"path": "\\ud800"}', "path"),
        ('{"tag": "1_0"}', "tag"),
        ('{"positive": -1}', "positive"),
        ('{"count": 0}', "count"),
        ('{"port": 65536}', "port"),
        ('{"colour": "blue"}', "colour"),
        ('{"addresses": "10.0.0.1"}', "addresses"),
        ('{"addresses": ["10.0.0.1", 7]}', "addresses[1]"),
        ('{"networks": ["10.0.0.0/33"]}', "networks[0]"),
        ('{"inners": [{}, {"number": "7"}]}', "inners[1].number"),
        ('{"inners": {"a": {}}}', "inners"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_its_key(text: str, key: str) -> None:
    """In both dialects."""
    for dialect in Dialect:
        with pytest.raises(DecodeError) as caught:
            decode(text, Outer, dialect)
        assert str(caught.value).startswith(f"{key}: ")


def test_silks_files_are_read_as_go_reads_them() -> None:
    """Unknown keys are ignored, null is an absent key unless the type allows it, half a character is U+FFFD."""
    given = decode('{"later": {"a": 1}, "text": null, "inner": {"switch": null}, "loose": 7}', Outer)
    assert given == Outer(inner=Inner(switch=None))
    assert decode('{"text": "a\\ud800", "loose": "\\udfff"}', Outer) == Outer(text="a\ufffd", loose=Loose("\ufffd"))


@pytest.mark.parametrize("text", ['{"txet": "x"}', '{"inner": {"nubmer": 1}}', '{"text": null}', '{"text": "\\ud800"}'])
def test_the_agents_own_settings_are_read_strictly(text: str) -> None:
    """A misspelt key would leave its default in force, silently."""
    with pytest.raises(DecodeError):
        decode(text, Outer, Dialect.OWN)


def test_many_problems_are_counted_not_listed() -> None:
    """An error stays readable, and short."""
    with pytest.raises(DecodeError, match="95 more") as caught:
        structure({"addresses": ["x" * 1000] * 100}, Outer)
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize(
    "text", ["", "{", "nul", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "NaN", "-Infinity", "\ufeff{}", "\ud800"]
)
def test_what_is_no_json_is_one_error(text: str) -> None:
    """Also what json takes and JSON does not know."""
    with pytest.raises(DecodeError, match="not valid JSON"):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["", "0", "00000000", "100000000", "0x3", "1_0", "-3", "+3", " 3", "3 ", "²", "g", 3, None]
)
def test_a_tag_is_hexadecimal_digits_and_nothing_else(text: object) -> None:
    """1 to ffffffff; int() alone would take underscores, signs, spaces and a prefix."""
    with pytest.raises(ValueError, match="no hexadecimal mark"):
        parse_tag(text)


def test_a_tag_has_at_most_32_bits() -> None:
    """As marks have; in either case."""
    assert [parse_tag(text) for text in ("1", "0001", "fFfF0000", "ffffffff")] == [1, 1, 0xFFFF0000, 0xFFFFFFFF]


def test_values_are_shown_short_and_without_walking_into_them() -> None:
    """An error about a deep list must not be an error of its own."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert [shown_value(deep), shown_value({"a": deep}), shown_value("x" * 1000)] == [
        "a list",
        "an object",
        "'" + "x" * 79,
    ]


def test_only_halves_of_characters_are_replaced() -> None:
    """Other text stays as it is."""
    assert replace_surrogates("a\udc80é\U0001f600") == "a\ufffdé\U0001f600"
