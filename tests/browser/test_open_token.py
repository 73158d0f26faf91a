"""A server whose operator's token is needed to open models: the page asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import saved
from tests.browser.conftest import ROOT, free_port, wait_until_ready

TOKEN = "correct horse"
SECONDS = 120_000


@pytest.fixture(scope="module")
def guarded(cache_home: Path) -> Iterator[str]:
    port = free_port()
    env = os.environ | {"HOST": "127.0.0.1", "PORT": str(port), "MODELS": "gpt"}
    env |= {"OPEN_TOKEN": TOKEN, "XDG_CACHE_HOME": str(cache_home)}
    process = subprocess.Popen([sys.executable, "-m", "attention_atlas.app"], cwd=ROOT, env=env)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def visitor(browser: Browser, guarded: str) -> Iterator[Page]:
    context = browser.new_context(base_url=guarded)
    yield context.new_page()
    context.close()


def test_the_page_asks_for_the_token_and_keeps_it_for_the_tab(
    visitor: Page, tmp_path: Path
) -> None:
    page = visitor
    page.goto("/explore#own")
    token = page.get_by_label("The operator's token")
    expect(page.get_by_role("textbox", name="Hub name or folder")).to_be_focused()
    expect(token).to_be_hidden()
    page.get_by_role("textbox", name="Hub name or folder").fill(str(saved.gpt2(tmp_path / "one")))
    page.get_by_role("button", name="Open", exact=True).click()
    status = page.locator(".opening [role=status]")
    expect(status).to_have_text("opening a model here needs the operator's token")
    expect(token).to_be_focused()
    token.fill("wrong")
    token.press("Enter")
    expect(status).to_have_text("this is not the operator's token for opening models")
    expect(token).to_have_value("")
    assert page.evaluate("sessionStorage.length") == 0
    token.fill(TOKEN)
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("one", timeout=SECONDS)
    expect(token).to_be_hidden()
    assert page.evaluate("Object.entries(sessionStorage)") == [["open-token", TOKEN]]
    assert TOKEN not in page.evaluate("location.href + document.cookie")

    page.goto("/explore#own")  # the same tab: not asked again
    page.get_by_role("textbox", name="Hub name or folder").fill(str(saved.gpt2(tmp_path / "two")))
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("two", timeout=SECONDS)
