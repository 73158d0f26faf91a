"""What somebody who has never seen the project does, from `/`, in three clicks at most each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from attention_atlas.app.navigation import LINKS
from playwright.sync_api import Locator, Page, expect

from tests.browser.complete import all_of, complete, count_of, evaluated, text_of
from tests.browser.screens import BOTH_CLEAN, LIGHT, violations, violations_by_theme

Click = Callable[[Locator], None]


@pytest.fixture
def click(page: Page) -> Click:
    """A click, of which each task has three; no address is typed after the first."""
    page.goto("/")
    page.locator("#view .lines").wait_for()
    clicks: list[str] = []

    def once(target: Locator) -> None:
        target.click()
        clicks.append(str(target))
        assert len(clicks) <= 3

    return once


def bar(page: Page, name: str) -> Locator:
    return page.locator(".bar-pages").get_by_role("link", name=name, exact=True)


def group(page: Page, name: str) -> Locator:
    return page.locator(".bar-pages summary", has_text=name)


def test_what_does_bank_look_at_in_each_sentence(page: Page, click: Click) -> None:
    click(bar(page, "Compare"))
    table = page.locator("#ranked table")
    expect(table).to_contain_text("A looks most at")
    expect(page.locator("[name=word]")).to_have_value("bank")
    row = page.locator("#ranked tbody tr", has_text="account").filter(has_text="river").first
    expect(row).to_be_visible()
    click(row.get_by_role("button"))
    for side, key in (("a", "river"), ("b", "account")):
        expect(page.locator(f"#view-{side} .lines-said")).to_contain_text(
            re.compile(f"bank looks most at.*{key}")
        )


def test_order_is_invisible_without_positions(page: Page, click: Click) -> None:
    click(group(page, "Inside"))
    click(bar(page, "Positions"))
    table = page.locator("#permutation table").first
    expect(table).to_contain_text("without positions")
    rows = page.locator("#permutation tbody tr")
    expect(rows.first).to_be_visible()
    moved = [float(text_of(row.locator("td").nth(1))) for row in all_of(rows)]
    assert max(moved) < 1e-3, "the same vectors, in the other order"


def test_which_head_copies(page: Page, click: Click) -> None:
    click(bar(page, "Models"))
    click(page.get_by_role("link", name="gpt", exact=True))
    row = page.locator("tr", has_text=re.compile("induction"))
    click(row.get_by_role("link").first)
    expect(page).to_have_url(re.compile(r"/explore\?model=gpt.*layer=\d+.*head=\d+"))
    complete(page)
    expect(page.locator("#picture")).to_be_visible()


def test_a_friend_gets_exactly_this_picture(page: Page, click: Click) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    click(page.get_by_role("link", name="Open this picture in Explore"))
    page.wait_for_url(re.compile("/explore"))
    complete(page)
    click(page.locator("#foot").get_by_role("button", name="Copy link"))
    expect(page.locator("#foot")).to_contain_text("copied")
    link = evaluated(page, "navigator.clipboard.readText()")
    title = text_of(page.locator("#head-title"))
    friend = page.context.new_page()
    friend.goto(link)
    expect(friend.locator("#head-title")).to_have_text(title)
    friend.close()


def test_the_picture_leaves_as_a_file(page: Page, click: Click, tmp_path: Path) -> None:
    click(page.get_by_role("link", name="Open this picture in Explore"))
    page.wait_for_url(re.compile("/explore"))
    complete(page)
    with page.expect_download() as download:
        click(page.locator("#foot").get_by_role("button", name="SVG", exact=True))
    path = tmp_path / "picture.svg"
    download.value.save_as(path)
    assert b"<svg" in path.read_bytes()


PATHS = ["/", *(link.path for link in LINKS if link.path != "/docs"), "/models/bert", "/nowhere"]
# Those that have a test of their own in every theme.
THEMED = {"/explore", "/compare", "/translate", "/generate", "/fill"}
THEMED |= {"/attention", "/masks", "/positions"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("setting", [LIGHT])
def test_axe_finds_no_violation_on_any_page(page: Page, path: str) -> None:
    page.goto(path)
    complete(page)
    if count_of(page.locator(".see-in:not([hidden]) summary")):
        page.locator(".see-in summary").click()
    if path in THEMED:
        assert violations(page) == []
    else:
        assert violations_by_theme(page) == BOTH_CLEAN
