"""The demo's inner process: ``tour.run_demo`` starts it in the namespace that it made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from c2c_auditor.errors import AuditorError
from demo.faults import ALL, TOUR
from demo.tour import tour

_COULD_NOT_LOOK = 2


def _main() -> int:
    options = argparse.ArgumentParser(prog="python -m demo.inside", description=__doc__)
    options.add_argument("--name", required=True)
    options.add_argument("--directory", type=Path, required=True)
    options.add_argument("--backend", required=True)
    options.add_argument("--silk", required=True)
    options.add_argument("--pause", type=float, required=True)
    options.add_argument("--keep", action="store_true")
    options.add_argument("--faults", choices=("tour", "all"), default="tour")
    given = vars(options.parse_args())
    try:
        return tour(faults={"tour": TOUR, "all": ALL}[given.pop("faults")], **given)
    except AuditorError as error:
        sys.stderr.write(f"c2c-auditor: {error}\n")
        return _COULD_NOT_LOOK


if __name__ == "__main__":
    sys.exit(_main())
