"""A real headless Chromium with its fake camera, driven through chromedriver's plain HTTP interface (W3C WebDriver)."""

import base64
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

MISSING = next((f"{name} is not installed" for name in ("chromium", "chromedriver") if shutil.which(name) is None), None)

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--window-size=412,915",
)


class Browser:
    """One window."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client = client
        self._session = session

    def open(self, address: str) -> None:
        self._ask("url", {"url": address})

    def before_every_page(self, script: str) -> None:
        """Run a script in every page that is opened from now on, before the page's own."""
        self.order("Page.addScriptToEvaluateOnNewDocument", source=script)

    def run(self, script: str) -> Any:
        """Run a script in the page; what it returns comes back."""
        return self._ask("execute/sync", {"script": script, "args": []})

    def text(self, identity: str) -> str:
        return str(self.run(f"return document.getElementById({identity!r}).textContent"))

    def seen(self) -> str:
        """Return all the text that the page shows."""
        return str(self.run("return document.body.innerText"))

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other."""
        for key in keys:
            strokes = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
            self._ask("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def until(self, script: str) -> Any:
        """Run a script until what it returns is true, and return that."""
        until_s = time.monotonic() + 30
        while not (value := self.run(script)):
            assert time.monotonic() < until_s, f"{script!r} never was; the page says:\n{self.seen()}"
            time.sleep(0.02)
        return value

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait for something outside the page, such as a file that it downloads."""
        until_s = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < until_s, f"it never was; the page says:\n{self.seen()}"
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.order("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, **features: str) -> None:
        """Let the person in front of the window prefer things, such as `prefers_reduced_motion="reduce"`."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.order("Emulation.setEmulatedMedia", features=named)

    def spoken(self, roles: set[str]) -> list[tuple[str, str]]:
        """Return (role, name) of the elements of these roles, as a screen reader is told them."""
        tree = self.order("Accessibility.getFullAXTree")["nodes"]
        nodes = [node for node in tree if not node["ignored"] and node["role"]["value"] in roles]
        return [(node["role"]["value"], node["name"]["value"].strip()) for node in nodes]

    def order(self, command: str, **parameters: Any) -> Any:
        """Give a command of the Chrome DevTools Protocol."""
        return self._ask("goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("screenshot")))

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> Any:
        address = f"/session/{self._session}/{what}"
        answer = self._client.get(address) if body is None else self._client.post(address, json=body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value


@contextmanager
def open_browser(profile: Path, camera: Sequence[str] = ()) -> Iterator[Browser]:
    """Start Chromium with an empty profile; `camera` are the options of its fake camera."""
    options = [*_OPTIONS, f"--user-data-dir={profile}", *(camera or ["--use-fake-device-for-media-stream=fps=30"])]
    wish = {"browserName": "chrome", "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": options}}
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert driver.stdout is not None
    try:
        port = next(found[1] for line in driver.stdout if (found := re.search(r"started successfully on port (\d+)", line)))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            answer = client.post("/session", json={"capabilities": {"alwaysMatch": wish}}).json()["value"]
            assert "sessionId" in answer, answer
            try:
                yield Browser(client, answer["sessionId"])
            finally:
                client.delete(f"/session/{answer['sessionId']}")
    finally:
        driver.terminate()
        driver.wait(10)
        driver.stdout.close()
