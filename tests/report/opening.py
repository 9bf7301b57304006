"""Pages in Chromium, opened from disk and without a network."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("DISSENSUS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: run scripts/install-browser or set DISSENSUS_CHROMIUM"),
]
DESK = {"width": 1200, "height": 900}


class Seen:
    """What a page did that it should not have done."""

    def __init__(self, page):
        self.wrong = []
        page.on("console", lambda message: self.wrong.append(("console", message.text)))
        page.on("pageerror", lambda error: self.wrong.append(("error", str(error))))
        page.on("dialog", lambda dialog: (self.wrong.append(("dialog", dialog.message)), dialog.dismiss()))
        page.on("popup", lambda _: self.wrong.append(("popup", "")))
        page.on("request", lambda request: self.wrong.append(("request", request.url[:200])))


@contextlib.contextmanager
def opened(browser, path: Path, **settings):
    """Give the page of a file, in a window of its own."""
    context = browser.new_context(**{"offline": True, "viewport": DESK, **settings})
    try:
        page = context.new_page()
        page.seen = Seen(page)
        page.goto(path.as_uri())
        yield page
    finally:
        context.close()
