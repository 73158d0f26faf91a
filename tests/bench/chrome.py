"""A server and a Chromium to measure with: a page's time, bytes, nodes, memory and hovers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, Playwright

from tests.browser.chromium import HELP, NAMES, SHELLS, find
from tests.browser.conftest import QUIET, ROOT, free_port, wait_until_ready

WINDOW = {"width": 1440, "height": 900}

# Notes when a condition holds first and, two frames later, what it stands for is on the screen.
DRAWN = """(() => {
  const isDrawn = %s;
  const note = () => { globalThis.drawnAt = performance.now(); };
  const look = () => requestAnimationFrame(() => {
    if (isDrawn()) requestAnimationFrame(() => requestAnimationFrame(note));
    else look();
  });
  look();
})()"""

# From the first event of a pointer's move to the end of the frame that shows what it did.
HOVERS = """() => {
  globalThis.hovers = [];
  let began = null;
  const end = () => {
    hovers.push(performance.now() - began);
    began = null;
  };
  const begin = () => {
    if (began !== null) return;
    began = performance.now();
    requestAnimationFrame(() => {
      const {port1, port2} = new MessageChannel();
      port1.onmessage = end;
      port2.postMessage(null);
    });
  };
  for (const type of ["pointermove", "pointerover", "pointerout"]) {
    addEventListener(type, begin, {capture: true});
  }
}"""

# Where to point: at buttons in sight, far from one another in turn; without them, all over.
PLACES = """([selector, n]) => {
  const view = document.querySelector(selector);
  view.scrollIntoView({block: "nearest"});
  const middle = (el) => {
    const {left, top, width, height} = el.getBoundingClientRect();
    return [left + width / 2, top + height / 2];
  };
  const inSight = (el) => document.elementFromPoint(...middle(el))?.closest("button") === el;
  const places = [...view.querySelectorAll("button")].filter(inSight).map(middle);
  if (places.length > 5) {
    return Array.from({length: n}, (_, i) => places[(i * 7 + (i % 2)) % places.length]);
  }
  const box = (view.querySelector(".nsewdrag") ?? view).getBoundingClientRect();
  const bottom = Math.min(box.bottom, innerHeight);
  return Array.from({length: n}, (_, i) => [
    box.left + box.width * ((i * 0.618) % 1), box.top + (bottom - box.top) * ((i + 0.5) / n)
  ]);
}"""
PAUSE = 90  # ms between moves: Plotly looks at the pointer every 50


@contextmanager
def serving(module: str) -> Iterator[str]:
    """The address of a server in a process of its own: python -m MODULE."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = os.environ | {"HOST": "127.0.0.1", "PORT": str(port)}
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    path = find(playwright.chromium.executable_path, (*NAMES, *SHELLS))  # readers have the former
    if path is None:
        raise SystemExit(HELP)
    browser = playwright.chromium.launch(executable_path=path, args=QUIET)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def empty_cache(browser: Browser) -> Iterator[BrowserContext]:
    """A context of its own: nothing of it was ever fetched."""
    context = browser.new_context(viewport=WINDOW, color_scheme="light")
    try:
        yield context
    finally:
        context.close()


@dataclass
class Tab:
    """A page, its debugging protocol, and the bytes each request took."""

    page: Page
    cdp: CDPSession
    urls: dict[str, str] = field(default_factory=dict)  # of each request, by its id
    received: dict[str, int] = field(default_factory=dict)  # by address, headers counted in

    def sent(self, event: dict[str, Any]) -> None:
        self.urls[event["requestId"]] = event["request"]["url"]

    def finished(self, event: dict[str, Any]) -> None:
        url = self.urls[event["requestId"]]
        self.received[url] = self.received.get(url, 0) + int(event["encodedDataLength"])

    def bytes_of(self, part: str = "") -> int:
        """What came over the wire from addresses with this part."""
        return sum(size for url, size in self.received.items() if part in url)

    def nodes(self) -> int:
        return self.page.evaluate("document.querySelectorAll('*').length")

    def heap(self) -> float:
        """The JavaScript heap after garbage collection, in MB."""
        return self._metric("JSHeapUsedSize", collect=True) / 1e6

    def memory(self) -> float:
        """The heap, what the DOM takes and the buffers of arrays, in MB."""
        usage = self.cdp.send("Runtime.getHeapUsage")
        parts = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
        return sum(usage.get(part, 0) for part in parts) / 1e6

    def script(self) -> float:
        """Milliseconds that scripts have run so far."""
        return self._metric("ScriptDuration") * 1000

    def _metric(self, name: str, *, collect: bool = False) -> float:
        for _ in range(2 * collect):
            self.cdp.send("HeapProfiler.collectGarbage")
        metrics = self.cdp.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == name)


def open_tab(context: BrowserContext, condition: str) -> Tab:
    """A tab that notes when a condition, a function in JavaScript, is true of its page."""
    page = context.new_page()
    page.add_init_script(DRAWN % condition)
    page.on("pageerror", lambda error: sys.stderr.write(f"page error: {error}\n"))
    tab = Tab(page, context.new_cdp_session(page))
    for domain in ("Network", "Performance", "HeapProfiler"):
        tab.cdp.send(f"{domain}.enable")
    tab.cdp.on("Network.requestWillBeSent", tab.sent)
    tab.cdp.on("Network.loadingFinished", tab.finished)
    return tab


def visit(tab: Tab, url: str, patience: float) -> float:
    """Milliseconds from navigation to the picture on the screen."""
    tab.page.goto(url, wait_until="commit")
    limit = patience * 1000
    tab.page.wait_for_function("globalThis.drawnAt > 0", timeout=limit, polling=50)
    return tab.page.evaluate("globalThis.drawnAt")


def hovers(tab: Tab, selector: str, moves: int) -> tuple[list[float], float]:
    """Milliseconds from each move to its frame, and how long scripts ran for one on average."""
    places = tab.page.evaluate(PLACES, [selector, moves + 1])
    tab.page.mouse.move(*places[0])
    tab.page.wait_for_timeout(5 * PAUSE)
    tab.page.evaluate(HOVERS)
    before = tab.script()
    for place in places[1:]:
        tab.page.mouse.move(*place)
        tab.page.wait_for_timeout(PAUSE)
    tab.page.wait_for_timeout(5 * PAUSE)
    script = (tab.script() - before) / moves
    return tab.page.evaluate("hovers"), script
