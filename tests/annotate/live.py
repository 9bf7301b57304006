"""The app on a real port, and people in real browsers."""

import contextlib
import os
import shutil
import threading
import time

import pytest
import uvicorn

from dissensus.annotate.config import Listening
from dissensus.annotate.web.app import create_app
from dissensus.annotate.web.serve import open_socket, settings

CHROMIUM = os.environ.get("DISSENSUS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: run scripts/install-browser or set DISSENSUS_CHROMIUM"),
]
PHONE = {"width": 360, "height": 740}
_NOT_BY_THE_CLOCK = "const own = window.setInterval; window.setInterval = (work, wait) => own(work, wait / 10);"
"""Pages look again by themselves every few seconds: here ten times as often."""
LAPTOP = {"width": 1280, "height": 720}


@contextlib.contextmanager
def served(project, listening=Listening(port=0)):  # noqa: B008 (frozen)
    """Yield the origin under which a project is served."""
    taken, hosts = open_socket(listening)
    with taken:
        more = {"ssl_certfile": listening.tls_cert, "ssl_keyfile": listening.tls_key}
        server = uvicorn.Server(settings(create_app(project.store, hosts=hosts), **more))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield hosts.origin
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


class Seen:
    """What a page did that it should not have done."""

    def __init__(self, page, origin):
        self.wrong = []
        self.expected = ()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(("error", str(error))))
        page.on("dialog", lambda dialog: (self.wrong.append(("dialog", dialog.message)), dialog.dismiss()))
        page.on("popup", lambda _: self.wrong.append(("popup", "")))
        page.on("request", lambda request: self._request(request, origin))

    def _console(self, message):
        # Browsers report every refused request here; the tests look at what becomes of those.
        if "Failed to load resource" not in message.text:
            self.wrong.append(("console", message.text))

    def _request(self, request, origin):
        if not request.url.startswith((f"{origin}/", "data:")):
            self.wrong.append(("request", request.url[:200]))


@contextlib.contextmanager
def person(browser, origin, project, name, *, reads=True, **settings):
    """Yield the page of somebody who was just signed in by their link and, unless told otherwise, read the guide."""
    context = browser.new_context(**{"viewport": LAPTOP, **settings})
    context.add_init_script(_NOT_BY_THE_CLOCK)
    page = context.new_page()
    page.set_default_timeout(8_000)
    page.seen = Seen(page, origin)
    try:
        token = {"token": project.invite(name)}
        assert context.request.post(f"{origin}/api/session", data=token, headers={"origin": origin}).ok
        page.goto(origin)
        if reads and "/work" in page.url:
            read_guide(page)
        yield page
    finally:
        context.close()


def read_guide(page):
    page.wait_for_selector("#guide[open]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#guide", state="hidden")


def grave(page, *, by_night=True):
    """What axe-core finds that is serious or critical, by day and (of colours) by night."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    if by_night:
        page.emulate_media(color_scheme="dark")
        found += Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
        page.emulate_media(color_scheme="light")
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")]


def until(page, expression, seconds=8):
    """Wait until an expression is true. (Playwright's own way evaluates text in the page, which its policy forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(f"() => {expression}"):
        assert time.monotonic() < end, f"never: {expression}"
        page.wait_for_timeout(10)
