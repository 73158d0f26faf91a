"""Pages without JavaScript: text, tables and links are there, and nothing that needs a script."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.screens import NO_SCRIPT

PAGES = (
    *("/", "/learn", "/explore", "/compare", "/translate", "/generate", "/fill", "/masks"),
    *("/positions", "/attention", "/lab", "/models", "/models/bert", "/models/gpt"),
    *("/models/translator", "/models/recurrent", "/docs", "/learn/0/look", "/learn/5/sines"),
    *("/learn/5/whole", "/learn/1/likeness"),
)
HREFS = "(links) => links.map((a) => a.getAttribute('href') ?? '')"
pytestmark = pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])


def opened(context: BrowserContext, path: str) -> Page:
    page = context.new_page()
    answer = page.goto(path)
    assert answer is not None and answer.status == 200
    return page


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_offered_that_only_a_script_can_do(
    context: BrowserContext, setting: object, path: str
) -> None:
    """No button but those that send a form, no empty plot, no title of what is not drawn."""
    page = opened(context, path)
    expect(page.locator("h1, .context, #main h2").first).to_be_visible()
    for nothing in (
        "button[type=button]:visible",
        ".script-only:visible",
        "input[type=range]:not([name]):visible",
        ":is(.plot, .compare-plot):empty:visible",
        ":is(h2, h3):has(+ div:empty):visible",
        ":is(h1, h2, h3):empty:visible",
    ):
        expect(page.locator(nothing), nothing).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_a_table_or_text_and_its_links_lead_on(
    context: BrowserContext, setting: object, path: str
) -> None:
    page = opened(context, path)
    main = page.locator("#main")
    expect(main.locator(":is(table, .lead, .chapters):visible").first).to_be_visible()
    hrefs = main.locator("a:visible").evaluate_all(HREFS)
    own = [href for href in sorted(set(hrefs)) if href.startswith(("/", "?"))]
    assert own or path == "/docs"
    for href in own[-2:]:
        answer = page.request.get(path + href if href[0] == "?" else href)
        assert answer.ok, href


def test_the_first_page_shows_where_each_word_looks(
    context: BrowserContext, setting: object
) -> None:
    page = opened(context, "/")
    rows = page.locator("#view tbody tr")
    expect(rows.nth(5)).to_be_visible()
    expect(rows.filter(has_text="bank").first).to_contain_text("river")
    expect(page.get_by_text("Point at a word")).to_be_hidden()
    for door, heading in (("Learn", "Learn attention"), ("Your own model", "")):
        page.goto("/")
        page.locator(".home-doors a", has_text=door).first.click()
        expect(page.locator("h1, h2").first).to_be_visible()
        expect(page.locator("#main")).to_contain_text(heading)


def test_the_models_and_a_models_numbers_are_tables(
    context: BrowserContext, setting: object
) -> None:
    page = opened(context, "/models")
    for name in ("bert", "gpt", "translator", "recurrent"):
        expect(page.locator("tbody tr", has_text=name).first).to_be_visible()
    page.get_by_role("link", name="gpt", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("gpt")
    expect(page.locator("section[aria-labelledby=quality] tbody tr").first).to_be_visible()
    learned = page.locator("section[aria-labelledby=learned]")
    learned.locator("summary").click()
    expect(learned.locator("tbody tr").nth(3)).to_be_visible()
    page.locator(".choose a", has_text="induction").click()
    expect(page.locator('.choose [aria-current="true"]').last).to_have_text("induction")


def test_a_sentence_of_ones_own_is_sent(context: BrowserContext, setting: object) -> None:
    page = opened(context, "/models/gpt")
    page.locator("form [name=text]").fill("The old king")
    page.get_by_role("button", name="Explore").click()
    expect(page.locator("#main table").last).to_contain_text("king")
