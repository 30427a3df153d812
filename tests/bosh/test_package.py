"""The package as a compilation VM makes it, and the agent as bpm runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import pytest
import trustme

from c2c_auditor import __version__
from c2c_auditor.sources.running_agent import ask
from demo.cell import Cell, Files, write_vpa_config
from demo.command import run
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.silk import Iptables, Silk
from demo.world import SHOP
from support.bosh_layout import job as job_of
from support.namespaces import in_namespace
from support.staging import ROOT, staged
from support.waiting import turns

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

PACKAGING = ROOT / "bosh-release" / "packages" / "c2c_auditor" / "packaging"
BARE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

# A container like bpm's: own mounts, processes and host names; nothing can be written but temporary files, which cannot
# be executed; no /run; no privilege to be gained, a bounding set of two capabilities, the job's limit of open files.
# Not bpm's: its control group and its list of system calls. First the package is made, as on a compilation VM: a bare
# environment, and no network but this namespace's own.
CONTAINER = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/compile /mnt/package
cp -R "$STAGED" /mnt/compile/c2c_auditor
cd /mnt/compile
(umask 077; env -i PATH="$PATH" BOSH_COMPILE_TARGET=/mnt/compile BOSH_INSTALL_TARGET=/mnt/package bash "$PACKAGING" >&2)
cd /
rm -rf /mnt/compile
cp -R "$JOB" /mnt/job
chown -R 65534:65534 /mnt/job
mount -o remount,ro /mnt
mount -t tmpfs -o ro,mode=0000 tmpfs /run
mount -t tmpfs -o noexec,nosuid,nodev,mode=1777 tmpfs /tmp
mount -t tmpfs -o noexec,nosuid,nodev,mode=1777 tmpfs /var/tmp
mount -o remount,bind,ro /
ulimit -n "$OPEN_FILES"
exec env -i PATH="$PATH" HOME=/nonexistent TMPDIR=/tmp LANG=C.UTF-8 \\
    setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set -all,+net_admin,+net_raw \\
    --inh-caps -all,+net_admin,+net_raw --ambient-caps -all,+net_admin,+net_raw \\
    /mnt/package/bin/c2c-auditor daemon --config /mnt/job/config.json
"""


def test_packaging_makes_a_program_that_runs(tmp_path: Path) -> None:
    """Without network, pip or anything in the environment; twice, for a compilation may be tried again."""
    compile_target, install = tmp_path / "compile", tmp_path / "install"
    install.mkdir()
    for _ in range(2):
        shutil.rmtree(compile_target, ignore_errors=True)
        shutil.copytree(staged(), compile_target / "c2c_auditor")
        said = _package(compile_target, install)
        assert said.returncode == 0, said.stderr
    program = install / "bin" / "c2c-auditor"
    told = subprocess.run(
        (program, "--version"), cwd="/", env={}, capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.strip() == f"c2c-auditor, version {__version__}"
    assert (install / "lib" / "libxtwrapper.so").exists()
    assert (install / "share" / "man" / "man1" / "c2c-auditor.1").exists()
    assert (install / "share" / "bash-completion" / "completions" / "c2c-auditor").exists()
    assert list((install / "lib" / "c2c_auditor").glob("__pycache__/cycle.*.pyc"))


def _package(
    compile_target: Path, install: Path, *, packages: Path | None = None, without: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `packaging` where no network is, and none of the files that match ``without`` can be executed."""
    environment = {**BARE, "BOSH_COMPILE_TARGET": str(compile_target), "BOSH_INSTALL_TARGET": str(install)}
    if packages is not None:
        environment["BOSH_PACKAGES_DIR"] = str(packages)
    # An unprivileged user may have namespaces inside one of users.
    unshare = ("unshare", "--net", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    probe = subprocess.run((*unshare, "true"), capture_output=True, text=True, check=False, timeout=10)
    if probe.returncode:
        pytest.skip(f"needs namespaces of network, mounts and, unless root, users: {probe.stderr.strip()}")
    hide = f'for file in {without}; do [[ ! -e $file ]] || mount --bind /dev/null "$file"; done'
    command = (*unshare, "bash", "-c", f'{hide}; exec bash "$0"', str(PACKAGING))
    return subprocess.run(
        command, cwd=compile_target, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("rm c2c_auditor/SHA256SUMS", "make stage"),
        ("echo x >> c2c_auditor/attrs-*.whl", "make stage"),
        ("rm c2c_auditor/rich-*.whl", "make stage"),
        ("rm c2c_auditor/cheroot-*.whl; sed -i /cheroot-/d c2c_auditor/SHA256SUMS", "can be imported"),
    ],
)
def test_what_was_not_staged_properly_fails_where_it_is_compiled(tmp_path: Path, damage: str, said: str) -> None:
    """Before any cell is touched, with what to do."""
    shutil.copytree(staged(), tmp_path / "compile" / "c2c_auditor")
    subprocess.run(("bash", "-c", damage), cwd=tmp_path / "compile", check=True, timeout=10)
    done = _package(tmp_path / "compile", tmp_path / "install")
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("/usr/bin/python3 /usr/local/bin/python3", "vendor a python-3.x package"),
        ("/usr/{,local/}bin/{gcc,cc}", "no C compiler"),
    ],
)
def test_a_stemcell_that_lacks_something_is_refused(tmp_path: Path, without: str, said: str) -> None:
    """On the compilation VM, with the way out."""
    shutil.copytree(staged(), tmp_path / "compile" / "c2c_auditor")
    done = _package(tmp_path / "compile", tmp_path / "install", without=without)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "install" / "bin" / "c2c-auditor").exists()


def test_an_interpreter_that_was_brought_along_is_preferred(tmp_path: Path) -> None:
    """The documented way out: a vendored python-3.x package."""
    vendored = tmp_path / "packages" / "python-3.12" / "bin" / "python3"
    vendored.parent.mkdir(parents=True)
    vendored.write_text('#!/bin/sh\nexec /usr/bin/python3 "$@"\n')
    vendored.chmod(0o755)
    shutil.copytree(staged(), tmp_path / "compile" / "c2c_auditor")
    done = _package(tmp_path / "compile", tmp_path / "install", packages=tmp_path / "packages")
    assert done.returncode == 0, done.stderr
    assert str(vendored) in (tmp_path / "install" / "bin" / "c2c-auditor").read_text()


@pytest.mark.kernel
@pytest.mark.e2e
@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_the_installed_agent_runs_as_under_bpm(tmp_path: Path, backend: str) -> None:
    """Unprivileged, with two capabilities, it reads rules, queries the policy server and serves over TLS.

    Both the policy server and the clients see certificates.
    """
    staged()
    _runs(tmp_path, backend)


@in_namespace
def _runs(folder: Path, backend: str) -> None:
    for line in (
        "link set lo up",
        "link add eth0 type veth peer name underlay",
        "address add 10.0.0.101/24 dev eth0",
        "link set eth0 up",
    ):
        subprocess.run(("ip", *line.split()), check=True, timeout=10)
    job = folder / "job"
    job.mkdir()
    certificates = make_certificates(job)
    with PolicyServer(certificates, Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)).serving() as server:
        files = Files.below(job)
        write_vpa_config(files, url=server.url, certificates=certificates)
        other = {"nft": "legacy", "legacy": "nft"}[backend]
        silk = Silk(iptables=Iptables(backend=backend, run=run), groups=SHOP.groups)
        cell = Cell(files=files, silk=silk, other=Iptables(backend=other, run=run), server=server)
        for instance in SHOP.instances:
            cell.create(instance)
        client = _configure(job)
        with _container(job, folder / "log") as log:
            _until_ready(log)
            _is_confined()
            _answers_root()
            metrics = _metrics(client)
    assert f'backend="{backend}"' in metrics
    assert re.search(r'^c2c_auditor_audits_total\{result="clean"\} [1-9]', metrics, re.MULTILINE)
    sources = dict(re.findall(r'^c2c_auditor_source_up\{source="(\w+)"\} (\S+)', metrics, re.MULTILINE))
    assert {"rules", "policy_server", "store", "vpa_config"} <= set(sources)
    assert set(sources.values()) == {"1.0"}
    assert re.search(r'^c2c_auditor_flows\{actual="allow",intended="allow"\} [1-9]', metrics, re.MULTILINE)
    found = [
        line for line in metrics.splitlines() if line.startswith("c2c_auditor_findings{") and not line.endswith(" 0.0")
    ]
    assert found == []


def _configure(job: Path) -> ssl.SSLContext:
    """The job's configuration, all paths as they are inside; what a client needs."""
    ca = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(job / "server.crt"))
    leaf.private_key_pem.write_to_path(str(job / "server.key"))
    ca.cert_pem.write_to_path(str(job / "clients.crt"))
    server = {
        "port": 9763,
        "health_port": 9764,
        "socket": "/tmp/agent.sock",  # noqa: S108 - of the container's own
        "tls": {"certificate": "server.crt", "key": "server.key", "client_ca": "clients.crt"},
    }
    server["tls"] = {name: f"/mnt/job/{file}" for name, file in dict(server["tls"]).items()}  # type: ignore[call-overload]  # a literal, three lines up
    settings = {"vpa_config": "/mnt/job/vxlan-policy-agent.json", "interval": 0.5, "processes": False, "server": server}
    (job / "config.json").write_text(json.dumps(settings))
    vpa = job / "vxlan-policy-agent.json"
    vpa.write_text(vpa.read_text().replace(str(job), "/mnt/job"))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    ca.issue_cert("scraper").configure_cert(context)
    return context


@contextmanager
def _container(job: Path, log: Path) -> Iterator[Path]:
    """The agent in its container; gone with it whatever happens."""
    environment = {
        **BARE,
        "STAGED": str(staged()),
        "PACKAGING": str(PACKAGING),
        "JOB": str(job),
        "OPEN_FILES": str(_limit("open_files")),
    }
    command = (
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--uts",
        "--ipc",
        "--mount-proc",
        "bash",
        "-c",
        CONTAINER,
    )
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield log
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_ready(log: Path) -> None:
    for _ in turns(pause=0.1):
        try:
            connection = HTTPConnection("127.0.0.1", 9764, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            continue
    pytest.fail(f"never ready: {log.read_text()[-3000:]}")


def _is_confined() -> None:
    """The auditing process holds the two capabilities and no other, the listening one none; neither is root.

    Threads are as few as the job allows.
    """
    held, threads = [], 0
    network = Path("/proc/self/ns/net").readlink()
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            if (status.with_name("ns") / "net").readlink() != network:
                continue  # another test's, which may just have begun
            if b'"/mnt/package/lib"' not in status.with_name("cmdline").read_bytes():
                continue
        except OSError:
            continue
        assert re.search(r"^Uid:\s+65534\s", text, re.MULTILINE)
        threads += int(re.findall(r"^Threads:\s+(\d+)", text, re.MULTILINE)[0])
        held.append(int(re.findall(r"^CapEff:\s+(\w+)", text, re.MULTILINE)[0], 16))
    net_admin, net_raw = 1 << 12, 1 << 13
    assert set(held) == {0, net_admin | net_raw}  # a child that is about to run iptables counts as its parent
    assert threads <= _limit("process")


def _answers_root() -> None:
    """Root on the machine opens the socket in the job's directory for temporary files, and needs no certificate."""
    sockets = []
    network = Path("/proc/self/ns/net").readlink()
    for root in Path("/proc").glob("[0-9]*/root"):
        with contextlib.suppress(OSError):  # a process that has ended
            here = (root.with_name("ns") / "net").readlink() == network  # and not another test's
            if here and stat.S_ISSOCK((root / "tmp" / "agent.sock").stat().st_mode):
                sockets.append(root / "tmp" / "agent.sock")
    assert sockets
    assert ask(sockets[0], "/status").startswith("CLEAN")


def _limit(name: str) -> int:
    """What the job lets bpm limit, unless an operator says otherwise."""
    return int(job_of("c2c_auditor").properties[f"c2c_auditor.bpm.{name}_limit"]["default"])


def _metrics(client: ssl.SSLContext) -> str:
    connection = HTTPSConnection("127.0.0.1", 9763, context=client, timeout=10)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()
