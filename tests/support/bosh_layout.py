"""The BOSH release as it lies there: jobs, their specs, the properties that their templates ask for."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from support.erb import parse_yaml

RELEASE = Path(__file__).parents[2] / "bosh-release"
JOBS = tuple(sorted(path.name for path in (RELEASE / "jobs").iterdir() if path.is_dir()))
# What a template asks of the job itself: not what it asks of a link (`vpa.p(…)`, `link('vpa').p(…)`).
_ASKED = re.compile(r"(?<![\w.])(?:p|if_p)\(([^)]*)\)")
_LITERAL = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@frozen(kw_only=True)
class Job:
    """One job's directory, and its spec as the director reads it."""

    path: Path
    spec: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """What the spec declares, by dotted name."""
        declared: Mapping[str, Mapping[str, Any]] = self.spec.get("properties", {})
        return declared

    @property
    def schema(self) -> dict[str, Any]:
        """What properties_schema.json demands; nothing at all for a job without properties."""
        schema: dict[str, Any] = (
            json.loads((self.path / "properties_schema.json").read_text()) if self.properties else {}
        )
        return schema

    def sources(self) -> tuple[Path, ...]:
        """Every template, `monit` among them: it is one too."""
        return (*(self.path / "templates" / name for name in self.spec["templates"]), self.path / "monit")

    def asked(self) -> frozenset[str]:
        """The properties that the templates name."""
        return frozenset(name for source in self.sources() for name in _asked(source.read_text()))


@functools.cache
def job(name: str) -> Job:
    """The job of that name."""
    path = RELEASE / "jobs" / name
    return Job(path=path, spec=parse_yaml((path / "spec").read_text()))


def _asked(template: str) -> Iterator[str]:
    for arguments in _ASKED.findall(template):
        names = _LITERAL.findall(arguments)
        if names:
            single, double = names[0]
            yield single or double


def leaves(schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The dotted names that a schema describes."""
    for name, inner in schema.get("properties", {}).items():
        path = f"{at}.{name}" if at else name
        if inner.get("type") == "object":
            yield from leaves(inner, path)
        else:
            yield path
