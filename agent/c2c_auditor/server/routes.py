"""The HTTP paths and their responses, made from the last report or from the auditing process's answers.

Pages are HTML for those who ask for it, as browsers do; ``/`` is the text of ``/status`` for all others, such as curl.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import bottle
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector

from c2c_auditor.audit.overdue import overdue_problem
from c2c_auditor.export.catalogue import PROCESS_METRICS
from c2c_auditor.export.changes import changes_json
from c2c_auditor.export.document import to_json
from c2c_auditor.export.metrics import ReportCollector, Selected
from c2c_auditor.export.status import status_lines
from c2c_auditor.model.report import Report
from c2c_auditor.server.pages import (
    Templates,
    explain_page,
    finding_page,
    matrix_page,
    no_finding_page,
    overview_page,
)
from c2c_auditor.server.questions import Answer, QuestionClient

_LINES_OF_A_PAGE = "200"
# A name without dots, or an address, and a port.
_MACHINES_OWN = re.compile(r"(?:[^.:\[\]]*|[0-9.]+|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class LatestReport:
    """The last report, replaced as a whole; its JSON is made once, at the first request for it."""

    def __init__(self) -> None:
        self._report: Report | None = None
        self._json: tuple[Report, bytes] | None = None

    def put(self, report: Report) -> None:
        """A new report."""
        self._report = report

    def get(self) -> Report | None:
        """The last one, None before the first."""
        return self._report

    def json(self) -> bytes | None:
        """The last one as JSON."""
        report = self._report
        if report is None:
            return None
        made = self._json
        if made is None or made[0] is not report:
            made = self._json = report, to_json(report).encode("ascii")
        return made[1]


def _answer(body: str | bytes, kind: str = "text/plain; charset=utf-8", status: int = 200) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(body, status=status, headers={"Content-Type": kind, **_HEADERS})


class _Health:
    """The responses of ``/healthz`` and ``/readyz``."""

    def __init__(self, latest: LatestReport, *, ready_max_age: float) -> None:
        self._latest = latest
        self._ready_max_age = ready_max_age

    def healthz(self) -> bottle.HTTPResponse:
        """200, or 503 while an audit takes longer than its limit (`audit.overdue.overdue_report`)."""
        report = self._latest.get()
        overdue = overdue_problem(report) if report is not None else None
        if overdue is not None:
            return _answer(f"stuck: {overdue.problem}\n", status=503)
        return _answer("alive\n")

    def readyz(self) -> bottle.HTTPResponse:
        """200 if the last conclusive audit is recent, otherwise 503."""
        report = self._latest.get()
        last = report.last_conclusive if report is not None else None
        if last is None:
            return _answer("no audit could judge everything yet: see /api/v1/report\n", status=503)
        age = time.time() - last
        return _answer(
            f"the last conclusive audit was {age:.0f} s ago\n", status=200 if age <= self._ready_max_age else 503
        )


class _Api(_Health):
    """The responses for programs. ``pid`` is the auditing process, which the ``process_…`` metrics describe."""

    def __init__(
        self, latest: LatestReport, question_client: QuestionClient, *, ready_max_age: float, pid: int
    ) -> None:
        super().__init__(latest, ready_max_age=ready_max_age)
        self._question_client = question_client
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ReportCollector(latest.get))
        process = ProcessCollector(pid=lambda: pid, registry=None)
        self._registry.register(Selected(process, PROCESS_METRICS))

    def metrics(self) -> bottle.HTTPResponse:
        """Text format 0.0.4, which every scraper reads, or OpenMetrics if asked for; compressed if gzip is accepted."""
        sent = bottle.request.environ  # as sent: get_header would insist on UTF-8
        if "application/openmetrics-text" in sent.get("HTTP_ACCEPT", ""):
            text = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # the library's gap
            response = _answer(text, openmetrics.CONTENT_TYPE_LATEST)
        else:
            response = _answer(generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)
        response.set_header("Vary", "Accept, Accept-Encoding")
        if "gzip" in sent.get("HTTP_ACCEPT_ENCODING", ""):
            response.body = gzip.compress(response.body, compresslevel=1)
            response.set_header("Content-Encoding", "gzip")
        return response

    def report(self) -> bottle.HTTPResponse:
        """The last report as JSON."""
        body = self._latest.json()
        if body is None:
            return _answer('{"error": "no audit yet"}', "application/json", status=503)
        return _answer(body, "application/json")

    def changes(self) -> bottle.HTTPResponse:
        """The last changes to the rules as JSON, the newest first."""
        report = self._latest.get()
        if report is None:
            return _answer('{"error": "no audit yet"}', "application/json", status=503)
        return _answer(changes_json(report.journal), "application/json")

    def explain(self) -> bottle.HTTPResponse:
        """Why ``source`` reaches ``destination`` on ``flow``, or does not.

        ``address`` and ``mark`` are those of the end on another cell.
        """
        names = ("source", "destination", "flow", "address", "mark", "text")
        return self._put_question("explain", _arguments(*names))

    def end(self) -> bottle.HTTPResponse:
        """Which app and containers ``name`` means."""
        return self._put_question("end", _arguments("name"))

    def matrix(self) -> bottle.HTTPResponse:
        """Who reaches whom, from line ``first`` on: all, some ends only, or only the ``differences``."""
        names = ("source", "destination", "from", "to", "differences", "first", "most")
        return self._put_question("matrix", _arguments(*names))

    def _put_question(self, subject: str, arguments: Mapping[str, str]) -> bottle.HTTPResponse:
        """The auditing process's answer."""
        answer = self._question_client.ask(subject, arguments)
        return _answer(answer.body, "application/json", answer.status)


def _arguments(*names: str) -> dict[str, str]:
    """The query's parameters called ``names``; only these are passed on to the auditing process."""
    query = bottle.request.query
    return {name: value for name in names if (value := query.getunicode(name)) is not None}


class _Pages:
    """The responses for people."""

    def __init__(self, latest: LatestReport, question_client: QuestionClient, templates: Templates) -> None:
        self._latest = latest
        self._question_client = question_client
        self._templates = templates

    def index(self) -> bottle.HTTPResponse:
        """The page, or the same as text for a client that does not ask for HTML."""
        if "text/html" not in bottle.request.environ.get("HTTP_ACCEPT", ""):
            response = self.status()
        else:
            response = _page(overview_page(self._templates, self._latest.get(), time.time()))
        response.set_header("Vary", "Accept")
        return response

    def status(self) -> bottle.HTTPResponse:
        """One screen of text."""
        return _answer("".join(f"{line}\n" for line in status_lines(self._latest.get(), time.time())))

    def finding(self, name: str) -> bottle.HTTPResponse:
        """One finding of the last report."""
        page = finding_page(self._templates, self._latest.get(), name, time.time())
        return _page(page) if page is not None else _page(no_finding_page(self._templates), 404)

    def explain(self) -> bottle.HTTPResponse:
        """The form, and the answer if it was filled in."""
        arguments = {name: value for name, value in _arguments("source", "destination", "flow").items() if value}
        if not arguments:
            return _page(explain_page(self._templates, {}, {}))
        answer = self._question_client.ask("explain", {**arguments, "text": "1"})
        return _page(explain_page(self._templates, arguments, _values(answer)), answer.status)

    def matrix(self) -> bottle.HTTPResponse:
        """The table with its filter."""
        names = _arguments("differences", "first", "from", "to")
        arguments = {name: value for name, value in names.items() if value}
        answer = self._question_client.ask("matrix", {**arguments, "most": _LINES_OF_A_PAGE})
        return _page(matrix_page(self._templates, arguments, _values(answer)), answer.status)


def _values(answer: Answer) -> Mapping[str, Any]:
    """An answer's JSON object."""
    values: Mapping[str, Any] = json.loads(answer.body)
    return values


def _page(text: str, status: int = 200) -> bottle.HTTPResponse:
    return _answer(text, "text/html; charset=utf-8", status)


def application(
    latest: LatestReport, question_client: QuestionClient, templates: Templates, *, ready_max_age: float, pid: int
) -> bottle.Bottle:
    """The WSGI application."""
    api = _Api(latest, question_client, ready_max_age=ready_max_age, pid=pid)
    pages = _Pages(latest, question_client, templates)
    return _application(
        {
            "/": pages.index,
            "/status": pages.status,
            "/findings/<name>": pages.finding,
            "/explain": pages.explain,
            "/matrix": pages.matrix,
            "/metrics": api.metrics,
            "/healthz": api.healthz,
            "/readyz": api.readyz,
            "/api/v1/report": api.report,
            "/api/v1/changes": api.changes,
            "/api/v1/explain": api.explain,
            "/api/v1/end": api.end,
            "/api/v1/matrix": api.matrix,
        }
    )


def local_application(app: bottle.Bottle) -> bottle.Bottle:
    """``app`` for clients on the machine itself, who give an address or a name without dots as the host.

    Any other name is of a web site that has led a browser here (DNS rebinding): behind it no certificate stands, as
    this is plain HTTP.
    """
    guarded = bottle.Bottle()
    guarded.add_hook("before_request", _refuse_sites)
    guarded.merge(app)
    guarded.default_error_handler = _error_page
    return guarded


def _refuse_sites() -> None:
    host = bottle.request.environ.get("HTTP_HOST", "")
    if not _MACHINES_OWN.fullmatch(host):
        raise bottle.HTTPError(421, "this is not the host that you asked for")


def health_application(latest: LatestReport, *, ready_max_age: float) -> bottle.Bottle:
    """The WSGI application for health checks on the same machine.

    It serves nothing that is reserved to clients with a certificate.
    """
    health = _Health(latest, ready_max_age=ready_max_age)
    return _application({"/healthz": health.healthz, "/readyz": health.readyz})


def _application(answers: Mapping[str, Callable[..., bottle.HTTPResponse]]) -> bottle.Bottle:
    app = bottle.Bottle()
    for path, answer in answers.items():
        app.route(path, "GET", answer)
    app.default_error_handler = _error_page
    return app


def _error_page(error: bottle.HTTPError) -> str:
    bottle.response.content_type = "text/plain; charset=utf-8"
    for name, value in _HEADERS.items():
        bottle.response.set_header(name, value)
    return f"{error.status_line}\n"
