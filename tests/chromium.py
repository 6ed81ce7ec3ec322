"""A page in headless Chromium, off the network, with all that goes wrong in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import absent

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
WAIT = 120_000
"""Milliseconds that anything in a page may take, on a machine with much else to do."""


@dataclass
class Seen:
    """A page and what it said, asked for and ran into."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def script(self, text: str, argument: Any = None) -> Any:
        """The value of a JavaScript function or expression in the page."""
        return self.page.evaluate(text, argument)

    def press(self, chart: str, mark: Any) -> None:
        """A click on a mark of a chart, as a hand does it: first the pointer comes to lie there,
        and the chart says what is below it."""
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x + 1, y)
        self.page.mouse.move(x, y)
        self.page.wait_for_selector(f"{chart} .hoverlayer .hovertext")
        self.page.wait_for_timeout(60)  # plotly looks at the pointer so many times a second
        self.page.mouse.click(x, y)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser; without it or its driver a test skips, in CI it fails."""
    program = shutil.which("chromium")
    if program is None:
        absent("chromium is not installed")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        absent("playwright is not installed")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, path: Path, *, width: int = 1280, dark: bool = False) -> Iterator[Seen]:
    """A file of this machine as a page that has drawn itself."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
        offline=True, accept_downloads=True,
    )  # fmt: skip
    context.set_default_timeout(WAIT)
    page = context.new_page()
    seen = Seen(page)
    page.on("console", lambda said: said.type in ("error", "warning") and seen.errors.append(
        said.text))  # fmt: skip
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", lambda dialog: (seen.errors.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=WAIT)
    yield seen
    context.close()
