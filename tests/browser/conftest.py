"""A live server, a real Chromium, and a page that fails its test on any error it reports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.chromium import HELP, find
from tests.browser.complete import complete

ROOT = Path(__file__).parents[2]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--process-per-site",  # Plotly's script, compiled by one page, is there for the next
]
# What Playwright switches off, which this replaces, and compiling a script while it is read: that
# compiles Plotly anew for every page, where else the process has it from the page before.
OFF = """AimEnabled AvoidCorsURLLoaderRestartOnRedirect AvoidUnnecessaryBeforeUnloadCheckSync
  DestroyProfileOnBrowserClose HttpsFirstBalancedModeAutoEnable HttpsUpgrades LensOverlay
  MediaRouter NetworkTimeServiceQuerying OptimizationHints PaintHolding PreconnectToSearch
  ThirdPartyStoragePartitioning ScriptStreaming"""
HERE_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
SECONDS_TO_START = 120
LONGEST_WAIT = (
    30_000  # ms; a machine that is busy takes longer, and a test that passes does not wait
)
expect.set_options(timeout=LONGEST_WAIT)

Explore = Callable[..., Page]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{url}/readyz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"no server at {url}: exit code {process.poll()}", pytrace=False)


@pytest.fixture(scope="session")
def server(cache_home: Path) -> Iterator[str]:
    """The address of our app, in a process of its own."""
    port = free_port()
    env = os.environ | {"HOST": "127.0.0.1", "PORT": str(port), "XDG_CACHE_HOME": str(cache_home)}
    command = [sys.executable, "-m", "attention_atlas.app"]
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = find(playwright.chromium.executable_path) or pytest.fail(HELP, pytrace=False)
        args = [*QUIET, HERE_ALONE, f"--disable-features={','.join(OFF.split())}"]
        browser = playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


@pytest.fixture
def setting() -> dict[str, object]:
    """What the browser is like; a test says otherwise by parametrizing it."""
    return {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}


class Contexts:
    """One browser context for each setting, for the whole session.

    A new context fetches and compiles every script again, which takes three times as long as
    drawing a page. Chromium keeps what is compiled as long as a page of the context is open.
    """

    def __init__(self, browser: Browser, server: str) -> None:
        self.browser, self.server = browser, server
        self.kept: dict[str, tuple[BrowserContext, Page]] = {}
        self.clearing: dict[BrowserContext, CDPSession] = {}

    def lend(self, setting: dict[str, object]) -> BrowserContext:
        key = json.dumps(setting, sort_keys=True)
        if key not in self.kept:
            waiting = {"bypass_csp": True} | setting  # wait_for_function evaluates a string
            context = self.browser.new_context(base_url=self.server, **waiting)  # type: ignore[arg-type]
            context.set_default_timeout(LONGEST_WAIT)
            self.kept[key] = context, context.new_page()
            self.kept[key][1].goto("/healthz")
            self.clearing[context] = context.new_cdp_session(self.kept[key][1])
        return self.kept[key][0]

    def clean(self, context: BrowserContext) -> None:
        """Leave nothing of a test to the next one but the cache of the network."""
        kept = next(page for known, page in self.kept.values() if known is context)
        for page in context.pages:
            if page is not kept:
                page.close()
        context.unroute_all()
        context.set_offline(False)
        context.clear_permissions()
        context.clear_cookies()
        clear = {"origin": self.server, "storageTypes": "all"}
        self.clearing[context].send("Storage.clearDataForOrigin", clear)


@pytest.fixture(scope="session")
def contexts(browser: Browser, server: str) -> Contexts:
    return Contexts(browser, server)


@pytest.fixture
def context(contexts: Contexts, setting: dict[str, object]) -> Iterator[BrowserContext]:
    context = contexts.lend(setting)
    yield context
    contexts.clean(context)


def complaints_of(page: Page, server: str) -> list[str]:
    """What the page does wrong from now on: errors, dialogs, missing files, requests elsewhere.

    Chromium finds no other host, and logs each file that is refused: to listen to every request and
    its answer would take a tenth of a test's time.
    """
    complaints: list[str] = []

    def on_failed(request: Request) -> None:
        if not request.url.startswith((server, "data:", "blob:")):
            complaints.append(f"asked another host: {request.url}")

    def on_console(message: ConsoleMessage) -> None:
        # Whether the API should refuse a request is the test's part.
        is_answer = "Failed to load resource" in message.text
        is_ours = not is_answer or "/static/" in message.location["url"]
        if message.type == "error" and is_ours:
            complaints.append(f"{message.text} {message.location['url']}")

    page.on("pageerror", lambda error: complaints.append(f"page error: {error.stack}"))
    page.on("console", on_console)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("requestfailed", on_failed)
    return complaints


@pytest.fixture
def page(context: BrowserContext, server: str) -> Iterator[Page]:
    """A page that must not report an error, nor ask another host for anything."""
    page = context.new_page()
    complaints = complaints_of(page, server)
    yield page
    assert complaints == []


@pytest.fixture
def explore(page: Page) -> Explore:
    """Open the explorer at a query, and wait for its picture."""

    def open_at(**query: object) -> Page:
        page.goto(f"/explore?{urlencode(query)}")
        return complete(page)

    return open_at


HOLD = """([path, n]) => {
  const plain = globalThis.fetch;
  const opened = new Promise((resolve) => { globalThis.release = resolve; });
  globalThis.fetch = async (url, options) => {
    const response = await plain(url, options);
    if (!`${url}`.includes(path)) return response;
    globalThis.fetch = plain; // the next one is not held
    let rest = "", passed = 0;
    const gate = new TransformStream({async transform(text, out) {
      const events = (rest + text).split("\\n\\n");
      rest = events.pop();
      for (const event of events) {
        if (passed++ === n) await opened;
        out.enqueue(`${event}\\n\\n`);
      }
    }});
    const body = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(gate)
      .pipeThrough(new TextEncoderStream());
    return new Response(body, response);
  };
}"""


@pytest.fixture
def hold(page: Page) -> Callable[[str, int], None]:
    """Let n events of the next answer of a resource through; the rest waits for release()."""
    return lambda path, n: page.evaluate(HOLD, [path, n])
