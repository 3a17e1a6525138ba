"""Take the screenshots of docs/images in a headless Chromium.

    python docs/screenshots.py page CLIP      the web page, after `cfnsr serve --model models:/cfn-sr@challenger`
    python docs/screenshots.py servers        MLflow and Prefect, after `make up`, a flow run and a promotion

Needs `apt-get install chromium`; Playwright is among the development requirements.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import requests
from playwright.sync_api import Browser, sync_playwright
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

IMAGES = Path(__file__).with_name("images")
TIMEOUT = 120_000  # ms for a page to show what it should
SETTLE = 3000  # ms for it to draw the rest
PAGE_SIZES = {"serve-desktop": (1280, 900), "serve-phone": (390, 844)}
SERVER_WIDTH = 1500

# Buttons of MLflow's pages.
CLOSE_ASSISTANT = "[data-component-id='mlflow.assistant.chat_panel.close']"
SHOW_CHILDREN = "[data-component-id*='runnamecellrenderer']"


def take_page(browser: Browser, url: str, clip: Path) -> None:
    """Send a clip to the web page, wait for the prediction, and go to the middle of the clip."""
    for name, (width, height) in PAGE_SIZES.items():
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.goto(url)
        page.locator("#player input[type=file]").wait_for(state="attached")
        page.set_input_files("#player input[type=file]", clip)
        page.locator("#answer .headline").wait_for(timeout=TIMEOUT)
        page.locator("#over-time .track").click()
        page.mouse.move(0, 0)  # the player hides its buttons
        page.wait_for_timeout(SETTLE)
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
        page.close()


def take_servers(browser: Browser, mlflow: str, prefect: str) -> None:
    """The newest runs and the registered model in MLflow, and the newest flow run in Prefect."""
    by_name = f"{mlflow}/api/2.0/mlflow/experiments/get-by-name"
    experiment = requests.get(by_name, params={"experiment_name": "cfn-sr"}, timeout=60).json()["experiment"]
    completed = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])))
    with SyncPrefectClient(f"{prefect}/api") as client:
        (flow_run,) = client.read_flow_runs(flow_run_filter=completed, sort=FlowRunSort.START_TIME_DESC, limit=1)
    runs = f"{mlflow}/#/experiments/{experiment['experiment_id']}/runs"
    _take(browser, "mlflow-runs", runs, 560, "matching runs", [CLOSE_ASSISTANT, SHOW_CHILDREN])
    _take(browser, "mlflow-model", f"{mlflow}/#/models/cfn-sr", 640, "champion")
    _take(browser, "prefect-flow-run", f"{prefect}/runs/flow-run/{flow_run.id}", 860, "Task Runs")


def _take(browser: Browser, name: str, url: str, height: int, text: str, clicks: Sequence[str] = ()) -> None:
    page = browser.new_page(viewport={"width": SERVER_WIDTH, "height": height})
    page.goto(url)
    page.get_by_text(text).first.wait_for(timeout=TIMEOUT)
    for selector in clicks:
        page.locator(selector).first.click(timeout=TIMEOUT)
    page.wait_for_timeout(SETTLE)
    page.screenshot(path=IMAGES / f"{name}.png")
    page.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["page", "servers"])
    parser.add_argument("clip", type=Path, nargs="?", help="for `page`")
    parser.add_argument("--page", default="http://127.0.0.1:7860")
    parser.add_argument("--mlflow", default="http://127.0.0.1:5000")
    parser.add_argument("--prefect", default="http://127.0.0.1:4200")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        if arguments.what == "servers":
            take_servers(browser, arguments.mlflow, arguments.prefect)
        elif arguments.clip is None:
            parser.error("page needs a clip")
        else:
            take_page(browser, arguments.page, arguments.clip)
        browser.close()


if __name__ == "__main__":
    main()
