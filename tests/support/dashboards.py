"""The release's Grafana dashboards, read as Grafana reads them: queries and variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from repo.code import ROOT

JOB = ROOT / "bosh-release" / "jobs" / "c2c_auditor_dashboards"
FILES = tuple(sorted((JOB / "templates").glob("*.json")))
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)[^}]*\}")


@frozen(kw_only=True)
class Asked:
    """One query of a panel, as written."""

    dashboard: str
    panel: str
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}/{self.panel}: {self.expression}"


def load(path: Path) -> dict[str, Any]:
    """One dashboard."""
    dashboard: dict[str, Any] = json.loads(path.read_text())
    return dashboard


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels that show something, those inside of folded rows included."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def queries(path: Path) -> Iterator[Asked]:
    """Every query of every panel."""
    for panel in panels(load(path)):
        for target in panel["targets"]:
            yield Asked(dashboard=path.stem, panel=panel["title"], expression=target["expr"], instant=target["instant"])


def variables(dashboard: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Name, then metric selector and label of each variable, in order; a query of another kind fails."""
    found = {}
    for variable in dashboard["templating"]["list"]:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert match, variable["query"]
        found[variable["name"]] = match[1], match[2]
    return found


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables' ``values``, as Grafana puts them in; one that is not given fails.

    ``$__rate_interval`` is given like any other.
    """
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)
