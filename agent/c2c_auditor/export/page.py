"""The HTML page at ``/``: the result of the last audit, and links to everything else."""

from __future__ import annotations

from html import escape

from c2c_auditor.export.plain import plain
from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report

_LINKS = (
    ("/metrics", "metrics"),
    ("/api/v1/report", "report (JSON)"),
    ("/api/v1/matrix", "who reaches whom (JSON)"),
    ("/readyz", "ready?"),
    ("/healthz", "alive?"),
)
_MOST_FINDINGS = 100
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "li{margin:.4rem 0}.breach,.outage{color:#b00020}"
)


def landing_page(report: Report | None) -> str:
    """HTML without scripts; foreign text is escaped twice, as text and as HTML."""
    links = " · ".join(f'<a href="{path}">{name}</a>' for path, name in _LINKS)
    if report is None:
        body = "<p>No audit yet.</p>"
    else:
        items = "".join(
            f'<li class="{finding.effect.value}"><b>{finding.effect.value}</b> '
            f"{finding.state.value} {finding.kind.value}: {escape(plain(finding.summary))}</li>"
            for finding in report.findings[:_MOST_FINDINGS]
        )
        omitted = sum(count for (_, _, state), count in report.omitted.items() if state is not State.RESOLVED)
        count = len(report.findings) + omitted
        rest = (
            f"<p>… and {len(report.findings) - _MOST_FINDINGS} more in the report.</p>"
            if len(report.findings) > _MOST_FINDINGS
            else ""
        )
        rest += "".join(
            f"<p>… and {count} more {kind.value} ({state.value}), counted only.</p>"
            for (kind, _, state), count in report.omitted.items()
        )
        body = f"<p>Last audit: <b>{report.result.value}</b>, {count} findings.</p><ul>{items}</ul>{rest}"
    head = f'<meta charset="utf-8"><title>c2c-auditor</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}<h1>c2c-auditor</h1><p>{links}</p>{body}</html>'
