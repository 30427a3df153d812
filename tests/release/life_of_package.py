"""The life of the Debian package in a Debian root: run there by the root's own Python, as root, with nothing of ours.

    python3 life_of_package.py unit|systemd FOLDER

FOLDER holds ``old.deb`` and ``new.deb``, the same package in two versions, and ``cell``, a recording with rules. The
package is installed, its daemon is started and reads rules of both backends, it is upgraded, removed and purged. With
``systemd`` the root's own systemd starts the daemon; with ``unit`` no init runs, and the daemon is started with what
the unit says, but for its list of system calls. Prints what was seen; an assertion that fails ends it.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "c2c-auditor"
UNIT = Path(f"/lib/systemd/system/{PACKAGE}.service")
CONFIG = Path(f"/etc/{PACKAGE}/config.json")
DROP_IN = Path(f"/etc/systemd/system/{PACKAGE}.service.d/cell.conf")
CELL = Path("/srv/cell")
METRICS = "http://127.0.0.1:9763/metrics"
LIBRARY = Path("/opt/c2c-auditor/lib/python3/site-packages")
NOTIFY = "/run/notify"
SECONDS = 120
# Where packages put files, and what changes there whatever is installed.
PLACES = ("/etc", "/opt", "/usr", "/var")
PASSING = frozenset({"/var/cache", "/var/lib/dpkg", "/var/log", "/var/tmp"})  # noqa: S108


def main(init: str, folder: Path) -> None:
    """The whole life."""
    before = files()
    shutil.copytree(folder / "cell", CELL)
    for path in (CELL, *CELL.iterdir()):
        path.chmod(0o755)
    run("dpkg", "-i", str(folder / "old.deb"))
    old = installed()
    assert "CLEAN" in run(PACKAGE, "audit", "--bundle", str(CELL)), "a recording is clean"
    settings = json.loads(CONFIG.read_text())
    settings |= {
        "vpa_config": str(CELL / "vxlan-policy-agent.json"),
        "store": str(CELL / "store.json"),
        "interval": 0.5,
    }
    CONFIG.write_text(json.dumps(settings))
    lease()
    with started(init):
        assert f"BindReadOnlyPaths={CELL}" in remedy("store"), "the service says why it does not see the file"
    show(CELL)
    for backend in ("nft", "legacy"):
        load(backend)
        with started(init):
            report = report_of(backend)
            up = {source["name"]: source["up"] for source in report["sources"]}
            assert (up["rules"], up["store"], up["vpa_config"]) == (True, True, True), up
            assert report["counts"]["rules"]["present_mark"], "it sees silk's rules"
            notes = " ".join(report["notes"])
            assert "this cell's lease, 10.255.1.0/24; its source: the address of silk-vtep" in notes, notes
            if backend == "nft":
                wait_for_witness()
                assert "witness" not in notes, notes
            if init == "systemd":
                run("systemctl", "reload", PACKAGE)
            sys.stdout.write(f"reads {backend}\n")
        unload(backend)
    with started(init):
        run("dpkg", "-i", str(folder / "new.deb"))
        if init == "systemd":
            run("systemctl", "is-active", PACKAGE)
    assert installed() != old, "the other version is there"
    assert json.loads(CONFIG.read_text()) == settings, "an operator's settings stay"
    run("dpkg", "-r", PACKAGE)
    assert not LIBRARY.exists(), "nothing of the package stays"
    assert CONFIG.exists(), "but its settings"
    run("dpkg", "-P", PACKAGE)
    hide()
    left = files() - before
    assert not left, f"left behind: {sorted(left)}"
    assert PACKAGE not in {entry.pw_name for entry in pwd.getpwall()}, "the user is gone"
    sys.stdout.write("installed, upgraded, removed, purged\n")


def installed() -> str:
    """The version; everything is where it belongs, and compiled for the Python that is there."""
    version = run(PACKAGE, "--version").split()[-1]
    status = run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", PACKAGE)
    assert status.startswith(f"ii {version}"), status
    assert pwd.getpwnam(PACKAGE).pw_uid < 1000, "a system user"
    assert list(LIBRARY.glob("c2c_auditor/__pycache__/cycle.*.pyc")), "bytecode"
    assert Path(f"/usr/share/bash-completion/completions/{PACKAGE}").exists()
    return status


def lease() -> None:
    """The interface and the route that show it, as silk-daemon makes them; it does not answer itself."""
    for command in (
        "link set lo up",
        "link add silk-vtep type veth peer name underlay",
        "address add 10.255.1.0/16 dev silk-vtep",
        "link set silk-vtep up",
        "link set underlay up",
        "route add 10.255.2.0/24 via 10.255.2.0 dev silk-vtep onlink",
    ):
        run("ip", *command.split())


def show(folder: Path) -> None:
    """Add ``folder`` to what the service sees, as an operator does."""
    DROP_IN.parent.mkdir(parents=True)
    DROP_IN.write_text(f"[Service]\nBindReadOnlyPaths={folder}\n")
    if Path("/run/systemd/system").exists():
        run("systemctl", "daemon-reload")


def hide() -> None:
    """As it was."""
    shutil.rmtree(DROP_IN.parent)


def load(backend: str) -> None:
    """The recording's rules, in the kernel."""
    rules = (CELL / "iptables-save.txt").read_bytes()
    subprocess.run((f"iptables-{backend}-restore",), input=rules, check=True, timeout=SECONDS)


def unload(backend: str) -> None:
    """No rule of them."""
    for table in ("filter", "mangle", "nat", "raw"):
        for option in ("-F", "-X"):
            run(f"iptables-{backend}", "-t", table, option)


def report_of(backend: str) -> dict:  # type: ignore[type-arg]  # as JSON has it
    """The running agent's report, once it has read rules of ``backend``."""
    return wait_for(lambda report: report["backend"] == backend and report["counts"]["rules"])


def remedy(source: str) -> str:
    """What the running agent says to do about a source that is away."""
    (found,) = (one for one in wait_for(lambda _: True)["sources"] if one["name"] == source)
    return str(found["problem"]["remedy"])


def wait_for(wanted: Callable[[dict], object]) -> dict:  # type: ignore[type-arg]  # as JSON has it
    """The running agent's report, once it is as ``wanted``."""
    deadline = time.monotonic() + SECONDS
    while True:
        asked = subprocess.run(
            (PACKAGE, "status", "-o", "json"), capture_output=True, text=True, check=False, timeout=SECONDS
        )
        report: dict = json.loads(asked.stdout) if asked.stdout else {}  # type: ignore[type-arg]
        if report and wanted(report):
            return report
        assert time.monotonic() < deadline, f"{asked.stderr}{asked.stdout[-2000:]}"
        time.sleep(0.3)


def wait_for_witness() -> None:
    """Until the rules that iptables-nft prints were held against what was read."""
    deadline = time.monotonic() + SECONDS
    while True:
        with urllib.request.urlopen(METRICS, timeout=SECONDS) as answer:
            text = answer.read().decode()
        if "\nc2c_auditor_witness_timestamp_seconds " in text:
            return
        assert time.monotonic() < deadline, text
        time.sleep(0.3)


@contextmanager
def started(init: str) -> Iterator[None]:
    """The daemon runs."""
    if init == "systemd":
        run("systemctl", "restart", PACKAGE)
        run("systemctl", "reset-failed", PACKAGE)  # else the sixth start within ten seconds is refused
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        Path(NOTIFY).unlink(missing_ok=True)
        heard.bind(NOTIFY)
        Path(NOTIFY).chmod(0o666)
        heard.settimeout(SECONDS)
        process = subprocess.Popen(("unshare", "--mount", "sh", "-ec", as_unit(unit())), env=environment())
        try:
            assert heard.recv(256) == b"READY=1"
            yield
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0, "it ends when it is told to"


def unit() -> dict[str, str]:
    """The unit's settings and the drop-in's; of one that comes several times, all of it."""
    found: dict[str, str] = {}
    texts = [path.read_text() for path in (UNIT, DROP_IN) if path.exists()]
    for line in "".join(texts).splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = f"{found[name]} {value}" if name in found else value
    return found


def environment() -> dict[str, str]:
    """As systemd sets it."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "LANG": "C.UTF-8",
        "NOTIFY_SOCKET": NOTIFY,
        "INVOCATION_ID": "0" * 32,
    }


def as_unit(settings: dict[str, str]) -> str:
    """A script that starts the daemon as systemd would, but for control groups and the list of system calls."""
    user = pwd.getpwnam(settings["User"])
    runtime = Path("/run") / settings["RuntimeDirectory"]
    runtime.mkdir(exist_ok=True)
    os.chown(runtime, user.pw_uid, user.pw_gid)
    assert settings["ProtectSystem"] == "strict"
    assert settings["ProtectHome"] == "yes"
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"]
    capabilities = ",".join(
        ("-all", *(f"+{one.removeprefix('CAP_').lower()}" for one in settings["AmbientCapabilities"].split()))
    )
    root = settings["RootDirectory"]
    paths = [path.removeprefix("-") for path in settings["BindReadOnlyPaths"].split()]
    shown = " ".join(path for path in paths if Path(path).exists())
    return f"""
mount --make-rprivate /
mount --bind {root} {root}
mount -t tmpfs -o mode=0755 tmpfs {root}/run
mkdir {root}{runtime}
mount --bind {runtime} {root}{runtime}
touch {root}{NOTIFY}
mount --bind {NOTIFY} {root}{NOTIFY}
for shown in {shown}; do
    mkdir -p {root}$shown
    mount --rbind $shown {root}$shown
    mount -o remount,bind,ro {root}$shown
done
for bound in dev sys; do mount --rbind /$bound {root}/$bound; done
for private in tmp var/tmp; do mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs {root}/$private; done
mount -t proc -o hidepid={settings["ProtectProc"]},subset={settings["ProcSubset"]} proc {root}/proc
for closed in "" /run; do mount -o remount,bind,ro {root}$closed; done
umask {settings["UMask"]}
exec prlimit --nofile={settings["LimitNOFILE"]} chroot {root} \\
    setpriv --reuid {user.pw_uid} --regid {user.pw_gid} --clear-groups --no-new-privs \\
    --bounding-set {capabilities} --inh-caps {capabilities} --ambient-caps {capabilities} \\
    {shlex.join(settings["ExecStart"].split())}
"""


def files() -> set[str]:
    """Every file where packages put them; the copies that the user database keeps of itself are none of ours."""
    found = set()
    for folder, folders, names in (step for place in PLACES for step in os.walk(place)):
        here = Path(folder)
        folders[:] = [name for name in folders if str(here / name) not in PASSING]
        found |= {f"{folder}/{name}" for name in names if not (folder == "/etc" and name.endswith("-"))}
    return found


def run(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SECONDS, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
