"""The built site, served on loopback, in a Chromium that can reach nothing else."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
SHOTS = ROOT / "_build" / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
HOST = "127.0.0.1"  # the only one that the browser finds


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site():
    """Address of the site on a free port of 127.0.0.1."""
    if not (SITE / "index.html").exists():
        pytest.fail("the site is not built: make book")
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM.exists():
        pytest.skip("no browser to look at the site: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[
                *("--no-sandbox", "--disable-background-networking", "--disable-component-update"),
                f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
            ],
        )
        yield browser
        browser.close()


class Visit:
    """A page, and what it asked for and complained about on its way.

    Nobody stands between it and the site: a page that is opened again takes from the browser's
    cache what a reader's would.
    """

    def __init__(self, browser, site, width, scheme):
        self.site = site
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.foreign, self.failed, self.complaints, self.responses = [], [], [], []
        self.page.on("request", self._look)
        self.page.on("response", lambda r: self.responses.append(r))
        self.page.on("response", lambda r: r.status >= 400 and self.failed.append(r.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))

    def _look(self, request):
        if not request.url.startswith((f"{self.site}/", "data:", "blob:")):
            self.foreign.append(request.url)

    def open(self, address, until="networkidle"):
        """Until "domcontentloaded" is quickest; formulas are set only before "networkidle"."""
        if self.page.url != "about:blank":  # from a section to another of its page is no visit
            self.page.goto("about:blank")
        self.page.goto(f"{self.site}/{address}", wait_until=until)
        return self.page


@pytest.fixture
def visit(browser, site):
    """Make visits; each is closed at the end of its test."""
    made = []

    def make(width=1280, scheme="light"):
        made.append(Visit(browser, site, width, scheme))
        return made[-1]

    yield make
    for one in made:
        one.context.close()


@pytest.fixture
def blank(browser):
    """A page that shows nothing yet and reaches nobody."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    yield context.new_page()
    context.close()
