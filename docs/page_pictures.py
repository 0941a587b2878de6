"""Makes the pictures of docs/page.md from a running server: `make page-pictures`.

The server serves the stored models, which must include `housing`; the browser is Debian's Chromium, as in
tests/browser.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PORT = 3917
ADDRESS = f"http://127.0.0.1:{PORT}"
WAIT_S = 120
REQUESTS = 200  # sent while a view is open, so that the Live view shows counts
PICTURES = {
    "page-try": ("#/try/housing?focus=MedInc", ".waterfall", 1060),
    "page-versions": ("#/versions/housing", "table", 760),
    "page-live": ("#/live/housing", "svg", 900),
}
"""By file name: the view, an element that appears when the view is complete, and the height of the picture."""


def main() -> None:
    with running_server(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, (view, complete, height) in PICTURES.items():
            page = browser.new_page(viewport={"width": 1240, "height": height})
            page.goto(f"{ADDRESS}/{view}")
            page.locator(complete).first.wait_for(timeout=WAIT_S * 1000)
            send_predictions(page)
            save_screenshot(page, name)
            page.close()
        browser.close()


@contextmanager
def running_server() -> Iterator[None]:
    """Start a server that serves the stored models, and stop it afterwards."""
    command = [sys.executable, "-m", "service", "--port", str(PORT)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TABSERVE_WORKERS": "1"}, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the server does not start; are there models? (make serve)")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(WAIT_S)


def send_predictions(page: Page) -> None:
    """Send prediction requests for a few seconds."""
    row = page.request.get(f"{ADDRESS}/models/housing").json()["examples"][0]["row"]
    for number in range(REQUESTS):
        page.request.post(f"{ADDRESS}/predict/housing", data={"rows": [row | {"HouseAge": 1 + number % 50}]})
        page.wait_for_timeout(30)


def is_ready() -> bool:
    try:
        with urlopen(f"{ADDRESS}/readyz", timeout=5):
            return True
    except OSError:
        return False


def save_screenshot(page: Page, name: str) -> None:
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(ROOT / "docs/pictures" / f"{name}.webp", quality=80, method=6)
    print(f"docs/pictures/{name}.webp")


if __name__ == "__main__":
    main()
