"""A real Prometheus and a real Alertmanager with the release's own scrape config, rules and routes, and a pager.

Time may run faster: every duration of the shipped files is divided by ``faster``. A restart of Prometheus takes as
long as it takes, so what bridges one (the time for which a sample or an alert that was sent counts) is as ever.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import frozen

from fleet.cells import addresses
from repo.code import ROOT
from support.erb import parse_yaml, render
from support.prometheus import Prometheus, program, prometheus

OPERATORS = ROOT / "bosh-release" / "manifests" / "operators"
JOB = ROOT / "bosh-release" / "jobs" / "c2c_auditor_alerts"
_PAGER, _ALERTMANAGER = 9999, 9093
RECEIVERS = ("ticket", "pager")
ENDED = "ended"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@frozen(kw_only=True)
class Clock:
    """Durations as the shipped files have them, ``faster`` times shorter."""

    faster: float = 1.0

    def text(self, duration: str) -> str:
        """``2m`` as ``12s``, ten times faster."""
        return f"{max(1000 * self.seconds(duration), 1):.0f}ms"

    def seconds(self, duration: str) -> float:
        """The same in seconds."""
        return float(duration[:-1]) * _UNITS[duration[-1]] / self.faster


class Pager:
    """Counts the notifications that receivers get; those that only tell of an end count as ``ENDED``."""

    def __init__(self) -> None:
        self.notified: Counter[str] = Counter()

    def taken(self) -> Counter[str]:
        """The count since the last call."""
        counted, self.notified = self.notified, Counter()
        return counted

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Take notifications in a thread of its own for as long as the block lasts."""
        pager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                firing = any(alert["status"] == "firing" for alert in told["alerts"])
                pager.notified[self.path.strip("/") if firing else ENDED] += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own signature
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", _PAGER), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def _operations(name: str) -> list[dict[str, Any]]:
    text = (OPERATORS / name).read_text().replace("((metrics_environment))", "lab")
    for place, receiver in zip(("receiver", "critical_receiver"), RECEIVERS, strict=True):
        text = text.replace(f"((c2c_auditor_{place}))", receiver)
    operations: list[dict[str, Any]] = parse_yaml(text)
    return operations


def _scrape_config(directory: Path, cells: int, clock: Clock) -> Mapping[str, Any]:
    (config,) = (one["value"] for one in _operations("monitor-c2c-auditor.yml") if "scrape_configs" in one["path"])
    labels = {"__meta_bosh_deployment": "cf", "__meta_bosh_job_process_name": "c2c_auditor"}
    targets = directory / "bosh_target_groups.json"
    targets.write_text(json.dumps([{"targets": addresses(cells), "labels": labels}]))
    plain = {name: value for name, value in config.items() if name != "tls_config"}
    interval = clock.text(config["scrape_interval"])
    timeout = {"scrape_interval": interval, "scrape_timeout": interval}
    return {**plain, **timeout, "scheme": "http", "file_sd_configs": [{"files": [str(targets)]}]}


def _rules(clock: Clock) -> str:
    spec = parse_yaml((JOB / "spec").read_text())["properties"]
    times = {
        name: clock.text(one["default"])
        for name, one in spec.items()
        if name.endswith(("_time", "evaluation_interval"))
    }
    rates = f"[{clock.text('5m')}]"
    return render(JOB, given=times).files["c2c_auditor.alerts.yml"].replace("[5m]", rates)


def _alertmanager_config(clock: Clock) -> Mapping[str, Any]:
    operations = _operations("alertmanager-c2c-auditor.yml")
    (route,) = (one["value"] for one in operations if one["path"].endswith("/routes?/-"))
    times = {name: clock.text(value) for name, value in route.items() if name.endswith(("_wait", "_interval"))}
    return {
        "route": {"receiver": RECEIVERS[0], "routes": [{**route, **times}]},
        "receivers": [
            {"name": name, "webhook_configs": [{"url": f"http://127.0.0.1:{_PAGER}/{name}"}]} for name in RECEIVERS
        ],
        "inhibit_rules": [one["value"] for one in operations if "inhibit_rules" in one["path"]],
    }


@contextmanager
def alertmanager(directory: Path, clock: Clock) -> Iterator[None]:
    """Alertmanager with the shipped routes; every receiver is the pager, at a path of its own."""
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    assert binary is not None, "alertmanager is missing (Debian package prometheus-alertmanager)"
    (directory / "alertmanager.json").write_text(json.dumps(_alertmanager_config(clock)))
    command = (
        binary,
        f"--config.file={directory / 'alertmanager.json'}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{_ALERTMANAGER}",
        "--cluster.listen-address=",
        "--log.level=warn",
    )
    with program(command, directory / "alertmanager.log"):
        yield


@contextmanager
def watching(
    directory: Path, cells: int, clock: Clock, more: Sequence[Mapping[str, Any]] = (), *, retention: str = "1h"
) -> Iterator[Prometheus]:
    """Prometheus over ``cells`` cells; started again in the same directory it goes on with what it had.

    ``more`` are further scrape configs.
    """
    (directory / "c2c_auditor.alerts.yml").write_text(_rules(clock))
    config = {
        "rule_files": [str(directory / "c2c_auditor.alerts.yml")],
        "scrape_configs": [_scrape_config(directory, cells, clock), *more],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{_ALERTMANAGER}"]}]}]},
    }
    with prometheus(directory, config, retention=retention) as running:
        yield running
