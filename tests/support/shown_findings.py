"""One finding of each kind as the agent says it, in tests/golden/findings.json: docs/findings/ shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from c2c_auditor.model.kind import Kind

GOLDEN = Path(__file__).parents[1] / "golden" / "findings.json"


def hold(kind: Kind, *, story: str, said: str, update: bool) -> None:
    """Hold what is shown of ``kind`` to what was ``said`` (effect and sentence) after ``story``, or ``update`` it."""
    shown = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    now = {"story": story, "said": re.sub(r"vpa--\d+", "vpa--<time>", said)}
    if not update:
        assert shown[kind.value] == now, (
            f"{kind.value}: what docs/findings/ shows; --update-golden and make docs renew it"
        )
        return
    shown[kind.value] = now
    in_order = {name.value: shown[name.value] for name in Kind if name.value in shown}
    GOLDEN.write_text(f"{json.dumps(in_order, indent=1, ensure_ascii=False)}\n")
