"""`explain` by agents that run: each is asked for what its cell decides, and the halves are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from c2c_auditor.cli.options import FILE
from c2c_auditor.errors import UsageError
from c2c_auditor.export.joined import first_marks, joined
from c2c_auditor.sources.facts.agent_api import AgentApi, Certificates

_MOST_AGENTS = 2
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--agent",
        "agents",
        multiple=True,
        metavar="URL",
        help="Ask a running agent; twice for the cells of both ends (https://10.0.0.5:9763).",
    ),
    click.option("--agent-ca", type=FILE, help="The CA of the agents' certificates."),
    click.option("--agent-certificate", type=FILE, help="The client's certificate that the agents demand."),
    click.option("--agent-key", type=FILE, help="Its key."),
)


@frozen(kw_only=True)
class Question:
    """What is asked, as it was typed; ``flow`` is None for the first one that is allowed."""

    source: str
    destination: str
    flow: str | None

    def arguments(self, **other: str) -> dict[str, str]:
        """The question as arguments of the API."""
        given = {"source": self.source, "destination": self.destination}
        return {**given, **({"flow": self.flow} if self.flow else {}), **other}


@frozen(kw_only=True)
class Agents:
    """The agents that are asked, one or two."""

    urls: tuple[str, ...]
    certificates: Certificates | None

    @classmethod
    def of(cls, urls: tuple[str, ...], ca: Path | None, certificate: Path | None, key: Path | None) -> Agents | None:
        """What the options say; None without ``urls``. Raises UsageError for options that do not go together."""
        if not urls:
            if ca or certificate or key:
                raise UsageError("--agent-ca, --agent-certificate and --agent-key belong to --agent")
            return None
        if len(urls) > _MOST_AGENTS:
            raise UsageError("--agent: give that of the source's cell and that of the destination's")
        if ca and certificate and key:
            return cls(urls=urls, certificates=Certificates(ca=ca, certificate=certificate, key=key))
        if ca or certificate or key:
            raise UsageError("--agent-ca, --agent-certificate and --agent-key belong together")
        return cls(urls=urls, certificates=None)

    def explain(self, question: Question) -> dict[str, Any]:
        """The answer as a document.

        Raises UsageError for ends that no agent knows, SourceError for agents that do not answer.
        """
        with ExitStack() as open_agents:
            agents = [open_agents.enter_context(closing(AgentApi(url, self.certificates))) for url in self.urls]
            return _explain(agents, question)


def agent_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of `Agents`; ``command`` takes them as ``agents``, None where none was given."""

    @wraps(command)  # with the options that it has already
    def with_agents(**given: Any) -> int:  # noqa: ANN401 - what click parsed, by name
        files = (given.pop(name) for name in ("agent_ca", "agent_certificate", "agent_key"))
        return command(agents=Agents.of(given.pop("agents"), *files), **given)

    wrapped: Callable[..., int] = with_agents
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _explain(agents: Sequence[AgentApi], question: Question) -> dict[str, Any]:
    source, destination = (_End.of(agents, text) for text in (question.source, question.destination))
    near, far = source.agent, destination.agent
    if near is None or far is None or near is far:
        return (near or far or agents[0]).ask("explain", question.arguments())
    theirs = _known(near, destination)
    first = near.ask("explain", question.arguments(destination=theirs, address=destination.address))
    marks = first_marks(first)
    if not marks:
        return joined(first, None)
    flow = "/".join(reversed(str(first["flow"]).split(" ")))
    arguments = question.arguments(source=_known(far, source), address=source.address, flow=flow)
    if len(marks) == 1:
        arguments["mark"] = f"0x{marks[0]:x}"
    return joined(first, far.ask("explain", arguments))


@frozen(kw_only=True)
class _End:
    """One end: the agent of the cell where it runs, None if on none of them; its app's guid and its address there."""

    text: str
    agent: AgentApi | None = None
    app: str = ""
    address: str = ""

    @classmethod
    def of(cls, agents: Sequence[AgentApi], text: str) -> _End:
        refused: UsageError | None = None
        for agent in agents:
            try:
                found = agent.ask("end", {"name": text})
            except UsageError as error:
                refused = error
                continue
            containers = found["containers"]
            if containers:
                return cls(text=text, agent=agent, app=found["app"], address=containers[0]["address"])
            refused = None
            break
        if refused is not None and len(agents) == 1:
            raise refused
        return cls(text=text)


def _known(agent: AgentApi, end: _End) -> str:
    """How ``agent`` knows an end of another cell: by its app if a policy there names it, else by its address."""
    if end.app:
        try:
            agent.ask("end", {"name": end.app})
        except UsageError:
            return end.address
        return end.app
    return end.address
