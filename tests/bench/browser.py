"""Our explorer beside BertViz in one Chromium, on the same attention and tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

import safetensors
import safetensors.torch
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright
from torch import Tensor

from tests.bench import bertviz_page, large
from tests.bench.chrome import Tab, chromium, empty_cache, hovers, open_tab, serving, visit
from tests.bench.rows import Plan, Row
from tests.bench.text import WORDS, of_bert, passage

N_HOVER = N_LARGE = 512
BYTES_GOAL, DRAWN_GOAL, HEAP_GOAL, GROWTH_GOAL = 400_000, 1500, 60, 1.1

OURS = """() => document.getElementById("picture")?.ariaBusy === "false"
  && document.querySelector("[role=grid] canvas") !== null"""
BERTVIZ = """(() => {
  let before = 0;
  return () => {
    const [n, earlier] = [document.getElementsByTagName("line").length, before];
    before = n;
    return n > 0 && n === earlier;
  };
})()"""
LAST_ANSWER = """Math.max(...performance.getEntriesByType("resource")
  .filter(({name}) => name.includes("/api/")).map(({responseEnd}) => responseEnd))"""
SHOWS = """(text) => document.getElementById("picture").ariaBusy === "false"
  && new URLSearchParams(location.search).get("text") === text"""


class Seen(NamedTuple):
    """One visit of a page."""

    drawn: float  # ms
    answered: float  # ms: when the last number came
    picture: int  # bytes of the picture of all heads
    everything: int  # bytes
    nodes: int
    heap: float  # MB
    memory: float  # MB


def get(url: str) -> bytes:
    with urlopen(url) as answer:
        return answer.read()


def explore(server: str, text: str, **more: str) -> str:
    """A page of ours, whose forward pass the server has done before: BertViz is given its too."""
    spec = {"model": "bert", "text": text, **more}
    get(f"{server}/api/v1/run?{urlencode({k: spec[k] for k in ('model', 'text')})}")
    return f"{server}/explore?{urlencode(spec)}"


def numbers(server: str, text: str) -> tuple[list[Tensor], list[str]]:
    """BertViz's arguments, from our API: a layer each, (1, H, T, T), and the tokens."""
    query = urlencode({"model": "bert", "text": text, "format": "safetensors"})
    content = get(f"{server}/api/v1/attention?{query}")
    size = int.from_bytes(content[:8], "little")
    tokens = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["q_tokens"])
    attn = safetensors.torch.load(content)["attn"]
    return list(attn[:, None]), [token["raw"] for token in tokens]


def seen(tab: Tab, url: str, patience: float) -> Seen:
    drawn = visit(tab, url, patience)
    answered = tab.page.evaluate(LAST_ANSWER) or 0
    tab.page.wait_for_load_state("networkidle")
    overview, everything = tab.bytes_of("/attention/overview"), tab.bytes_of()
    heap = tab.heap()
    return Seen(drawn, answered, overview, everything, tab.nodes(), heap, tab.memory())


def ours(browser: Browser, url: str, plan: Plan) -> tuple[list[Seen], list[float]]:
    """Visits with an empty HTTP cache, and the times of second ones."""
    cold, warm = [], []
    for _ in range(plan.rounds):
        with empty_cache(browser) as context:
            cold.append(seen(open_tab(context, OURS), url, plan.patience))
            warm.append(visit(open_tab(context, OURS), url, plan.patience))
    return cold, warm


def bertviz(playwright: Playwright, page: str, rounds: int, patience: float) -> list[Seen]:
    """Visits to BertViz's page, each in a Chromium of its own, for it may not survive; [] if so."""
    values = []
    for _ in range(rounds):
        with chromium(playwright) as browser, bertviz_page.serving(page) as url:
            tab = open_tab(browser.new_context(), BERTVIZ)
            try:
                values.append(seen(tab, url, patience))
            except Error:
                return []
    return values


def middle(visits: Sequence[Seen]) -> Seen:
    """The median of each measure."""
    return Seen(*(median(values) for values in zip(*visits, strict=True)))


def side_by_side(
    playwright: Playwright, browser: Browser, server: str, n: int, plan: Plan
) -> Iterator[Row]:
    """One text in both."""
    text = passage(n, of_bert())
    url = explore(server, text)
    cold, warm = ours(browser, url, plan)
    us, again = middle(cold), median(warm)
    attn, tokens = numbers(server, text)
    libraries = bertviz_page.compressed_libraries()
    for view in bertviz_page.VIEWS:
        page = bertviz_page.html(view, attn, tokens)
        zipped = bertviz_page.compressed(page)
        visits = bertviz(playwright, page, plan.rounds if n < 100 else 1, plan.patience)
        them = middle(visits) if visits else None
        died = f"none within {plan.patience:.0f} s"
        what = f"{n} tokens, BertViz's {view}"
        yield Row(f"{what}: bytes to all heads, compressed", us.picture, "bytes", zipped)
        yield Row(
            f"{what}: the same, BertViz not compressed", us.picture, "bytes", len(page.encode())
        )
        yield Row(f"{what}: bytes of a first visit", us.everything, "bytes", zipped + libraries)
        for name, value, unit, theirs in (
            ("navigation to drawn, empty HTTP cache", us.drawn, "ms", them and them.drawn),
            ("navigation to drawn, second visit", again, "ms", them and them.drawn),
            ("DOM elements", us.nodes, "", them and them.nodes),
            ("JavaScript heap", us.heap, "MB", them and them.heap),
            ("heap, DOM and buffers", us.memory, "MB", them and them.memory),
        ):
            yield Row(f"{what}: {name}", value, unit, died if theirs is None else theirs)


def views(page: Page) -> list[str]:
    """The views of a head that there are, by the page's own tabs."""
    tabs = page.get_by_role("tab").all()
    return [(tab.get_attribute("id") or "").removeprefix("tab-") for tab in tabs]


def pointing(browser: Browser, server: str, plan: Plan) -> Iterator[Row]:
    """Hover to painted, in each view and in the grid of all heads."""
    text = passage(N_HOVER, of_bert())
    with empty_cache(browser) as context:
        tab = open_tab(context, OURS)
        visit(tab, explore(server, text), plan.patience)
        yield from pointed(tab, "grid", "[role=grid]", plan.moves)
        for view in views(tab.page):
            visit(tab, explore(server, text, view=view), plan.patience)
            tab.page.wait_for_load_state("networkidle")
            yield from pointed(tab, view, "#view", plan.moves)


def pointed(tab: Tab, view: str, selector: str, moves: int) -> Iterator[Row]:
    times, script = hovers(tab, selector, moves)
    what = f"{N_HOVER} tokens, hover in {view}"
    yield Row(f"{what}: move to painted, median", median(times), "ms")
    yield Row(f"{what}: move to painted, worst of {len(times)}", max(times), "ms")
    yield Row(f"{what}: scripts, mean of a move", script, "ms")


def growth(browser: Browser, server: str, plan: Plan) -> Iterator[Row]:
    """The heap after many texts, beside that after a few."""
    settled, last = plan.changes
    with empty_cache(browser) as context:
        tab = open_tab(context, OURS)
        visit(tab, explore(server, " ".join(WORDS[:16])), plan.patience)
        field = tab.page.get_by_role("textbox", name="Text", exact=True)
        heaps = []
        for i in range(last):
            start, length = i % 60, 8 + i % 24
            text = f"{i} {' '.join(WORDS[start : start + length])}"
            field.fill(text)
            tab.page.wait_for_function(SHOWS, arg=text)
            if i + 1 in plan.changes:
                heaps.append(tab.heap())
        what = f"{last} texts typed: JavaScript heap"
        yield Row(what, heaps[1], "MB")
        grown = heaps[1] / heaps[0]
        yield Row(f"{what} / that after {settled}", grown, "x", goal=GROWTH_GOAL)


def many_heads(browser: Browser, plan: Plan) -> Iterator[Row]:
    """144 heads of a random model: what the page does with them, the forward pass apart."""
    text = passage(N_LARGE, of_bert())
    what = f"12 x 12 heads, {N_LARGE} tokens"
    with serving("tests.bench.large") as server:
        began = time.perf_counter()
        url = explore(server, text, model=large.NAME)
        yield Row(f"{what}: first /run", (time.perf_counter() - began) * 1000, "ms")
        cold, warm = ours(browser, url, plan)
        us = middle(cold)
        after = median(visit.drawn - visit.answered for visit in cold)
        yield Row(f"{what}: bytes of the overview", us.picture, "bytes", goal=BYTES_GOAL)
        yield Row(f"{what}: bytes of a first visit", us.everything, "bytes")
        yield Row(f"{what}: navigation to last answer, empty cache", us.answered, "ms")
        yield Row(f"{what}: last answer to drawn", after, "ms", goal=DRAWN_GOAL)
        yield Row(f"{what}: navigation to drawn, empty cache", us.drawn, "ms", goal=DRAWN_GOAL)
        yield Row(f"{what}: navigation to drawn, second visit", median(warm), "ms", goal=DRAWN_GOAL)
        yield Row(f"{what}: DOM elements", us.nodes, "")
        yield Row(f"{what}: JavaScript heap", us.heap, "MB", goal=HEAP_GOAL)
        yield Row(f"{what}: heap, DOM and buffers", us.memory, "MB", goal=HEAP_GOAL)


def rows(plan: Plan) -> Iterator[Row]:
    """Everything; nothing else should run meanwhile."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        with serving("app") as server:
            for n in plan.sizes:
                yield from side_by_side(playwright, browser, server, n, plan)
            yield from pointing(browser, server, plan)
            yield from growth(browser, server, plan)
        yield from many_heads(browser, plan)
