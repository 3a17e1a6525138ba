"""Pictures of the MLflow and the Prefect pages for the README, taken in a headless Chromium.

    python docs/screenshots.py --mlflow http://127.0.0.1:5000 --prefect http://127.0.0.1:4200

Shows what the two servers have: after `make up`, a flow run and a promotion. The browser: `apt-get install chromium`.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import connect

IMAGES = Path(__file__).with_name("images")
DEADLINE = 60  # s for a page to show what it should
SETTLE = 3  # s for it to draw the rest
WIDTH = 1500  # pixels

# Buttons of MLflow's pages.
CLOSE_ASSISTANT = "[data-component-id='mlflow.assistant.chat_panel.close']"
SHOW_CHILDREN = "[data-component-id*='runnamecellrenderer']"


class Page:
    """A page of a browser, over the DevTools protocol.

    Args:
        debugger: the page's address there.
    """

    def __init__(self, debugger: str) -> None:
        self._socket = connect(debugger, max_size=None)
        self._number = 0

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=DEADLINE))).get("id") != self._number:
            pass  # an event
        return answer["result"]

    def _is(self, expression: str) -> bool:
        return bool(self._call("Runtime.evaluate", expression=f"!!({expression})")["result"].get("value"))

    def take(self, name: str, url: str, height: int, text: str, clicks: Sequence[str] = ()) -> None:
        """Open a page, wait for a text, click buttons (CSS selectors) and write docs/images/<name>.png."""
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url=url)
        _until(lambda: self._is(f"document.body && document.body.innerText.includes({json.dumps(text)})"), url)
        for selector in clicks:
            button = f"document.querySelector({json.dumps(selector)})"
            _until(partial(self._is, button), url)
            self._is(f"{button}.click()")
        time.sleep(SETTLE)
        picture = self._call("Page.captureScreenshot", format="png")["data"]
        (IMAGES / f"{name}.png").write_bytes(base64.b64decode(picture))


@contextmanager
def browser() -> Iterator[Page]:
    """A headless Chromium with one empty page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-allow-origins=*"]
        command = ["chromium", *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = Path(profile, "DevToolsActivePort")
            _until(lambda: port_file.exists() and bool(port_file.read_text()), "chromium")
            found = requests.get(f"http://127.0.0.1:{port_file.read_text().split()[0]}/json", timeout=DEADLINE).json()
            yield Page(next(page["webSocketDebuggerUrl"] for page in found if page["type"] == "page"))
        finally:
            process.terminate()
            process.wait()


def _until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not show what it should")
        time.sleep(0.2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", default="http://127.0.0.1:5000")
    parser.add_argument("--prefect", default="http://127.0.0.1:4200")
    servers = parser.parse_args()
    by_name = f"{servers.mlflow}/api/2.0/mlflow/experiments/get-by-name"
    experiment = requests.get(by_name, params={"experiment_name": "cfn-sr"}, timeout=DEADLINE).json()["experiment"]
    newest = {"sort": "START_TIME_DESC", "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "limit": 1}
    (flow_run,) = requests.post(f"{servers.prefect}/api/flow_runs/filter", json=newest, timeout=DEADLINE).json()
    runs = f"{servers.mlflow}/#/experiments/{experiment['experiment_id']}/runs"
    with browser() as page:
        page.take("mlflow-runs", runs, 560, "matching runs", [CLOSE_ASSISTANT, SHOW_CHILDREN])
        page.take("mlflow-model", f"{servers.mlflow}/#/models/cfn-sr", 640, "champion")
        page.take("prefect-flow-run", f"{servers.prefect}/runs/flow-run/{flow_run['id']}", 860, "Task Runs")


if __name__ == "__main__":
    main()
