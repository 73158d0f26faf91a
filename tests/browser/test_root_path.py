"""The app behind a proxy that serves it below /atlas, and has other things beside it."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ROOT, free_port, wait_until_ready

PREFIX = "/atlas"
HOP = ("connection", "transfer-encoding", "content-length")


class Proxy(BaseHTTPRequestHandler):
    """Strips the prefix; what is asked for outside of it is noted, and there is nothing."""

    port = 0
    outside: list[str] = []

    def do_GET(self) -> None:
        if not self.path.startswith(PREFIX):
            self.outside.append(self.path)
            self.send_error(404)
            return
        self.close_connection = True
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with closing(upstream), suppress(ConnectionError):  # a browser that goes on to another page
            self.hand_on(upstream)

    def hand_on(self, upstream: http.client.HTTPConnection) -> None:
        n = int(self.headers.get("content-length", 0))
        path = self.path.removeprefix(PREFIX) or "/"
        upstream.request(self.command, path, self.rfile.read(n), dict(self.headers))
        answer = upstream.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.end_headers()
        while part := answer.read1(65536):
            self.wfile.write(part)
            self.wfile.flush()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def below(cache_home: Path) -> Iterator[str]:
    """The address of the app as the proxy has it."""
    Proxy.port = free_port()
    env = os.environ | {"HOST": "127.0.0.1", "PORT": str(Proxy.port), "ROOT_PATH": PREFIX}
    command = [sys.executable, "-m", "attention_atlas.app"]
    process = subprocess.Popen(command, cwd=ROOT, env=env | {"XDG_CACHE_HOME": str(cache_home)})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    try:
        wait_until_ready(f"http://127.0.0.1:{Proxy.port}", process)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}{PREFIX}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def visited(browser: Browser, below: str) -> Iterator[Page]:
    """A page with its policy enforced, that asks for nothing outside the prefix."""
    Proxy.outside.clear()
    complaints: list[str] = []
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"{error.stack}"))
        page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
        yield page
        assert complaints == [] and Proxy.outside == []


def addresses(page: Page) -> list[str]:
    """Where the links of a page lead."""
    resolved = "(a) => new URL(a.getAttribute('href') ?? a.action, document.baseURI).href"
    return page.eval_on_selector_all("a[href], form[action]", f"all => all.map({resolved})")


def test_a_reader_goes_from_page_to_page(visited: Page, below: str) -> None:
    page = visited
    page.goto(f"{below}/")
    page.locator("a[data-page='/explore']:visible").click()
    page.locator("#picture[aria-busy=false]").wait_for()
    page.locator("#heads[aria-busy=false]").wait_for()
    page.locator("textarea[name=text]").fill("A bank by the river")
    expect(page).to_have_url(re.compile(rf"^{re.escape(below)}/explore\?.*river"))
    page.locator("#picture[aria-busy=false]").wait_for()
    assert all(each.startswith(below) for each in addresses(page))
    page.reload()
    expect(page.locator("textarea[name=text]")).to_have_value("A bank by the river")
    page.locator("a[data-page='/learn']:visible").click()
    page.locator(".chapter-steps a").first.click()
    expect(page).to_have_url(re.compile(rf"^{re.escape(below)}/learn/"))
    assert all(each.startswith(below) for each in addresses(page))


@pytest.mark.parametrize(
    "path",
    [
        "compare",
        "translate",
        "generate",
        "fill",
        "classify",
        "attention",
        "masks",
        "positions",
        "models/bert",
    ],
)
def test_every_page_works_below_the_prefix(visited: Page, below: str, path: str) -> None:
    visited.goto(f"{below}/{path}")
    visited.wait_for_load_state("networkidle")
    assert all(each.startswith(below) for each in addresses(visited))


def test_old_addresses_and_the_documentation(visited: Page, below: str) -> None:
    visited.goto(f"{below}/arithmetic?text=a")
    expect(visited).to_have_url(re.compile(rf"^{re.escape(below)}/attention\?"))
    visited.goto(f"{below}/docs")
    expect(visited.locator("#swagger .opblock").first).to_be_visible()
