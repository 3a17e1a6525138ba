"""Pictures of the web page for the README, taken in a headless Chromium.

    cfnsr serve --model models:/cfn-sr@challenger
    python docs/page_screenshots.py CLIP

The browser: `apt-get install chromium`; what drives it is in requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).with_name("images")
SIZES = {"serve-desktop": (1280, 900), "serve-phone": (390, 844)}
SETTLE = 1500  # ms for the player to show its picture


def take(browser: Browser, url: str, clip: Path, name: str) -> None:
    """Send a clip, wait for the answer, go to the clip's middle and write docs/images/<name>.png."""
    width, height = SIZES[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.goto(url)
    page.locator("#player input[type=file]").wait_for(state="attached")
    page.set_input_files("#player input[type=file]", clip)
    page.locator("#answer .headline").wait_for(timeout=120_000)
    track = page.locator("#over-time .track")
    track.click()
    page.mouse.move(0, 0)  # the player hides its buttons
    page.wait_for_timeout(SETTLE)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
    page.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    wanted = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in SIZES:
            take(browser, wanted.url, wanted.clip, name)
        browser.close()


if __name__ == "__main__":
    main()
