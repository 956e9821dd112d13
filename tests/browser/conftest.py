"""Debian's Chromium, headless, with nothing kept between tests; and a SMART app on an origin of its own."""

import fcntl
import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or ""
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")  # fmt: skip
APP = Path(__file__).parent / "app"

PATIENCE = 60_000
"""Milliseconds: what does not come within them never comes."""
expect.set_options(timeout=PATIENCE)

needs_chromium = pytest.mark.skipif(
    "CI" not in os.environ and not CHROMIUM, reason="Chromium is not installed (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a file: while it is there, nothing else can run an event loop in this thread."""
    assert CHROMIUM, "Chromium is not installed: apt-get install chromium"
    with (
        sync_playwright() as tools,
        tools.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS), timeout=2 * PATIENCE) as browser,
    ):
        yield browser


@pytest.fixture
def browser_context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies."""
    with chromium.new_context() as context:
        context.set_default_timeout(PATIENCE)
        yield context


@pytest.fixture
def page(browser_context: BrowserContext) -> Page:
    """An empty tab."""
    return browser_context.new_page()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test that fails says what it missed."""


@pytest.fixture(scope="session")
def app() -> Iterator[str]:
    """The address of the app, which is served as it would be from a web server of its own."""
    lock, ready = APP / "package-lock.json", APP / "node_modules" / ".package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of several processes that test, one installs
        if not ready.exists() or ready.stat().st_mtime < lock.stat().st_mtime:
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=APP, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(APP)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
