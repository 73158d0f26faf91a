"""The widget in the notebooks that people have: JupyterLab and marimo, each with its Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.notebooks import CODE, LAB, MARIMO, QUIET, running, write_notebook

SLOW = 120_000  # ms; a kernel that starts imports torch


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page that asks only this machine for anything, and whose figures report no error."""
    elsewhere: list[str] = []
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.on("request", lambda request: elsewhere.append(request.url))
    yield page
    context.close()
    local = re.compile(r"(?:data|blob):|(?:http|ws)://127\.0\.0\.1:")
    assert [url for url in elsewhere if not local.match(url)] == []


def drawn(figure: Locator) -> Locator:
    expect(figure.locator("#head-title")).to_have_text("Layer 1 · Head 2", timeout=SLOW)
    expect(figure.locator("#picture")).to_have_attribute("aria-busy", "false")
    expect(figure.get_by_text("the looks most at river 1.000")).to_be_visible()
    return figure


def choose_above(figure: Locator, page: Page) -> None:
    """The head above the chosen one, by keyboard; its numbers come from Python."""
    figure.locator("[role=grid]").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(figure.locator("#head-title")).to_have_text("Layer 0 · Head 2")
    expect(figure.get_by_text("the looks most at the 0.333")).to_be_visible()


def test_jupyterlab(plain: Page, tmp_path: Path) -> None:
    write_notebook(
        tmp_path / "figure.ipynb",
        f"{CODE}\nfigure",
        "print('Python has layer', figure.layer, 'head', figure.head)",
        "figure.layer, figure.query, figure.view = 1, 'bank', 'table'",
    )
    with running("jupyterlab", *LAB, *QUIET, home=tmp_path) as url:
        plain.goto(f"{url}/lab/tree/figure.ipynb")
        cells = plain.locator(".jp-Notebook .jp-CodeCell")
        expect(plain.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
        cells.nth(0).locator(".cm-content").click()
        plain.keyboard.press("Control+Enter")
        figure = drawn(cells.nth(0).locator(".attention-atlas"))
        expect(figure).to_have_attribute("data-theme", "light")
        choose_above(figure, plain)
        cells.nth(1).locator(".cm-content").click()
        plain.keyboard.press("Control+Enter")
        expect(cells.nth(1)).to_contain_text("Python has layer 0 head 2")
        cells.nth(2).locator(".cm-content").click()
        plain.keyboard.press("Control+Enter")
        expect(figure.locator("#head-title")).to_have_text("Layer 1 · Head 2")
        expect(figure.locator("#view table")).to_contain_text("bank looks at")
        figure.get_by_role("tab", name="Matrix").click()
        expect(figure.locator("#view .heatmaplayer image")).to_be_visible()
        plain.evaluate("document.body.dataset.jpThemeLight = 'false'")
        plain.add_style_tag(content=".jp-Notebook, .jp-Cell, .jp-OutputArea { background: #111 }")
        expect(figure).to_have_attribute("data-theme", "dark")


def test_marimo(plain: Page, tmp_path: Path) -> None:
    (tmp_path / "figure.py").write_text(MARIMO)
    command = ("run", "figure.py", "--headless", "--no-token", "--host=127.0.0.1")
    with running("marimo", *command, home=tmp_path) as url:
        plain.goto(url)
        figure = drawn(plain.locator(".attention-atlas"))
        expect(plain.get_by_text("Python has layer 1, head 2")).to_be_visible()
        choose_above(figure, plain)
        expect(plain.get_by_text("Python has layer 0, head 2")).to_be_visible()
        figure.get_by_role("tab", name="Matrix").click()
        expect(figure.locator("#view .heatmaplayer image")).to_be_visible()
