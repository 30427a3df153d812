"""One target per parser: bytes in; a value or that parser's one error out, and nothing else.

The invariant of each stands in its docstring, in one sentence. Memory is bounded by the inputs' size here (64 KiB) and
by the process's limit in `make fuzz`; time by `harness`.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
from attrs import frozen
from click.testing import CliRunner

from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.cli import cli
from c2c_auditor.errors import AuditorError, NotUnderstood, ParseError, SourceError
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.rule import Rule, Ruleset
from c2c_auditor.netfilter.binary.entries import decode_entry, is_jump, parts_of
from c2c_auditor.netfilter.binary.tables import chains_in
from c2c_auditor.netfilter.listing import parse_listing
from c2c_auditor.netfilter.native.messages import chain_message, table_message
from c2c_auditor.netfilter.native.parts import drafted, flat, part_of
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.netfilter.render import render_rule, render_ruleset
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.server import Answers
from c2c_auditor.server.answers import answering
from c2c_auditor.server.pages import Templates
from c2c_auditor.server.questions import Answer, QuestionServer
from c2c_auditor.server.routes import LatestReport, application
from c2c_auditor.sources.facts.policy_answers import parse_policies, parse_security_groups
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.facts.vpa_config import parse_vpa_config
from c2c_auditor.sources.rules.entry_rules import EntryRules
from c2c_auditor.sources.rules.heard import Heard
from c2c_auditor.sources.rules.netlink import Announcements, Requests
from c2c_auditor.sources.rules.text import read_pasted, read_text
from support.recordings import recording
from support.rule_datagrams import datagram, decoded, rule_message

_BREAK = b"\n=== "
_SERVERS_FAULT = 500


@frozen(kw_only=True)
class Target:
    """A parser under test: ``check`` raises whatever it must not."""

    name: str
    check: Callable[[bytes], None]

    @property
    def invariant(self) -> str:
        """What must hold, in one sentence."""
        return (self.check.__doc__ or "").strip()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _save(data: bytes) -> None:
    """A text of iptables-save is a Ruleset that renders to a text, or a ParseError."""
    _rendered(parse_save, data)


def _commands(data: bytes) -> None:
    """A pasted text, of any form, is a Ruleset that renders to a text, or a ParseError; what it is cleaned to, too."""
    _rendered(read_pasted, data)
    _rendered(read_text, data)


def _listing(data: bytes) -> None:
    """A listing of iptables -L is a Ruleset that renders to a text, or a ParseError."""
    _rendered(lambda text, *, where: parse_listing(text, where=where, service_port={"ssh": 22}.get), data)


def _rendered(parse: Callable[..., Ruleset], data: bytes) -> None:
    try:
        ruleset = parse(_text(data), where="fuzz")
    except ParseError:
        return
    assert isinstance(render_ruleset(ruleset), str)


def _entry(data: bytes) -> None:
    """The bytes of a legacy entry are a Rule that renders to a text, the same through its layout, or NotUnderstood.

    The bytes of several are a table, or NotUnderstood.
    """
    with suppress(NotUnderstood):
        chains_in(data, {"FORWARD": 0}, AddressFamily.IPV4)
    try:
        target_offset = int.from_bytes(data[88:90], "little")
        chain = "chain" if len(data) >= 152 and target_offset + 2 < len(data) and is_jump(data, target_offset) else None
        rule = decode_entry(data, chain)
        assert EntryRules().rule(data, None if chain is None else chain.encode()) == rule
        parts_of(data).unpack(data)
    except NotUnderstood:
        return
    assert isinstance(rule, Rule)
    assert isinstance(render_rule(rule), str)


class _Socket:
    """A netlink socket that gives ``data`` in one datagram and then nothing."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    def send(self, request: bytes) -> int:
        return len(request)

    def recv(self, most: int) -> bytes:
        data, self._data = self._data, None
        if data is None:
            raise BlockingIOError
        return data[:most]

    def recv_into(self, room: memoryview) -> int:
        data = self.recv(len(room))
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Nothing to give back."""


def _netlink(data: bytes) -> None:
    """What nf_tables announces or answers is values, or NotUnderstood or a SourceError."""
    requests, announcements = Requests.__new__(Requests), Announcements.__new__(Announcements)
    for whole in (False, True):
        vars(announcements).update(_socket=_Socket(data), _room=memoryview(bytearray(1 << 17)), overflows=0)
        heard = Heard({family: RuleDecoder(family) for family in AddressFamily})
        with suppress(NotUnderstood):
            heard.extend(announcements.read(), whole=whole)
        for announced in heard.take():
            if isinstance(announced, tuple):
                table_message(announced[2] or b"\2")
                chain_message(announced[2] or b"\2")
    for work in (requests.generation, lambda: list(requests.chains())):
        vars(requests).update(_socket=_Socket(data), _many=None, _number=0)
        with suppress(SourceError):
            work()


def _native(data: bytes) -> None:
    """The expressions of a rule are rules, the same in parts, as a whole and in any message, or NotUnderstood."""
    for family in AddressFamily:
        decoder = RuleDecoder(family)
        with suppress(NotUnderstood):
            first = decoder.entry(data)
            assert decoder.entry(data) is first
            given = [rule_message(data, 7), rule_message(data, 8, position=7), rule_message(data, 9, position=8)]
            for handle, position, _, entry in decoded(decoder, datagram(*given)):
                assert entry is first
                assert position == (handle - 1 if handle > 7 else 0)
            assert flat([first]) == drafted([part_of(data, family)], family)


def _facts(parse: Callable[..., object], data: bytes) -> None:
    try:
        parse(_text(data), where="fuzz")
    except SourceError:
        return


def _store(data: bytes) -> None:
    """Container metadata is a Store, or a SourceError."""
    _facts(parse_store, data)


def _vpa_config(data: bytes) -> None:
    """VPA's configuration is a VpaConfig, or a SourceError."""
    _facts(parse_vpa_config, data)


def _policies(data: bytes) -> None:
    """The policy server's answer about policies is a PolicySet, or a SourceError."""
    _facts(parse_policies, data)


def _security_groups(data: bytes) -> None:
    """A page of security groups is groups and the next page's row, or a SourceError."""
    _facts(parse_security_groups, data)


def _bundle(data: bytes) -> None:
    """An audit of a bundle is a report with status 0 to 2, or one line that says what is wrong."""
    with tempfile.TemporaryDirectory(prefix="c2c-fuzz-") as directory:
        for part in data.split(_BREAK):
            name, _, content = part.partition(b"\n")
            known = name.decode("ascii", "replace").strip()
            if known in _FILES:
                (Path(directory) / known).write_bytes(content)
        for form in ("json", "text"):
            result = CliRunner().invoke(cli, ["audit", "--bundle", directory, "--format", form], standalone_mode=False)
            if result.exception is not None and not isinstance(result.exception, AuditorError | click.ClickException):
                raise result.exception
            assert result.exception is not None or result.return_value in (0, 1, 2)


_FILES = frozenset(
    {
        "iptables-save.txt",
        "iptables-save.legacy.txt",
        "store.json",
        "vxlan-policy-agent.json",
        "policies.json",
        "policies_last_updated",
        "security_groups.json",
        "ingress_tag",
        "cell.json",
    }
)


@lru_cache(maxsize=1)
def _answers() -> Answers:
    cell = recording("pair")
    answers = Answers()
    answers.put(answering(judge_cell(Reading(time=0.0, facts=cell.facts, rulesets=(cell.ruleset,)))))
    return answers


class _Questions:
    """Answers at once, in this process: what is raised comes out."""

    def ask(self, subject: str, arguments: Mapping[str, str]) -> Answer:
        return _answers().answer(subject, arguments)


@lru_cache(maxsize=1)
def _application() -> Any:  # noqa: ANN401 - bottle has no types
    questions: Any = _Questions()  # only `ask` is used
    app = application(LatestReport(), questions, Templates.read(), ready_max_age=120.0, pid=1)
    app.catchall = False  # else it would make a 500 of what we look for
    return app


def _http(data: bytes) -> None:
    """Any path and query, with any headers, gets a status below 500 or a 503."""
    line, _, headers = data.partition(b"\n")
    path, _, query = line.partition(b"?")
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        **{f"HTTP_{number}": value.decode("latin-1") for number, value in enumerate(headers.split(b"\n")[:20])},
        "HTTP_ACCEPT": "text/html" if len(data) % 2 else "*/*",
        "HTTP_ACCEPT_ENCODING": headers[:200].decode("latin-1"),
    }
    said: list[str] = []
    body = b"".join(_application()(environ, lambda status, _headers, _error=None: said.append(status)))
    status = int(said[0].split()[0])
    assert status < _SERVERS_FAULT or status == 503, (status, body[:200])


def _question(data: bytes) -> None:
    """Whatever the listening process sends as a question gets an answer that can be sent back, and none is a 500."""
    server = QuestionServer(None, _answers().answer)  # type: ignore[arg-type]  # nothing is received here
    number, answer = server._answer_to(data[:4096])  # noqa: SLF001 - the thread's own step
    assert b"%d:%d " % (answer.status, number)
    assert answer.status < _SERVERS_FAULT, answer.body[:300]


TARGETS = tuple(
    Target(name=name, check=check)
    for name, check in {
        "save": _save,
        "commands": _commands,
        "listing": _listing,
        "entry": _entry,
        "netlink": _netlink,
        "native": _native,
        "store": _store,
        "vpa-config": _vpa_config,
        "policies": _policies,
        "security-groups": _security_groups,
        "bundle": _bundle,
        "http": _http,
        "question": _question,
    }.items()
)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Files as one input of the target ``bundle``."""
    return b"".join(_BREAK + name.encode() + b"\n" + content for name, content in files.items())


def seeds_of_questions() -> tuple[bytes, ...]:
    """Questions as the listening process asks them."""
    flows: tuple[dict[str, str], ...] = ({}, {"flow": "8080/tcp"}, {"flow": "99999"})
    pairs = [{"source": "source-app", "destination": "dest-app", **flow} for flow in flows]
    matrices = [{"first": "0"}, {"differences": "1"}, {"first": "9" * 20}]
    other_ends = [
        {"source": "outside", "destination": "cell", "flow": "61016/tcp"},
        {"source": "source-app", "destination": "11.1.1.1", "flow": "443/tcp"},
        {"source": "10.255.9.9", "destination": "dest-app", "address": "10.255.9.8", "mark": "0x1"},
    ]
    questions = itertools.chain(
        (("explain", pair) for pair in pairs),
        (("matrix", one) for one in matrices),
        (("explain", ends) for ends in other_ends),
        (("end", {"name": name}) for name in ("source-app", "10.255.1.4")),
        (("matrix", {"source": "source-app", "destination": "dest-app"}),),
    )
    return tuple(json.dumps([number, *question]).encode() for number, question in enumerate(questions))


def seeds_of_http() -> tuple[bytes, ...]:
    """Requests as clients make them."""
    return (
        b"/metrics\ngzip",
        b"/",
        b"/healthz",
        b"/api/v1/report",
        b"/api/v1/explain?source=source-app&destination=dest-app&flow=8080/tcp",
        b"/api/v1/matrix?first=0&differences=1",
        b"/api/v1/matrix?first=99999999999999999999",
        b"/api/v1/explain?source=%ff%fe&destination=%00",
    )
