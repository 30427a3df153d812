"""Writes the pages that are generated from code: metrics, findings (with a page for each kind), the report's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dependencies
from finding_pages import finding_pages

from c2c_auditor.export import catalogue
from c2c_auditor.model.change import Act, Author
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Family, Kind
from c2c_auditor.model.report import Result

DOCS = Path(__file__).parent.parent / "docs"
_TEXT = {"type": "string"}
_TIME = {"$ref": "#/$defs/time"}


def _listed(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _texts() -> dict[str, Any]:
    return {"type": "array", "items": _TEXT}


def _finding() -> dict[str, Any]:
    app = _or_null(_object({"guid": _TEXT, "app": _TEXT, "space": _TEXT, "org": _TEXT}))
    place = _object(
        {
            "ip": _listed(*(family.value for family in AddressFamily)),
            "table": _TEXT,
            "chain": _TEXT,
            "position": {"type": ["integer", "null"], "minimum": 1},
        }
    )
    return _object(
        {
            "id": {"type": "string", "description": "the same for the same finding in every report"},
            "kind": _listed(*(kind.value for kind in Kind)),
            "family": _listed(*(family.value for family in Family)),
            "effect": {**_listed(*(effect.value for effect in Effect)), "description": "the worst of its effects"},
            "effects": {"type": "array", "items": _listed(*(effect.value for effect in Effect))},
            "state": _listed(*(state.value for state in State)),
            "summary": {"type": "string", "description": "one sentence for people; may hold foreign text"},
            "remedy": _TEXT,
            "place": _or_null(place),
            "found": {"type": ["string", "null"], "description": "the rule in question as iptables-save writes it"},
            "expected": {"type": ["string", "null"]},
            "differences": {"type": "array", "items": _object({"field": _TEXT, "expected": _TEXT, "found": _TEXT})},
            "source": app,
            "destination": app,
            "addresses": _texts(),
            "handles": _texts(),
            "policy": _TEXT,
            "details": _texts(),
            "cause": {"type": ["string", "null"], "description": "the name of one of the report's causes"},
            "changed_by": _or_null(_change()),
            "first_seen": _TIME,
            "since": _TIME,
        }
    )


def _change() -> dict[str, Any]:
    """The schema of one change to the rules."""
    number = {"type": "integer", "minimum": 0}
    return _object(
        {
            "time": _TIME,
            "author": _listed(*(author.value for author in Author)),
            "act": _listed(*(act.value for act in Act)),
            "generation": number,
            "pid": number,
            "process": _TEXT,
            "command": {"type": "string", "description": "how the process was called; empty if nobody saw it"},
            "parent": {"type": "string", "description": "who started it, with its pid; empty if nobody saw it"},
            "chains": _texts(),
            "added": _texts(),
            "removed": _texts(),
            "left_out": {**number, "description": "rules added or removed beyond the first few"},
        }
    )


_FINDINGS = """\
# Findings

The table is generated from `model/kind.py` by `make docs`; do not edit this page by hand.

A finding is one difference between what should be there and what is. Its *kind* is a stable name and a label of the
metrics; its *effect* says what it does to traffic: a `breach` lets forbidden traffic pass, an `outage` stops allowed
traffic, `residue` does nothing, `advice` is worth a look. The effect given here is that of the kind. What a finding
does to traffic between containers is worked out from the rules as they stand, so it may say otherwise: a stale ACCEPT
is residue where another rule stops its packets first, a missing one where another rule lets them pass, and a rule that
is in its place but comes too late is an outage. Traffic that passes or does not although no rule is to blame by itself
is `flow_open` or `flow_blocked`.

A rule of others in FORWARD that changes no flow between containers is advice, unless it can decide about what
containers send to the outside, or accept what the outside sends to them. Of more than 200 findings of one kind the
first 200 say in sentences whom they concern.

One thing that happened is told once, whatever number of findings comes of it: a chain or a table that was emptied,
rules of an earlier time that were restored, silk's chains in both backends. Terminal, page and `status` say what it
was, how to mend all of it, and an example of each kind; `-o json` and the API have each finding, with the name of its
cause, which `c2c-auditor mend --cause NAME` takes too.

| kind | usual effect | family | meaning |
|---|---|---|---|
@ROWS@

## Which rules count

A packet between containers is followed through all chains that the kernel hands it to, in the order of their hooks and
priorities. What passes has passed each of them.

| hook | chains | what counts |
|---|---|---|
| PREROUTING | raw, mangle, nat, nftables' own | what stops a packet, marks it (CONNMARK too), or leads it elsewhere |
| FORWARD | mangle, filter, security, nftables' own | everything in silk's filter; elsewhere what stops or marks |
| POSTROUTING | mangle, nat, nftables' own | the same; of nat, what rewrites containers' packets (`nat_rule_stale`) |
| INPUT | filter | what containers may reach on the cell, by the order of rules |
| OUTPUT | none | it is the cell's own traffic |

Of both backends of iptables, and of nftables' tables of the families `ip`, `ip6` and `inet`, also where they hang in
one of iptables' tables. What is not understood (an opaque match, a set, an unknown expression) may hold or not, and
the verdict is *may*. A rule of others that stops what containers send to the outside counts as well, by the
destination that it names. Where a backend that is in use cannot be read, the kinds about rules of others and about
flows are unknown.

A rule of others that is meant to be there can be declared, with who needs it (`declared_rules`, a property of the job):
by its place and its canonical text, in one of the tables of iptables. It is accepted then with the flows that it
decides, `explain` and `matrix` still show what it does, and each report lists it. Where it is gone, that is
`declared_rule_missing`. A jump is accepted when all rules behind it are declared as well. In silk's own chains nothing
of others is accepted, and what packets that a declared rule marks do behind it is judged as ever.

Not followed: tables of `bridge` and `netdev`, and chains on a device's ingress hook (a note says that they are there);
the outer packets between cells (VXLAN, UDP 4789), which are the cell's own; of requests to a cell's mapped ports, what
stands in PREROUTING before the translation, unless it stops packets to containers too. Which of two chains with equal
priority, one of each backend, comes first is told by nothing: the main backend's is taken to. A bundle holds iptables'
tables of both backends and native ones; of one that lacks some it is said.

## What is no finding, and why

- **The order of silk's rules within their group** (two MARKs, two ACCEPTs, two security group rules, jumps of different
  containers): no packet gets another verdict. Order is judged where it decides: a MARK before the ACCEPTs that need it,
  a LOG before its ACCEPT, refusing rules before or behind allowing ones.
- **A MARK behind ACCEPTs that do not need it.** It is set all the same before the packet leaves.
- **Two policy chains, or an empty one, for a moment.** That is how silk replaces the chain; the rules in force are
  those of both.
- **A security group chain called `casg-…` for a moment.** That is how silk replaces those. One that stays is residue: a
  replacement stopped halfway, and what the chain in force holds is judged as ever.
- **Which part of the overlay a MASQUERADE rule leaves out**, as long as it holds the cell's lease: silk left out the
  whole overlay up to 3.64 and leaves out the lease since 3.65 or 3.66, and packets to other cells leave by the vtep,
  where the rule does not hold. Nor do `--random`, `--random-fully` and `--to-ports` matter. Packets that leave the cell
  with a container's address, or reach containers with the cell's, are findings. With `no_masquerade_cidr_range` that
  range is what counts.
- **What IPv6 does not have.** Silk writes the containers' own chains and jumps to ip6tables, and no policy chain, no
  mark, no mapped port, no MASQUERADE. Policies between containers are IPv4's, so whatever reaches a container over IPv6
  is a breach. A chain for logging that ip6tables lacks while nothing logs is none. Each family gets the destinations of
  a security group that are its own.
- **Rules in FORWARD that name no address of the overlay**, and rules in INPUT behind the containers' own: no
  container's packet is decided by them.
- **A lost `overlay--…` rule that lets marked packets leave for other cells**, as long as FORWARD's policy is ACCEPT:
  they leave all the same, and the finding is residue. With a policy of DROP, or a rule that stops them further down, it
  is an outage.
- **Counters.**

## What cannot be known on a cell

- The rules that garden was given, in `netout--…` without syncing of security groups. What silk writes before and behind
  them is judged where the CNI wrapper's configuration is known, else only that the chain ends in REJECT.
- Without the CNI wrapper's configuration: DNS servers and host services in `input--…` (what most containers have in
  common is taken for right), `no_masquerade_cidr_range`, and whether the limit of outbound connections is a dry run
  (taken for one where most of its log chains only log).
- Without an answer of silk-daemon and without the address of the vtep: the cell's lease. It is taken from what most
  MASQUERADE rules leave out.
- What silk makes of a security group's rule that names IPv4 and IPv6 destinations together: each is expected in the
  container's chain of its family.
- Which port of the cell leads to which container: nat and mangle are held against each other, against the container's
  own ports and the cell's addresses. A container without metadata has no port list; there a translation to a wrong port
  of the right container is not noticed.
- The ingress router's tag: a request for it would create it, so it is configured, or inferred from the one mark that
  such rules share.
- Of IPv6, what could not be read in silk's sources; no real cell with it was recorded yet. How a rule for all types of
  ICMPv6 is written: it is expected without `-m icmp6`, which has no type for all. Which of several underlay interfaces
  the jumps name: any one is taken for right. Whether `disable_container_network_policy` opens anything there: nothing
  is expected to.
- Of IPv6, in a recording without `ip6tables-save.txt`: anything. The report says so.
"""


def findings() -> str:
    """The page docs/findings.md."""
    rows = [
        f"| [`{kind.value}`](findings/{kind.value}.md) | {kind.effect.value} | {kind.family.value} | {kind.meaning} |"
        for kind in Kind
    ]
    return _FINDINGS.replace("@ROWS@", "\n".join(rows))


def _pair() -> dict[str, Any]:
    """The schema of one pair of marks."""
    integer = {"type": "integer"}
    return _object(
        {
            "source": _TEXT,
            "source_addresses": _texts(),
            "destination": _TEXT,
            "destination_address": _TEXT,
            "protocol": _TEXT,
            "ports": _or_null({"type": "array", "items": integer}),
            "own_port": {"type": ["boolean", "null"]},
            "marks_set": {"type": "array", "items": integer},
            "mark_asked": {"type": ["integer", "null"]},
            "agrees": {"type": ["boolean", "null"]},
        }
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of a report."""
    count = {"type": ["integer", "null"]}
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    problem = _object({"reason": _TEXT, "where": _TEXT, "problem": _TEXT, "remedy": _TEXT})
    source = _object(
        {
            "name": _TEXT,
            "up": {"type": "boolean"},
            "last_success": _TIME,
            "too_old": {"type": "boolean"},
            "problem": _or_null(problem),
        }
    )
    finding = {"$ref": "#/$defs/finding"}
    report = _object(
        {
            "version": _TEXT,
            "time": _TIME,
            "result": _listed(*(result.value for result in Result)),
            "backend": {"enum": ["nft", "legacy", "text", None]},
            "findings": {"type": "array", "items": finding},
            "causes": {
                "type": "array",
                "description": "one thing that happened behind several findings, which name it",
                "items": _object(
                    {
                        "name": _TEXT,
                        "summary": _TEXT,
                        "remedy": _TEXT,
                        "counts": {
                            "type": "array",
                            "items": _object({"kind": _TEXT, "effect": _TEXT, "count": {"type": "integer"}}),
                        },
                    }
                ),
            },
            "resolved": {"type": "array", "items": finding},
            "omitted": {
                "type": "array",
                "items": _object({"kind": _TEXT, "effect": _TEXT, "state": _TEXT, "count": {"type": "integer"}}),
            },
            "unknown_kinds": _texts(),
            "sources": {"type": "array", "items": source},
            "processes": {
                "type": "array",
                "items": _object({"name": _TEXT, "up": {"type": "boolean"}, "start_time": _TIME}),
            },
            "counts": _object({"containers": count, "policies": count, "rules": counts, "flows": counts}),
            "statements": _texts(),
            "pairs": {"type": "array", "items": _pair()},
            "notes": _texts(),
            "last_conclusive": _TIME,
        }
    )
    time = _or_null(_object({"rfc3339": {"type": "string", "format": "date-time"}, "epoch": {"type": "number"}}))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "c2c-auditor report"}
    return {**head, **report, "$defs": {"finding": _finding(), "time": time}}


if __name__ == "__main__":
    (DOCS / "findings.md").write_text(findings())
    for path, text in finding_pages().items():
        (DOCS.parent / path).parent.mkdir(exist_ok=True)
        (DOCS.parent / path).write_text(text)
    (DOCS / "dependencies.md").write_text(dependencies.markdown())
    (DOCS / "metrics.md").write_text(catalogue.markdown())
    (DOCS / "report-schema.json").write_text(json.dumps(schema(), indent=1) + "\n")
