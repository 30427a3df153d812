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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "c2c-auditor"
UNIT = Path(f"/lib/systemd/system/{PACKAGE}.service")
CONFIG = Path(f"/etc/{PACKAGE}/config.json")
CELL = Path("/srv/cell")
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
    for backend in ("nft", "legacy"):
        load(backend)
        with started(init):
            report = report_of(backend)
            up = {source["name"]: source["up"] for source in report["sources"]}
            assert (up["rules"], up["store"], up["vpa_config"]) == (True, True, True), up
            assert report["counts"]["rules"]["present_mark"], "it sees silk's rules"
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
    deadline = time.monotonic() + SECONDS
    while True:
        asked = subprocess.run(
            (PACKAGE, "status", "-o", "json"), capture_output=True, text=True, check=False, timeout=SECONDS
        )
        report = json.loads(asked.stdout) if asked.stdout else {}
        if report.get("backend") == backend and report["counts"]["rules"]:
            return report
        assert time.monotonic() < deadline, f"{asked.stderr}{asked.stdout[-2000:]}"
        time.sleep(0.3)


@contextmanager
def started(init: str) -> Iterator[None]:
    """The daemon runs."""
    if init == "systemd":
        run("systemctl", "restart", PACKAGE)
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
    """The unit's settings; of one that comes several times, all of it."""
    found: dict[str, str] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = f"{found[name]} {value}" if name in found else value
    return found


def environment() -> dict[str, str]:
    """As systemd sets it."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "NOTIFY_SOCKET": NOTIFY}


def as_unit(settings: dict[str, str]) -> str:
    """A script that starts the daemon as systemd would, but for control groups and the list of system calls."""
    user = pwd.getpwnam(settings["User"])
    runtime = Path("/run") / settings["RuntimeDirectory"]
    runtime.mkdir(exist_ok=True)
    os.chown(runtime, user.pw_uid, user.pw_gid)
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"]
    capabilities = ",".join(
        ("-all", *(f"+{one.removeprefix('CAP_').lower()}" for one in settings["AmbientCapabilities"].split()))
    )
    return f"""
mount --make-rprivate /
mount --bind {runtime} {runtime}
mount -o remount,bind,ro /
mount -o remount,bind,ro /run
for hidden in /root /home; do mount -t tmpfs -o ro,mode=0000 tmpfs $hidden; done
for private in /tmp /var/tmp; do mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs $private; done
mount -t proc -o hidepid={settings["ProtectProc"]} proc /proc
umask {settings["UMask"]}
exec prlimit --nofile={settings["LimitNOFILE"]} \\
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
