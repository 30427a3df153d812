"""An explanation as JSON values, and those for a person at a terminal. Foreign text is escaped here."""

from __future__ import annotations

from typing import Any

from c2c_auditor.audit.questions.explanation import Explanation
from c2c_auditor.audit.questions.hops import Walk
from c2c_auditor.audit.questions.intended import Basis
from c2c_auditor.audit.questions.misses import Miss
from c2c_auditor.export.lines import Lines
from c2c_auditor.export.plain import plain
from c2c_auditor.netfilter.packet import Certainty
from c2c_auditor.netfilter.render import render_rule

_PASSES = {
    Certainty.YES.value: ("PASSES", "bold green"),
    Certainty.NO.value: ("DOES NOT PASS", "bold red"),
    Certainty.MAY.value: ("MAY PASS", "bold yellow"),
}
# What allows a flow: where it passes and should; that it should; that it should not; that this is not known.
_WORDS = {
    Basis.POLICY.value: (
        "as a policy allows",
        "a policy allows it",
        "no policy allows it",
        "the policies are not known",
    ),
    Basis.COMMENT.value: (
        "as the rules' comments say it should",
        "the rules' comments say it should",
        "the rules' comments say it should not",
        "the policies are not known",
    ),
    Basis.SECURITY_GROUP.value: (
        "as a security group allows",
        "a security group allows it",
        "no security group allows it",
        "the security groups are not known",
    ),
    Basis.SERVICE.value: (
        "as a service that containers may use",
        "it is a service that containers may use",
        "it is no service that containers may use",
        "the services that containers may use are not known",
    ),
    Basis.MAPPED_PORT.value: (
        "as a port that the container exposes",
        "the container exposes this port",
        "the container does not expose this port",
        "the ports that a container exposes there are not known",
    ),
}


def explanation_document(answer: Explanation) -> dict[str, Any]:
    """The answer as JSON values; each walk has the steps whose rules matched, with the number of those skipped."""
    return {
        "source": answer.source,
        "destination": answer.destination,
        "flow": str(answer.flow),
        "passes": answer.passes.value,
        "intended": answer.intended,
        "basis": answer.basis.value,
        "half": answer.half,
        "walks": list(map(_walk, answer.walks)),
        "misses": list(map(_miss, answer.misses)),
        "policies": list(answer.policies),
        "allow": answer.allow,
        "notes": list(answer.notes),
        "others": list(answer.others),
    }


def _walk(walk: Walk) -> dict[str, Any]:
    packet, outcome = walk.packet, walk.outcome
    verdicts = {id(step): "passes" for step in outcome.accepted}
    verdicts |= {
        id(step): "may pass or be refused" if id(step) in verdicts else "is refused" for step in outcome.refused
    }
    steps: list[dict[str, Any]] = []
    skipped = 0
    for step in outcome.trace:
        if step.matched is Certainty.NO:
            skipped += 1
            continue
        steps.append(
            {
                "chain": step.chain,
                "position": step.position,
                "rule": render_rule(step.rule) if step.rule is not None else None,
                "matched": step.matched.value,
                "decides": id(step) in verdicts,
                "verdict": verdicts.get(id(step), ""),
                "depth": step.depth,
                "skipped": skipped,
            }
        )
        skipped = 0
    return {
        "title": walk.title,
        "cell": walk.cell,
        "table": walk.table,
        "chain": walk.chain,
        "passes": outcome.passes.value,
        "in_interface": packet.in_interface,
        "out_interface": packet.out_interface,
        "source": str(packet.family.address(packet.source)),
        "destination": str(packet.family.address(packet.destination)),
        "destination_port": packet.destination_port,
        "state": packet.state,
        "mark": packet.mark,
        "marks_after": sorted(mark for mark in outcome.marks if mark is not None),
        "does": walk.does,
        "part": walk.part,
        "tried": len(outcome.trace),
        "steps": steps,
        "skipped": skipped,
    }


def _miss(miss: Miss) -> dict[str, Any]:
    return {
        "chain": miss.chain,
        "position": miss.position,
        "rule": render_rule(miss.rule),
        "asks": miss.asks,
        "has": miss.has,
        "kind": miss.kind.value if miss.kind is not None else None,
    }


def as_intended(document: dict[str, Any]) -> bool:
    """Whether the rules do what is intended, or that is not known."""
    intended = document["intended"]
    return intended is None or document["passes"] == (Certainty.YES if intended else Certainty.NO).value


def print_explanation(document: dict[str, Any], page: Lines) -> None:
    """Print an `explanation_document`: the verdict and the nearest miss, the walks, what allows the flow, or would."""
    word, style = _PASSES[document["passes"]]
    right = as_intended(document)
    page.say(
        (plain(document["source"]), "bold"),
        (" → ", ""),
        (plain(document["destination"]), "bold"),
        (f"  {document['flow']}", ""),
    )
    page.say((word, style), (f", {_intended(document)}", "" if right else "bold red"))
    for at, miss in enumerate(document["misses"]):
        _print_miss(page, miss, nearest=at == 0)
    for text in filter(None, (document["half"], *document["notes"])):
        page.say((plain(text), "dim"))
    for walk in document["walks"]:
        page.blank()
        _print_walk(page, walk)
    _print_policies(page, document)
    for other in document["others"]:
        page.say((f"Also: {plain(other)}", "dim"))


def _intended(document: dict[str, Any]) -> str:
    passes, intended = document["passes"], document["intended"]
    as_allowed, allowed, forbidden, unknown = _WORDS[document["basis"]]
    if intended is None:
        return unknown
    if intended:
        joined = {Certainty.MAY.value: "and", Certainty.NO.value: "although"}.get(passes)
        return as_allowed if joined is None else f"{joined} {allowed}"
    return f"{'and' if passes == Certainty.NO.value else 'although'} {forbidden}"


def _print_miss(page: Lines, miss: dict[str, Any], *, nearest: bool) -> None:
    where = f"rule {miss['position']} of {plain(miss['chain'])}" if miss["chain"] else f"rule {miss['position']}"
    kind = f": {miss['kind']}" if miss["kind"] else ""
    page.say(
        ("Nearest miss: " if nearest else "Another miss: ", "bold yellow"),
        (f"{where} asks for {plain(miss['asks'])}, {plain(miss['has'])}{kind}", ""),
    )


def _print_policies(page: Lines, document: dict[str, Any]) -> None:
    if document["basis"] != Basis.POLICY.value:
        return
    if document["policies"]:
        page.blank()
        page.say(("Policies", "bold"))
        for policy in document["policies"]:
            page.say((plain(policy), ""), indent=2)
    elif document["intended"] is not None:
        page.blank()
        page.say(("There is no policy between these two.", ""))
    if document["allow"]:
        page.say(("To allow it (nothing is run here):", ""))
        page.say((plain(document["allow"]), "bold"), indent=2)


def _print_walk(page: Lines, walk: dict[str, Any]) -> None:
    mark = "unknown" if walk["mark"] is None else f"0x{walk['mark']:x}"
    interfaces = " → ".join(filter(None, (walk["in_interface"], walk["out_interface"])))
    state = f"{walk['state']}" if walk["state"] != "NEW" else ""
    where = walk["chain"] if walk["table"] == "filter" else f"{walk['table']} {walk['chain']}"
    cell = f"{walk['cell'][:1].upper()}{walk['cell'][1:]}, " if walk["cell"] else ""
    details = ", ".join(filter(None, (state, interfaces, f"mark {mark}")))
    page.say((f"{cell}{where}, {walk['title']}", "bold"), (f" ({details})", "dim"))
    for step in walk["steps"]:
        if step["rule"] is None and walk["table"] != "filter" and step["verdict"] == "passes":
            continue
        _print_skipped(page, step["skipped"])
        _print_step(page, step, part=walk["part"])
    _print_skipped(page, walk["skipped"])
    if walk["does"]:
        page.say((f"→ {walk['does']}", "bold"), indent=2)


def _print_skipped(page: Lines, count: int) -> None:
    if count:
        page.say(
            (f"… {count} rule{'s' * (count != 1)} that {'do' if count != 1 else 'does'} not match", "dim"), indent=4
        )


def _print_step(page: Lines, step: dict[str, Any], *, part: bool) -> None:
    if step["rule"] is None:
        where, what = f"policy of {step['chain']}", "no rule decided before"
        if part:
            where, what = "beyond what is shown", "no rule that is shown decides"
    else:
        where, what = f"{step['chain']} {step['position']}".strip(), plain(step["rule"])
    may = "  (may match)" if step["matched"] == Certainty.MAY.value else ""
    page.say(
        (f"{plain(where)}: ", "cyan"),
        (what, ""),
        (may, "yellow"),
        (f"  ← {step['verdict']}" if step["verdict"] else "", "bold"),
        indent=2 + 2 * step["depth"],
    )
