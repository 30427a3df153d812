"""An example or two for each command; `--help`, the man page and docs/commands.md show them."""

from __future__ import annotations

from collections.abc import Mapping

import click

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "audit": (
        ("c2c-auditor audit", "this cell, as root"),
        ("c2c-auditor audit --rules cell.txt", "what iptables-save or iptables -L printed elsewhere"),
        ("c2c-auditor audit --bundle DIR -o json", "what capture wrote, for a program"),
    ),
    "status": (
        ("c2c-auditor status --config /var/vcap/jobs/c2c_auditor/config/config.json", "the agent of the BOSH job"),
        ("c2c-auditor status --socket /run/c2c-auditor.sock -o json", "its whole last report"),
    ),
    "watch": (
        ("c2c-auditor watch --config /var/vcap/jobs/c2c_auditor/config/config.json", "what the agent of the job sees"),
        ("c2c-auditor watch --alone", "without an agent, as root"),
        ("c2c-auditor watch -o json", "lines of JSON, as in a pipe"),
    ),
    "explain": (
        ("c2c-auditor explain frontend backend 8080/tcp", "by the apps' names"),
        ("c2c-auditor explain 10.255.1.4 backend", "from an address, on the port that a policy opens"),
        ("c2c-auditor explain frontend 203.0.113.7 443/tcp", "to the outside"),
        ("c2c-auditor explain frontend cell 53/udp", "to the cell itself"),
        ("c2c-auditor explain outside backend 8080/tcp", "to a mapped port"),
        ("c2c-auditor explain --bundle CELL-1 --bundle CELL-2 frontend backend", "from one cell to the other"),
        (
            "c2c-auditor explain --agent https://10.0.0.5:9763 --agent https://10.0.0.6:9763 frontend backend",
            "the same, by the agents that run there",
        ),
    ),
    "matrix": (
        ("c2c-auditor matrix", "everything that passes or should"),
        ("c2c-auditor matrix --differences", "only what is wrong"),
        ("c2c-auditor matrix - backend", "only what backend is sent"),
    ),
    "mend": (
        ("c2c-auditor mend", "the commands for all that was found"),
        ("c2c-auditor mend --undo", "the way back, to be kept before anything is run"),
        ("c2c-auditor mend --cause mark_missing", "for the findings of one kind"),
        ("c2c-auditor mend --bundle DIR --review", "for a recording, to be read"),
    ),
    "capture": (
        ("c2c-auditor capture cell-7", "for an audit elsewhere"),
        ("c2c-auditor capture cell-7 --redact", "to attach to an issue"),
    ),
    "daemon": (("c2c-auditor daemon --config /etc/c2c-auditor.json", "an empty JSON object is a valid configuration"),),
}


def with_examples(command: click.Command) -> click.Command:
    """``command`` with its examples below its help."""
    examples = EXAMPLES.get(command.name or "", ())
    if examples:
        lines = [line for typed, what in examples for line in (f"  # {what}", f"  {typed}")]
        command.epilog = "\n".join(("\b", "Examples:", *lines))
    return command
