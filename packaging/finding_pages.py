"""The pages docs/findings/KIND.md: what a finding of each kind looks like, how it comes about, what mends it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from c2c_auditor.audit.mend.kinds import BY_NO_COMMAND
from c2c_auditor.model.kind import Effect, Family, Kind

ROOT = Path(__file__).parent.parent
_EFFECTS = {
    Effect.BREACH: "forbidden traffic passes",
    Effect.OUTAGE: "allowed traffic is blocked",
    Effect.RESIDUE: "no effect on traffic",
    Effect.ADVICE: "worth a look",
}
_RUNBOOKS = {Effect.BREACH: "C2CTrafficOpen", Effect.OUTAGE: "C2CTrafficBlocked"}
_FAMILIES = {
    Family.POLICY: "the rules, the container metadata and the policies",
    Family.CHAIN: "the rules and the container metadata",
    Family.CONTAINER: "the rules and the container metadata",
    Family.SECURITY_GROUP: "the rules, the container metadata and the security groups",
    Family.NAT: "the rules and the container metadata",
    Family.FACTS: "the container metadata and the policies",
}


def finding_pages() -> Mapping[Path, str]:
    """Every page by its path in the repository. Raises KeyError for a kind whose cause nobody has written down."""
    causes = _causes((ROOT / "packaging" / "causes.md").read_text())
    shown = json.loads((ROOT / "tests" / "golden" / "findings.json").read_text())
    return {
        Path(f"docs/findings/{kind.value}.md"): _page(kind, causes[kind.value], shown.get(kind.value)) for kind in Kind
    }


def _causes(text: str) -> Mapping[str, tuple[str, str]]:
    """Of each section of packaging/causes.md the cause and the mend, by the kind that its heading names."""
    sections = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)[1:]
    parts = (section.partition("\n### Mend\n") for section in sections[1::2])
    return {kind: (seen.strip(), mend.strip()) for kind, (seen, _, mend) in zip(sections[::2], parts, strict=True)}


def _page(kind: Kind, cause: tuple[str, str], shown: Mapping[str, str] | None) -> str:
    seen, mend = cause
    meaning = f"{kind.meaning[0].upper()}{kind.meaning[1:]}."
    runbook = _RUNBOOKS.get(kind.effect)
    alert = f" Alert: [{runbook}](../runbooks/{runbook}.md)." if runbook else ""
    facts = f"Usual effect: {kind.effect.value} ({_EFFECTS[kind.effect]}). It takes {_FAMILIES[kind.family]}.{alert}"
    commands = f"Where commands mend it, `c2c-auditor mend --cause {kind.value}` prints them; it runs none."
    parts = [
        f"# {kind.value}",
        *(_wrapped(text) for text in (meaning, facts)),
        *(_example(shown) if shown is not None else ()),
        "## How it comes about",
        seen,
        "## Mend",
        mend,
        *(() if kind in BY_NO_COMMAND else (_wrapped(commands),)),
        "[All kinds](../findings.md). How to look at one flow: `c2c-auditor explain SRC DST PORT/tcp`.",
    ]
    return "\n\n".join(parts) + "\n"


def _example(shown: Mapping[str, str]) -> tuple[str, ...]:
    said = textwrap.fill(shown["said"], 116, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")
    return "## What it looks like", _wrapped(f"After this: {shown['story']}."), f"```text\n{said}\n```"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
