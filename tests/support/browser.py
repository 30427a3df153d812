"""A headless Chromium, driven over WebDriver (chromedriver speaks it as JSON over HTTP)."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

_TRIES = 150
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name of WebDriver's reference to an element
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",  # as on a telephone; with them a picture of the whole page lacks their width
    "--force-color-profile=srgb",
)


class Browser:
    """One window."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    def start(self, profile: Path) -> None:
        """Open the window, with a profile of its own."""
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": [*_OPTIONS, f"--user-data-dir={profile}"]},
        }
        made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{made['sessionId']}"

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._call("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - any JSON
        """What a script of the test's own returns; pages have none."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        """Click the first element that fits, and wait for the page behind it."""
        self._call("POST", f"{self._session}/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that fits."""
        self._call("POST", f"{self._session}/element/{self._find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self._call("POST", f"{self._session}/actions", body)

    def look(self, *, width: int, scheme: str) -> None:
        """Show pages ``width`` CSS pixels wide, in the colour scheme ``light`` or ``dark``."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(shot["data"])

    def text(self) -> str:
        """The page's text as people see it."""
        return str(self.run("return document.body.innerText"))

    def close(self) -> None:
        """End the window."""
        if self._session:
            self._call("DELETE", self._session)

    def _find(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _devtools(self, command: str, parameters: object) -> Any:  # noqa: ANN401 - any JSON
        body = {"cmd": command, "params": parameters}
        return self._call("POST", f"{self._session}/goog/cdp/execute", body)

    def _call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        connection = HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            pytest.fail(f"{path}: {value['error']}: {value.get('message', '')[:500]}")
        return value


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose files are in ``folder``. Skips where Debian's chromium and chromium-driver are not installed."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian's packages chromium and chromium-driver)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "chromedriver.log").open("wb") as log:
        driver = subprocess.Popen(("chromedriver", f"--port={port}"), stdout=log, stderr=log)
    window = Browser(port)
    try:
        _await(port, driver)
        window.start(folder / "profile")
        yield window
    finally:
        if driver.poll() is None:
            try:
                window.close()
            finally:
                driver.terminate()
                driver.wait(timeout=30)


def _await(port: int, driver: subprocess.Popen[bytes]) -> None:
    for _ in range(_TRIES):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert driver.poll() is None, "chromedriver ended"
            time.sleep(0.2)
        else:
            return
    pytest.fail("chromedriver did not start")
