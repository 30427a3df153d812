"""A job's templates as the director renders them, and YAML as it reads it: packaging/erb_render.rb, asked in JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

_RENDERER = Path(__file__).parents[2] / "packaging" / "erb_render.rb"
INSTANCE: Mapping[str, Any] = {
    "deployment": "cf",
    "name": "diego-cell",
    "job": {"name": "diego-cell"},
    "index": 3,
    "id": "6e5a1d5c-38f7-4f0c-9d6b-0c2a7f4b8e11",
    "az": "z1",
    "bootstrap": False,
    "address": "q-m3n1s4q0.q-s0.bosh",
    "ip": "10.0.0.101",
    "networks": {"default": {"ip": "10.0.0.101", "netmask": "255.255.255.0"}},
}


class RenderError(Exception):
    """The director would refuse: what it says of each template that failed."""


@frozen(kw_only=True)
class Rendered:
    """One job's files by destination, `monit` among them, and the properties that its templates saw."""

    files: Mapping[str, str] = field(factory=dict)
    properties: Mapping[str, Any] = field(factory=dict)


def render(
    job: Path,
    *,
    given: Mapping[str, Any] | None = None,
    links: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Rendered:
    """The job in directory ``job``; ``given`` are a manifest's properties by dotted name. Raises RenderError."""
    answer = _ask(
        {"job": str(job), "given": _tree(given or {}), "links": links or {}, "spec": {**INSTANCE, **(spec or {})}}
    )
    if "errors" in answer:
        raise RenderError("\n".join(answer["errors"]))
    return Rendered(files=answer["files"], properties=answer["properties"])


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """The document in ``text``, as Ruby reads it."""
    return _ask({"yaml": text})["value"]


def _tree(given: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for name, value in given.items():
        *path, last = name.split(".")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = value
    return tree


def _ask(question: Mapping[str, Any]) -> dict[str, Any]:
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("needs ruby: apt-get install ruby")
    done = subprocess.run(
        (ruby, str(_RENDERER)), input=json.dumps(question), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
