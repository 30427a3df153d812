"""L0: JSON text becomes attrs values, in one way for every file and answer: exact types, errors that name the key.

What a file means is no part of this module: each reader declares the classes of its own keys.

Two dialects. `Dialect.SILK` reads what silk and the policy server write as Go reads it: unknown keys are ignored, since
later versions add some, null is an absent key, half a surrogate pair is U+FFFD. `Dialect.OWN` reads the agent's own
settings: an unknown key is refused, so that a misspelt one does not silently leave its default in force.

An attrs class describes a JSON object: its fields have the names and the types of the object's keys.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from types import NoneType
from typing import Any, NewType, TypeVar, get_args, get_origin, get_type_hints

from attrs import has
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

T = TypeVar("T")
Tag = NewType("Tag", int)  # a mark, written as hexadecimal digits in a string
Positive = NewType("Positive", float)  # a number above 0
Count = NewType("Count", int)  # a whole number above 0
Port = NewType("Port", int)  # 1 to 65535
Loose = NewType("Loose", str)  # a value of any other type than string is the empty string
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_HEXADECIMAL = re.compile("[0-9A-Fa-f]{1,8}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_PROBLEMS = 5
_Hook = Callable[[object, object], object]


class Dialect(Enum):
    """How strict a text is read; the module's docstring says what each means."""

    SILK = "silk"
    OWN = "own"


class DecodeError(ValueError):
    """A text that is not of the expected form; the message names the key. Each reader makes its own error of it."""


def decode(text: str, kind: type[T], dialect: Dialect = Dialect.SILK) -> T:
    """``text``, a JSON object, as a value of the attrs class ``kind``. Raises DecodeError."""
    return structure(parse_json(text), kind, dialect)


def parse_json(text: str) -> object:
    """``text`` as Python's objects. Raises DecodeError, also for NaN and Infinity, which Python's json would take."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        message = "not valid JSON: nested too deeply"
        raise DecodeError(message) from error
    except ValueError as error:  # also a number of more digits than Python converts
        message = f"not valid JSON: {error}"
        raise DecodeError(message) from error


def structure(given: object, kind: type[T], dialect: Dialect = Dialect.SILK) -> T:
    """What `parse_json` gave as a value of the attrs class ``kind``. Raises DecodeError."""
    try:
        return _converter(dialect).structure(given, kind)
    except (BaseValidationError, ValueError) as error:
        problems = [_by_key(line) for line in transform_error(error, path="$", format_exception=_describe)]
        more = [f"{len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise DecodeError("; ".join(problems[:_MOST_PROBLEMS] + more)) from error


def parse_tag(text: object) -> int:
    """A mark as silk and the policy server write it: hexadecimal digits and nothing else, 1 to 0xffffffff.

    ``int(text, 16)`` takes ``0x3``, ``1_0`` and ``-3`` too, of which silk makes rules that iptables refuses. Raises
    ValueError.
    """
    tag = int(text, 16) if isinstance(text, str) and _HEXADECIMAL.fullmatch(text) else 0
    if not tag:
        raise ValueError(f"tag {shown_value(text)} is no hexadecimal mark from 1 to ffffffff")
    return tag


def replace_surrogates(text: str) -> str:
    """``text`` with U+FFFD for each half of a surrogate pair, as Go reads it: UTF-8 can hold the result."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def shown_value(value: object) -> str:
    """A JSON value as an error shows it: short, and without walking into lists and objects of any depth."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return f"{value!r:.80}"


def _refuse_constant(text: str) -> object:
    message = f"{text} is no JSON number"
    raise ValueError(message)


def _by_key(line: str) -> str:
    """What cattrs gives as ``problem @ $.some.key`` as ``some.key: problem``."""
    problem, _, path = line.rpartition(" @ ")
    key = path.removeprefix("$").removeprefix(".")
    return f"{key}: {problem}" if key else problem


def _describe(error: BaseException, kind: type | None) -> str:
    """What is wrong with one value, in the words of the function that refused it."""
    if isinstance(error, ValueError | TypeError) and error.args:
        return str(error.args[0])
    return format_exception(error, kind)


@cache
def _converter(dialect: Dialect) -> Converter:
    converter = Converter()
    hooks: dict[Any, Callable[[object], object]] = {
        str: _own_text if dialect is Dialect.OWN else _text,
        bool: _truth,
        int: _whole_number,
        float: _number,
        Path: _path,
        Tag: parse_tag,
        Positive: _positive,
        Count: _count,
        Port: _port,
        Loose: lambda value: replace_surrogates(value) if isinstance(value, str) else "",
        IPv4Address: lambda value: IPv4Address(_text(value)),
        IPv4Network: lambda value: IPv4Network(_text(value), strict=False),
        IPv6Network: lambda value: IPv6Network(_text(value), strict=False),
        Address: _address,
        Address | None: lambda value: None if value is None else _address(value),
        Network: lambda value: ip_network(_text(value), strict=False),
    }
    for kind, convert in hooks.items():
        converter.register_structure_hook(kind, _hook(convert))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _list_hook(kind, converter))
    converter.register_structure_hook_factory(
        has, lambda kind: _object_hook(kind, converter, own=dialect is Dialect.OWN)
    )
    return converter


def _hook(convert: Callable[[object], object]) -> _Hook:
    """A hook for cattrs, which gives a class's hook its subclasses too: an enum's string must be one of its members."""
    return lambda value, kind: (
        kind(convert(value)) if isinstance(kind, type) and issubclass(kind, Enum) else convert(value)
    )


def _is_tuple(kind: object) -> bool:
    return get_origin(kind) is tuple


def _list_hook(kind: Any, converter: Converter) -> _Hook:  # noqa: ANN401 - a type form
    """A JSON list for ``tuple[X, ...]``; cattrs itself would take a string or an object too."""
    inner: Any = list.__class_getitem__(get_args(kind)[0])
    structure_list = list_structure_factory(inner, converter)

    def hook(value: object, _: object) -> object:
        if not isinstance(value, list):
            raise _unlike("a list", value)
        return tuple(structure_list(value, inner))

    return hook


def _object_hook(kind: Any, converter: Converter, *, own: bool) -> _Hook:  # noqa: ANN401 - a class
    structure_object: Any = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=own)
    nullable = {name for name, hint in get_type_hints(kind).items() if NoneType in get_args(hint)}

    def hook(value: object, _: object) -> object:
        if not isinstance(value, dict):
            raise _unlike("an object", value)
        if not own:
            value = {key: item for key, item in value.items() if item is not None or key in nullable}
        return structure_object(value, kind)

    return hook


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _unlike("a string", value)
    return replace_surrogates(value)


def _own_text(value: object) -> str:
    if not isinstance(value, str) or _SURROGATE.search(value):
        raise _unlike("a string of whole characters", value)
    return value


def _path(value: object) -> Path:
    text = _own_text(value)
    if not text or "\0" in text:
        raise _unlike("a path", value)
    return Path(text)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _unlike("true or false", value)
    return value


def _whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unlike("a whole number", value)
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unlike("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _unlike("a number", value)
    return number


def _positive(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise _unlike("a number above 0", value)
    return number


def _count(value: object) -> int:
    number = _whole_number(value)
    if number < 1:
        raise _unlike("a whole number above 0", value)
    return number


def _port(value: object) -> int:
    number = _whole_number(value)
    if not 0 < number < 65536:  # noqa: PLR2004 - ports
        raise _unlike("a port", value)
    return number


def _address(value: object) -> Address:
    return ip_address(_text(value))


def _unlike(expected: str, value: object) -> ValueError:
    return ValueError(f"expected {expected}, found {shown_value(value)}")
