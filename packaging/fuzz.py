"""Fuzzes each parser in turn, as `make fuzz` does.

FUZZ_SECONDS is the time for all of them (600); FUZZ_TARGETS, if set, names the only targets.

With atheris where it is installed, whose coverage leads the way; else with this project's own mutations and a seed
(SEED), which FUZZ_ENGINE=mutations asks for. What breaks an invariant is kept in tests/fuzz/corpus, so that every test
run tries it from then on.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
# In the place of this script's own directory, in which this file would be what `import fuzz` finds.
sys.path[0] = str(ROOT / "tests")

_ADDRESS_SPACE = 4 << 30
_RESIDENT_MIB = 1024
_STARTUP_SECONDS = 60
# libFuzzer tells of each input that it keeps, and of how it goes.
_PROGRESS = re.compile(r"#\d+\s|INFO|\"|######")
_MOST_LINES, _WIDTH = 30, 300


def _names() -> list[str]:
    from fuzz.targets import TARGETS  # noqa: PLC0415 - atheris instruments what is imported after it

    wanted = os.environ.get("FUZZ_TARGETS", "").split()
    return [target.name for target in TARGETS if not wanted or target.name in wanted]


def main() -> int:
    """Each target in a process of its own; 1 if one of them found something."""
    names = _names()
    seconds = max(1, int(os.environ.get("FUZZ_SECONDS") or 600) // max(1, len(names)))
    engine = os.environ.get("FUZZ_ENGINE") or ("atheris" if find_spec("atheris") else "mutations")
    found = []
    for name in names:
        sys.stdout.write(f"{name}: {seconds} s with {engine}\n")
        sys.stdout.flush()
        command = (sys.executable, __file__, engine, name, str(seconds))
        limit = 2 * seconds + _STARTUP_SECONDS
        run = subprocess.run(command, check=False, timeout=limit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = [line for line in run.stdout.decode(errors="replace").splitlines() if not _PROGRESS.match(line)]
        sys.stdout.write("".join(f"  {line[:_WIDTH]}\n" for line in text[-_MOST_LINES:]))
        if run.returncode != 0:
            found.append(name)
    sys.stdout.write(f"found something: {', '.join(found)}; see tests/fuzz/corpus\n" if found else "nothing found\n")
    return 1 if found else 0


def _mutations(name: str, seconds: float) -> int:
    """Mutations of the corpus for ``seconds``; 1 if an input broke the invariant.

    Of each way to break it the first is kept.
    """
    from fuzz.harness import CORPUS, Hang, check, seeds, signature  # noqa: PLC0415 - see `_names`
    from fuzz.known_red import KNOWN_RED  # noqa: PLC0415
    from fuzz.mutate import mutated  # noqa: PLC0415
    from fuzz.targets import TARGETS  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    target = next(target for target in TARGETS if target.name == name)
    corpus = sorted(seeds(target).values())
    first = int(os.environ.get("SEED") or time.time())
    random = Random(first)  # noqa: S311 - chooses test data
    ends, runs, found = time.monotonic() + seconds, 0, set[str]()
    while time.monotonic() < ends:
        data = mutated(random.choice(corpus), corpus, random)
        runs += 1
        try:
            check(target, data)
        except (Exception, Hang) as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            what = signature(error)
            if (name, what) not in KNOWN_RED and what not in found:
                found.add(what)
                kept = CORPUS / name / f"crash-{hashlib.sha256(data).hexdigest()[:12]}"
                kept.write_bytes(data)
                sys.stdout.write(f"{name}: {what}: {error!s:.300}\n  kept as {kept.relative_to(ROOT)}\n")
    sys.stdout.write(f"{name}: {runs} runs, seed {first}\n")
    return 1 if found else 0


def _atheris(name: str, seconds: float) -> int:
    """The same led by coverage; atheris ends the process, with a status of its own if something broke."""
    import atheris  # noqa: PLC0415 - there only where it installs

    with atheris.instrument_imports(include=["c2c_auditor"]):
        from fuzz.harness import CORPUS, check, seeds, signature  # noqa: PLC0415 - see `_names`
        from fuzz.targets import TARGETS  # noqa: PLC0415
    from fuzz.known_red import KNOWN_RED  # noqa: PLC0415
    from fuzz.mutate import MOST_BYTES, mutated  # noqa: PLC0415

    target = next(target for target in TARGETS if target.name == name)
    corpus = sorted(seeds(target).values())

    def one(data: bytes) -> None:
        try:
            check(target, data)
        except Exception as error:
            if (name, signature(error)) not in KNOWN_RED:
                raise

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 - chooses test data
        if random.random() < 0.5:  # noqa: PLR2004 - one half is libFuzzer's own, which knows what it compared
            mutant: bytes = atheris.Mutate(data, most)
            return mutant
        return mutated(data, corpus, random)[:most]

    with tempfile.TemporaryDirectory(prefix="c2c-fuzz-") as grown:
        options = {
            "max_total_time": f"{seconds:.0f}",
            "max_len": MOST_BYTES,
            "rss_limit_mb": _RESIDENT_MIB,
            "artifact_prefix": f"{CORPUS / name}/",
            "print_final_stats": 1,
            "verbosity": 1,
        }
        arguments = [__file__, *(f"-{option}={value}" for option, value in options.items()), grown, str(CORPUS / name)]
        atheris.Setup(arguments, one, custom_mutator=mutate)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit({"atheris": _atheris, "mutations": _mutations}[sys.argv[1]](sys.argv[2], float(sys.argv[3])))
    sys.exit(main())
