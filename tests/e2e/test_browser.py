"""The pages in a real browser: links, forms and the keyboard work, hostile names stay text, colours can be read."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from attrs import evolve

from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.config import ServerSettings
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Report
from c2c_auditor.server import Answers, ServerProcess
from c2c_auditor.server.answers import answering
from support.browser import Browser, browser
from support.mutations import with_rules
from support.recordings import recording
from support.reports import blind_report, clean_report, flushed_report, hostile_report
from support.waiting import turns

pytestmark = pytest.mark.e2e
TAB, ENTER = "\ue004", "\ue007"  # as WebDriver names keys
PATHS = ("/", "/matrix", "/explain", "/explain?source=source-app&destination=dest-app&flow=61001/tcp")
# Every element with text of its own, its colour and the colour behind it: [[text, red, green, blue, …], …].
_COLOURS = """
const rgb = text => text.match(/[0-9.]+/g).map(Number);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgb(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
};
const own = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
const seen = [...document.body.querySelectorAll("*")].filter(element => own(element) || element.matches("input"));
return seen.map(element => [element.innerText || element.placeholder || element.name,
  ...rgb(getComputedStyle(element, element.placeholder ? "::placeholder" : null).color).slice(0, 3),
  ...behind(element)]);
"""


def _slip() -> Scene:
    """The pair with the tutorial's slip: one ACCEPT asks for another mark."""
    cell = recording("pair")
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    damaged = with_rules(cell.ruleset, cell.policy_chain, (*rules[:1], *rules[2:]))
    return judge_cell(Reading(facts=cell.facts, rulesets=(damaged,)))


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[ServerProcess]:
    answers = Answers()
    answers.put(answering(_slip()))
    with ServerProcess(ServerSettings(port=0), answers.answer) as running:
        yield running


@pytest.fixture(name="window", scope="module")
def _window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def _show(server: ServerProcess, window: Browser, report: Report, expected: str) -> None:
    """Publish a report of this moment and open the first page once it is there."""
    now = time.time()
    findings = tuple(finding.settled(finding.state, first_seen=now - 750, since=now) for finding in report.findings)
    server.publish(evolve(report, time=now, last_conclusive=now, findings=findings))
    for _ in turns():
        window.open(f"http://{server.address}/")
        if expected in window.text():
            return
    pytest.fail(f"the page never said {expected!r}")


def _settled(window: Browser, expected: str) -> str:
    """The page's text once it holds what is ``expected`` of the page behind a link or a form."""
    text = ""
    for _ in turns():
        text = window.text()
        if expected in text:
            return text
    pytest.fail(f"never came to {expected!r}: {text[:500]!r}")


def test_a_finding_is_one_click_away(server: ServerProcess, window: Browser) -> None:
    """The first page says verdict, since when and the mend; the finding's page has the rules."""
    window.look(width=1200, scheme="light")
    _show(server, window, flushed_report(), "4 breaches")
    text = window.text()
    assert "(12 min ago)" in text
    assert "Recreate the container" in text
    window.click(".cause li a")
    text = _settled(window, "expected rule")
    assert "-j overlay--" in text
    window.click('a[href="/"]')
    _settled(window, "4 breaches")


def test_a_flow_is_explained_by_the_keyboard_alone(server: ServerProcess, window: Browser) -> None:
    """Tab to the form, type, Enter: no mouse and no script."""
    window.look(width=1200, scheme="light")
    window.open(f"http://{server.address}/explain")
    for _ in range(20):
        window.press(TAB)
        if window.run("return document.activeElement.name") == "source":
            break
    outline = window.run("return getComputedStyle(document.activeElement).outlineStyle")
    window.press(*"source-app", TAB, *"dest-app", TAB, *"61001/tcp", ENTER)
    text = _settled(window, "DOES NOT PASS")
    assert outline == "solid"
    assert "is refused" in text
    assert window.run("return document.querySelector('input[name=flow]').value") == "61001/tcp"
    window.open(f"http://{server.address}/explain?source=nobody&destination=dest-app")
    assert 'It knows "dest-app"' in window.text()


def test_the_matrix_is_filtered(server: ServerProcess, window: Browser) -> None:
    """By the ends' names, and to what differs."""
    window.look(width=1200, scheme="light")
    window.open(f"http://{server.address}/matrix")
    rows = "return document.querySelectorAll('tbody tr').length"
    every = window.run(rows)
    window.type("input[name=from]", "other cells")
    window.click("button")
    fewer = every
    for _ in turns():
        fewer = window.run(rows)
        if fewer < every:
            break
    assert 0 < fewer < every
    assert window.run("return document.querySelector('input[name=from]').value") == "other cells"
    window.click("input[type=checkbox]")
    window.click("button")
    assert "although a policy allows it" in _settled(window, "cannot reach")


def test_a_hostile_app_name_stays_text(server: ServerProcess, window: Browser) -> None:
    """No element is made of it, no script runs, and people see what it is."""
    window.look(width=1200, scheme="light")
    _show(server, window, hostile_report(), "mark_missing")
    assert window.run("return document.scripts.length") == 0
    text = window.text()
    assert "<script>alert(1)</script>" in text
    assert "\\x1b]0;owned\\x07" in text
    window.click(".cause li a")
    assert "<script>alert(1)</script>" in _settled(window, "State:")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("report", [flushed_report(), blind_report(), clean_report()], ids=["broken", "blind", "clean"])
def test_every_text_stands_out_from_what_is_behind_it(
    server: ServerProcess, window: Browser, scheme: str, report: Report
) -> None:
    """By at least 4.5 to 1 (WCAG 2.2, 1.4.3 AA), in both colour schemes, on every page."""
    window.look(width=1200, scheme=scheme)
    _show(server, window, report, {"findings": "breaches", "blind": "COULD NOT LOOK"}.get(report.result.value, "CLEAN"))
    background = window.run("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    for path in PATHS:
        window.open(f"http://{server.address}{path}")
        seen = window.run(_COLOURS)
        assert len(seen) > 8
        weak = [(text, _contrast(colours[:3], colours[3:])) for text, *colours in seen]
        assert not [one for one in weak if one[1] < 4.5], path


@pytest.mark.parametrize("path", PATHS)
def test_a_telephone_needs_no_sideways_scrolling(server: ServerProcess, window: Browser, path: str) -> None:
    """At 360 pixels nothing is wider than the window, and text is as large as elsewhere."""
    window.look(width=360, scheme="light")
    _show(server, window, flushed_report(), "4 breaches")
    window.open(f"http://{server.address}{path}")
    assert window.run("return innerWidth") <= 360
    assert window.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert window.run("return parseFloat(getComputedStyle(document.body).fontSize)") >= 16


def _contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of two sRGB colours, as WCAG 2.2 defines it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: list[float]) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
