"""The HTML pages: what they say, and that foreign text in them stays text."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

import pytest
from attrs import evolve

from c2c_auditor.export.bounded import bounded
from c2c_auditor.export.document import identifier
from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report, Result
from c2c_auditor.server.pages import Templates, explain_page, finding_page, matrix_page, overview_page
from support.reports import NOW, blind_report, clean_report, flushed_report, hostile_report

HOSTILE = "<script>alert(1)</script>\x1b]0;x\x07\u202e\"'>"


@cache
def _templates() -> Templates:
    return Templates.read()


class _Reader(HTMLParser):
    """The elements of a page, its text, and whether every element is closed where it was opened."""

    _EMPTY = frozenset({"meta", "input", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self._EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _overview(report: Report | None, now: float = NOW + 3) -> _Reader:
    return _Reader(overview_page(_templates(), report, now))


def _words(page: _Reader) -> str:
    return " ".join(page.text.split())


def test_the_first_page_says_what_is_wrong_since_when_and_what_to_do() -> None:
    """By cause, the worst first, each finding with a link to its own page."""
    report = flushed_report()
    since = evolve(
        report,
        findings=tuple(finding.settled(finding.state, first_seen=NOW - 750, since=NOW) for finding in report.findings),
    )
    page = _overview(since)
    words = _words(page)
    assert "4 breaches (forbidden traffic passes), 1 left-over" in words
    assert "BREACH default_deny_missing" in words
    assert "A container has lost its default deny: every sender on the overlay reaches it." in words
    assert "UTC (12 min ago)" in words
    assert "Mend: Recreate the container" in words
    assert "c2c-auditor mend on the cell prints the commands that mend this, and runs nothing." in words
    assert "rules up 3 s" in words
    links = {link["href"] for link in page.of("a")}
    assert {f"/findings/{identifier(finding)}" for finding in report.findings} <= links
    assert words.index("BREACH") < words.index("RESIDUE")


@pytest.mark.parametrize(
    ("report", "tone", "said"),
    [
        (None, "blind", "Could not look yet"),
        (clean_report(), "clean", "CLEAN: 3 policy rules"),
        (blind_report(), "blind", "COULD NOT LOOK at everything: rules: exit status 4"),
        (flushed_report(), "breach", "4 breaches"),
        (evolve(clean_report(), result=Result.BLIND), "blind", "COULD NOT LOOK"),
    ],
)
def test_the_verdict_looks_as_it_is(report: Report | None, tone: str, said: str) -> None:
    """Blind is never clean."""
    page = _overview(report)
    (verdict,) = (one for one in page.of("p") if (one.get("class") or "").startswith("verdict"))
    assert verdict["class"] == f"verdict {tone}"
    assert said in page.text


def test_a_source_that_is_down_says_why_and_what_to_do() -> None:
    """With its age."""
    words = _words(_overview(blind_report()))
    assert "rules down never read iptables-nft-save -t filter: exit status 4 → give it CAP_NET_ADMIN" in words


def test_findings_beyond_the_bound_are_counted() -> None:
    """A flushed cell makes no page of megabytes."""
    report = flushed_report()
    many = tuple(evolve(report.findings[0], subject=(str(number),)) for number in range(1000))
    page = overview_page(_templates(), bounded(evolve(report, findings=many)), NOW)
    assert "… and 980 more of this kind" in page
    assert len(page) < 64 << 10


def test_a_finding_has_a_page_of_its_own() -> None:
    """With all of its evidence; the address is made of the identifier in logs and JSON."""
    report = flushed_report()
    for finding in report.findings:
        page = finding_page(_templates(), report, identifier(finding), NOW)
        assert page is not None
        words = _words(_Reader(page))
        assert " ".join(finding.summary.split()) in words
        assert finding.remedy in words
        assert finding.expected is None or "expected rule" in words
        for address in finding.addresses:
            assert address in words
        assert f"c2c-auditor mend --finding {identifier(finding)} on the cell prints the commands" in words


def test_a_finding_that_has_just_ended_still_has_its_page() -> None:
    """And says so; one that never was has none."""
    report = flushed_report()
    ended = evolve(report.findings[0], state=State.RESOLVED)
    after = evolve(clean_report(), resolved=(ended,))
    assert "State: resolved." in _words(_Reader(finding_page(_templates(), after, identifier(ended), NOW) or ""))
    assert finding_page(_templates(), after, "0" * 12, NOW) is None
    assert finding_page(_templates(), None, "0" * 12, NOW) is None


def test_foreign_text_stays_text_on_every_page() -> None:
    """No tag, attribute, control character or text direction of anybody else's."""
    report = hostile_report()
    pages = [overview_page(_templates(), report, NOW)]
    pages += [finding_page(_templates(), report, identifier(finding), NOW) or "" for finding in report.findings]
    line = {"source": HOSTILE, "destination": HOSTILE, "intended": HOSTILE, "actual": HOSTILE, "doubtful": HOSTILE}
    arguments = dict.fromkeys(("source", "destination", "flow", "from", "to"), HOSTILE)
    pages += [
        matrix_page(_templates(), arguments, {"lines": [{**line, "differs": [HOSTILE]}], "next": 200}),
        matrix_page(_templates(), arguments, {"error": HOSTILE}),
        explain_page(_templates(), arguments, {"error": HOSTILE}),
        explain_page(_templates(), arguments, {"text": f"{HOSTILE}\n{HOSTILE}\n\n{HOSTILE}\n{HOSTILE}\n"}),
    ]
    for page in pages:
        reader = _Reader(page)
        assert not reader.of("script")
        assert "alert(1)" in reader.text or 'value="' in page
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", page)
        for _, attributes in reader.elements:
            assert not any(name.startswith("on") for name in attributes)
            assert not (attributes.get("href") or "").startswith("javascript")


def test_nothing_comes_from_outside() -> None:
    """Every address is one of the agent's own, and nothing but links and forms has one."""
    pages = [
        overview_page(_templates(), flushed_report(), NOW),
        matrix_page(_templates(), {}, {"lines": [], "next": 200}),
        explain_page(_templates(), {}, {}),
    ]
    for page in pages:
        reader = _Reader(page)
        assert not reader.of("link")
        assert not reader.of("img")
        assert "url(" not in page
        assert "@import" not in page
        addresses = [one.get("href") for one in reader.of("a")] + [one.get("action") for one in reader.of("form")]
        assert all(address is not None and re.match(r"[/#](?!/)", address) for address in addresses)


def test_the_matrix_keeps_its_filter_from_page_to_page() -> None:
    """The form shows what was asked, and the link to more lines asks the same."""
    arguments = {"from": "front end", "differences": "1"}
    page = _Reader(matrix_page(_templates(), arguments, {"lines": [], "next": 200}))
    values = {one.get("name"): one.get("value") for one in page.of("input")}
    assert values == {"from": "front end", "to": "", "differences": "1"}
    assert any("checked" in one for one in page.of("input"))
    assert "/matrix?from=front+end&differences=1&first=200" in [one["href"] for one in page.of("a")]
