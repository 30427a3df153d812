"""The HTML pages: templates filled with the last report, or with the auditing process's answers.

The listening process fills them in. Whatever goes into a template is escaped twice, as text (`export.plain`) and as
HTML: tenants choose names, and other programs choose comments and names of chains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

import bottle
from attrs import frozen

from c2c_auditor.audit.mend.kinds import may_help
from c2c_auditor.export.causes import causes
from c2c_auditor.export.changes import (
    author_counts,
    change_rules,
    changes_behind,
    described,
    last_of,
    since_change,
)
from c2c_auditor.export.details import facts
from c2c_auditor.export.document import identifier
from c2c_auditor.export.plain import plain
from c2c_auditor.export.status import last_audit
from c2c_auditor.export.verdict import clock, lasting, since, verdict
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.report import Report, Result

_NAMES = ("layout", "overview", "finding", "message", "explain_form", "explain", "matrix")
_LINKS = (
    ("/", "Overview"),
    ("/matrix", "Who reaches whom"),
    ("/explain", "Explain a flow"),
    ("/api/v1/report", "Report (JSON)"),
    ("/metrics", "Metrics"),
    ("/readyz", "Ready?"),
)
_LABELS = {"changed": "changed by", "dest": "destination", "found": "found rule", "expected": "expected rule"}
_MOST_OF_A_CAUSE = 20
_MOST_OF_A_PART = 3
_MOST_CHANGES = 10


@frozen
class Templates:
    """The templates by their names."""

    _by_name: Mapping[str, bottle.SimpleTemplate]

    @classmethod
    def read(cls) -> Templates:
        """Read them from the package, before the process gives up the right to."""
        folder = files("c2c_auditor.server").joinpath("templates")
        return cls({name: _template(folder.joinpath(f"{name}.html").read_text("utf-8")) for name in _NAMES})

    def fill(self, name: str, **values: object) -> str:
        """One template with its values."""
        text: str = self._by_name[name].render(values)
        return text

    def page(self, name: str, *, title: str, here: str = "", **values: object) -> str:
        """A whole page; ``here`` is the path of the link that leads to it."""
        body = self.fill(name, title=title, **values)
        return self.fill("layout", title=title, here=here, links=_LINKS, body=body)


def _template(source: str) -> bottle.SimpleTemplate:
    template = bottle.SimpleTemplate(source, escape_func=lambda text: bottle.html_escape(plain(text)))
    template.co  # noqa: B018 - compiles it
    return template


def overview_page(templates: Templates, report: Report | None, now: float) -> str:
    """The verdict, the findings by cause, the sources with their age; ``now`` in seconds since the epoch."""
    found = tuple(causes(report)) if report is not None else ()
    return templates.page(
        "overview",
        title="Overview",
        here="/",
        report=report,
        verdict="".join(text for text, _ in verdict(report)) if report is not None else "Could not look yet",
        tone=_tone(report),
        last_audit=last_audit(report, now) if report is not None else "",
        causes=found,
        can_be_mended=report is not None and may_help(report.findings),
        most=_MOST_OF_A_CAUSE,
        most_of_a_part=_MOST_OF_A_PART,
        now=now,
        since=since,
        lasting=lasting,
        identifier=identifier,
        changes_behind=changes_behind,
        since_change=since_change,
        journal=last_of(report.journal, _MOST_CHANGES) if report is not None else (),
        counted=author_counts(report.counters.ruleset_changes) if report is not None else "",
        clock=clock,
        described=described,
        change_rules=change_rules,
        explain_form=templates.fill("explain_form", source="", destination="", flow=""),
    )


def _tone(report: Report | None) -> str:
    """The class of the verdict: the worst effect, blind, or clean."""
    if report is None:
        return "blind"
    effects = [cause.effect.value for cause in causes(report)]
    return effects[0] if effects else "blind" if report.result is Result.BLIND or report.unknown else "clean"


def finding_page(templates: Templates, report: Report | None, name: str, now: float) -> str | None:
    """The finding whose identifier is ``name`` with all of its evidence; None if the last report does not have it."""
    findings: Sequence[Finding] = (*report.findings, *report.resolved) if report is not None else ()
    finding = next((finding for finding in findings if identifier(finding) == name), None)
    if finding is None:
        return None
    of = report.causes if report is not None else ()
    return templates.page(
        "finding",
        cause=next((cause for cause in of if cause.name == finding.cause), None),
        title=finding.kind.value,
        finding=finding,
        number=name,
        facts=tuple(facts(finding, now)),
        names=_LABELS,
        can_be_mended=finding.state is not State.RESOLVED and may_help((finding,)),
    )


def no_finding_page(templates: Templates) -> str:
    """What stands at the address of a finding that is no more."""
    message = (
        "The last report does not have this finding. It was mended, or it is one of many of its kind that are counted "
        "only. The agent's log tells when it was confirmed and resolved."
    )
    return templates.page("message", title="No such finding", message=message)


def explain_page(templates: Templates, arguments: Mapping[str, str], answer: Mapping[str, Any]) -> str:
    """The form, and the answer to the question in ``arguments`` (empty if none was asked)."""
    text = answer.get("text", "")
    lines = text.splitlines() if isinstance(text, str) else []
    sections = [list(group) for blank, group in groupby(lines, key=lambda line: not line.strip()) if not blank]
    form = {name: arguments.get(name, "") for name in ("source", "destination", "flow")}
    return templates.page(
        "explain",
        title="Explain a flow",
        here="/explain",
        error=answer.get("error", ""),
        sections=sections,
        explain_form=templates.fill("explain_form", **form),
    )


def matrix_page(templates: Templates, arguments: Mapping[str, str], answer: Mapping[str, Any]) -> str:
    """The lines of the matrix that ``arguments`` ask for, and the filter."""
    following = answer.get("next")
    return templates.page(
        "matrix",
        title="Who reaches whom",
        here="/matrix",
        error=answer.get("error", ""),
        lines=answer.get("lines", ()),
        source=arguments.get("from", ""),
        destination=arguments.get("to", ""),
        differences=arguments.get("differences") == "1",
        more=f"/matrix?{urlencode({**arguments, 'first': following})}" if following is not None else "",
    )
