"""Small changes to an input: bytes and words for texts, values and keys for JSON, cuts and repeats for everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

MOST_BYTES = 1 << 16
_WORDS = (
    *(b"-A", b"-j", b"-m", b"!", b'"', b"\\", b"--mark", b"--dport", b"--limit", b"0/sec", b"COMMIT\n", b"*filter\n"),
    *(
        b"[1:2] ",
        b"[\xc2\xb2:1] ",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\n",
        b" ",
        b"/* ",
        b" */",
    ),
    *(b"0x", b"-1", b"4294967296", b"1" * 5000, b"1e400", b"NaN", b"0.0.0.0/0", b"256.1.1.1", b"::1", b"a b " * 200),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1 << 70,
        float("inf"),
        float("nan"),
        "",
        "x",
        "0",
        "-1",
        "²",
        "\ud800",
        "\0",
        "%s{0}",
    ),
    *([], {}, [[]], [None], {"": None}, "9" * 5000, "10.255.30.2", "10.0.0.0/8", "tcp", "80,443", "1-2-3", "0.0.0.0/0"),
)


def mutated(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """``seed`` changed in one to four places; parts of ``others`` may come into it. At most 64 KiB."""
    data = seed
    for _ in range(random.randint(1, 4)):
        data = _json(data, random) if random.random() < 0.6 and data[:1] in b"{[" else _bytes(data, others, random)
    return data[:MOST_BYTES]


def _bytes(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 1, 1, 2, 4, 8, 32, 200)))
    kind = random.randrange(7)
    if kind == 0:
        middle = b""
    elif kind == 1:
        middle = bytes(random.randrange(256) for _ in range(random.randint(1, 8)))
    elif kind == 2:
        middle = data[start:end] * random.choice((2, 3, 20))
    elif kind == 3:
        other = random.choice(others)
        at = random.randint(0, len(other))
        middle = other[at : at + random.choice((1, 8, 64, 400))]
    elif kind == 4 and end > start:
        middle = bytes([data[start] ^ 1 << random.randrange(8)]) + data[start + 1 : end]
    elif kind == 5:
        return data[:start]
    else:
        middle = random.choice(_WORDS)
    return data[:start] + middle + data[end:]


def _json(data: bytes, random: Random) -> bytes:
    try:
        value = json.loads(data)
        return json.dumps(_changed(value, random), ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return _bytes(data, [data], random)


def _changed(value: Any, random: Random) -> Any:  # noqa: ANN401 - any JSON
    if random.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return _inner(value, random) if isinstance(value, str) and value[:1] in ("{", "[") else random.choice(_VALUES)
    if isinstance(value, list):
        at = random.randrange(len(value))
        return [*value[:at], *((_changed(value[at], random),) * random.choice((0, 1, 1, 1, 2))), *value[at + 1 :]]
    key = random.choice(sorted(value))
    changed = dict(value)
    taken = changed.pop(key)
    where = random.random()
    if where < 0.1:
        return changed
    changed[random.choice(("", "²", "ip", "metadata", "tag")) if where < 0.2 else key] = _changed(taken, random)
    return changed


def _inner(text: str, random: Random) -> str:
    """JSON in a string, as log_config and the rules of security groups are."""
    try:
        return json.dumps(_changed(json.loads(text), random))
    except (ValueError, RecursionError):
        return text[: random.randint(0, len(text))]
