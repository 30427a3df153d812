"""The part of JSON Schema 2020-12 that the project's own schemas use, checked by hand.

A keyword beyond it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_ANNOTATIONS = {"$schema", "$defs", "title", "description"}
_KEYWORDS = {"$ref", "anyOf", "type", "enum", "format", "properties", "required", "additionalProperties", "items"}
_KEYWORDS |= {"minimum", "maximum", "minLength", "pattern"}


def violations(value: object, schema: dict[str, Any], root: dict[str, Any], at: str = "$") -> Iterator[str]:
    """Where ``value`` is not what ``schema`` says, one line each; ``root`` holds the definitions."""
    unknown = set(schema) - _KEYWORDS - _ANNOTATIONS
    if unknown:
        yield f"{at}: keywords {sorted(unknown)} are not checked here"
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in schema and all(any(violations(value, option, root, at)) for option in schema["anyOf"]):
        yield f"{at}: {value!r} fits none of {schema['anyOf']}"
    yield from _itself(value, schema, at)
    if isinstance(value, dict):
        yield from _members(value, schema, root, at)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], root, f"{at}[{index}]")


def _itself(value: object, schema: dict[str, Any], at: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{at}: {value!r} is no {schema['type']}"
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{at}: {value} is too small or too large"
    if isinstance(value, str) and not (
        len(value) >= schema.get("minLength", 0) and re.search(schema.get("pattern", ""), value)
    ):
        yield f"{at}: {value!r} is too short, or not of the form {schema.get('pattern', '')}"
    if schema.get("format") == "date-time":
        try:
            datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            yield f"{at}: {value!r} is no time"


def _is(value: object, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    return any(isinstance(value, _TYPES[name]) and (name == "boolean") >= isinstance(value, bool) for name in names)


def _members(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}: {name} is missing"
    for name, member in value.items():
        inner = properties.get(name, schema.get("additionalProperties", True))
        if inner is False:
            yield f"{at}: {name} is not documented"
        elif isinstance(inner, dict):
            yield from violations(member, inner, root, f"{at}.{name}")
