"""The context in the browser: read and written as the server does it, kept by every page."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from attention_atlas.app.context import PAGES, Context, address, of_address
from playwright.sync_api import Page, expect

from tests.browser.complete import attribute_of, complete, evaluated, query_of, value_of

RIVER = "He sat on the river bank."
SEARCHES = [
    {"model": "bert", "text": RIVER, "layer": 2, "head": 3, "query": 6, "kind": "encoder"},
    {"model": "bert", "text": RIVER, "layer": 2, "head": "mean", "query": 6, "side": "key"},
    {"model": "translator", "text": "El río.", "kind": "cross", "layer": 1, "head": 2},
    {"model": "bert", "texts": f"a b\n{RIVER}", "row": 1, "layer": 1, "head": 0},
    {"model": "gpt", "text": RIVER, "word": 3, "layer": 1, "head": 0},
    {"model": "nobody", "text": RIVER, "text_b": "x", "layer": 1},
    {},
]
BOTH = """async ([searches, paths]) => {
  const {contextOf, addressIn} = await import("/static/js/lib/context.js");
  return searches.map((search) => paths.map((from) => {
    const context = contextOf(from, search);
    return [context, paths.map((to) => addressIn(context, to))];
  }));
}"""


def test_python_and_the_browser_agree(page: Page) -> None:
    page.goto("/models")
    suited = evaluated(page, "JSON.parse(document.getElementById('context').textContent).suited")
    paths = [*PAGES, "/models"]
    searches = [urlencode(search) for search in SEARCHES]
    for search, result in zip(searches, evaluated(page, BOTH, [searches, paths]), strict=True):
        for path, (context, hrefs) in zip(paths, result, strict=True):
            expected = of_address(path, dict(parse_qsl(search)))
            assert Context(**context) == expected, (path, search)
            assert [parts(href) for href in hrefs] == [
                parts(address(expected, to, suited)) for to in paths
            ]


def parts(href: str) -> tuple[str, dict[str, list[str]]]:
    return urlsplit(href).path, parse_qs(urlsplit(href).query)


def opened(page: Page, path: str) -> Page:
    page.goto(path)
    return complete(page)


def test_a_sentence_and_a_head_go_round_all_pages(page: Page) -> None:
    query = urlencode({"model": "bert", "text": RIVER, "layer": 2, "head": 3, "lang": "en"})
    opened(page, f"/explore?{query}")
    for group, name in (("Inside", "Step by step"), ("Inside", "Masks"), ("Tasks", "Fill in")):
        page.locator(".bar-pages summary", has_text=group).click()
        page.locator(".bar-pages").get_by_role("link", name=name).click()
        page.wait_for_url(re.compile(r"/(attention|masks|fill)\?"))
        complete(page)
        assert RIVER in value_of(page.locator("main [name=text], main [name=texts]").first)
        expect(page.locator("[name=layer]")).to_have_value("2")
        expect(page.locator("[name=head]")).to_have_value("3")


def test_see_in_follows_the_head_that_is_chosen(page: Page) -> None:
    opened(page, "/explore?model=bert&lang=en")
    page.get_by_role("combobox", name="Layer", exact=True).select_option("1")
    page.get_by_role("combobox", name="Head", exact=True).select_option("4")
    expect(page.get_by_role("heading", name="Layer 1 · Head 4")).to_be_visible()
    page.locator("summary", has_text="See this head in").click()
    page.locator(".see-in").get_by_role("link", name="Masks").click()
    page.wait_for_url(re.compile("/masks"))
    assert (query_of(page)["layer"], query_of(page)["head"]) == ("1", "4")


def test_the_token_in_the_bar_is_the_one_that_is_locked(page: Page) -> None:
    opened(page, f"/explore?{urlencode({'model': 'bert', 'text': RIVER, 'query': 6})}")
    expect(page.locator("#context-token")).to_have_text("Token bank")
    opened(page, f"/attention?{urlencode({'model': 'bert', 'text': RIVER, 'word': 5})}")
    expect(page.locator("#context-token")).to_have_text("Token river")


def test_a_page_of_its_own_default_carries_nothing_until_something_is_chosen(page: Page) -> None:
    opened(page, "/masks")
    explore = page.locator(".bar-pages").get_by_role("link", name="Explore")
    explore.focus()
    assert urlsplit(attribute_of(explore, "href")).query == ""
    page.get_by_role("combobox", name="Head", exact=True).select_option("2")
    expect(page).to_have_url(re.compile("head=2"))
    explore.blur()
    explore.focus()
    assert "head=2" in attribute_of(explore, "href")


def test_the_theme_that_is_chosen_goes_along(page: Page) -> None:
    opened(page, "/explore?model=bert")
    page.get_by_role("button", name="Dark theme").click()
    page.locator(".bar-pages").get_by_role("link", name="Compare").click()
    page.wait_for_url(re.compile("/compare"))
    assert query_of(page)["theme"] == "dark"
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_sentence_that_gave_way_is_carried_on(page: Page) -> None:
    """Translate reads Spanish; the reader's own English sentence is there again afterwards."""
    opened(page, f"/explore?{urlencode({'model': 'bert', 'text': RIVER})}")
    page.locator(".bar-pages summary", has_text="Tasks").click()
    page.locator(".bar-pages").get_by_role("link", name="Translate").click()
    page.wait_for_url(re.compile("/translate"))
    expect(page.locator("#notice")).to_contain_text("translator is shown instead")
    expect(page.locator("#notice")).to_contain_text("reads Spanish")
    page.locator(".bar-pages").get_by_role("link", name="Explore").click()
    page.wait_for_url(re.compile("/explore"))
    expect(page.locator("[name=text]")).to_have_value(RIVER)


@pytest.mark.parametrize("path", ["/explore", "/masks", "/attention", "/fill"])
def test_nothing_that_is_chosen_is_smaller_than_24_pixels(page: Page, path: str) -> None:
    opened(page, path)
    small = evaluated(page, SMALL)
    assert small == []


SMALL = """() => [...document.querySelectorAll(
  "main button, main select, main summary, main input:not([type=hidden], [type=range]), header a")]
  .filter((el) => el.checkVisibility({visibilityProperty: true, opacityProperty: true})
    && !el.closest(".grid-headings, .sr-only"))
  .map((el) => [el.tagName, el.className, el.textContent.trim().slice(0, 20),
    Math.round(el.getBoundingClientRect().height)])
  .filter(([, , , height]) => height < 24)"""


@pytest.mark.parametrize("path", ["/explore", "/masks", "/attention"])
def test_the_bar_says_what_the_card_calls_the_head(page: Page, path: str) -> None:
    text = "texts" if path == "/masks" else "text"
    page.goto(f"{path}?model=bert&{text}=The+river+bank+is+closed.&layer=0&head=2&lang=en")
    badge = page.locator("#badge")
    expect(badge).to_contain_text("previous-token head 1.00")
    expect(badge).to_have_attribute("title", re.compile("by the model's card"))
    page.get_by_role("combobox", name="Head", exact=True).select_option("7")
    expect(badge).to_be_hidden()


def test_a_models_card_keeps_the_sentence_and_the_head(page: Page) -> None:
    query = "model=bert&text=The+river+bank.&layer=0&head=2&kind=encoder"
    page.goto(f"/models/bert?{query}")
    bar = page.locator("form.context")
    expect(bar.get_by_label("Text")).to_have_value("The river bank.")
    expect(bar).to_contain_text("L0 H2")
    expect(page.locator("#badge")).to_contain_text("previous-token head")
    bar.get_by_role("button", name="Explore").click()
    page.locator("#picture[aria-busy=false]").wait_for()
    expect(page).to_have_url(re.compile("text=The\\+river\\+bank.*layer=0.*head=2"))
    page.goto(f"/models/gpt?{query}")
    expect(page.locator("form.context")).not_to_contain_text("L0 H2")
    expect(page.locator("form.context").get_by_label("Text")).to_have_value("The river bank.")
