"""Every page's form: Enter, Shift+Enter, and values that nobody can take."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.complete import complete, evaluated, query_of, text_of, value_of, width_of
from tests.browser.screens import LIGHT

READY = {
    "explore": "#picture",
    "compare": "#comparison",
    "positions": "#encodings",
    "masks": "#batch",
    "attention": ".sums",
    "translate": "#work",
    "generate": "#work",
    "fill": "#work",
    "classify": "#work",
}
TEXTS = [(name, "texts" if name == "masks" else "text") for name in READY]
LONG = [name for name in READY if name not in ("compare", "positions", "attention")]
MAY_BE_EMPTY = {"text_pair", "text_b", "word_b", "off", "reference", "target"}
ODD = ["\u0000x", "\U0001f600\u202e<b>&amp; שלום", "bank " * 4000]
FIELDS = """() => [...document.querySelectorAll("main [name]")].filter((el) => !el.disabled
  && el.checkVisibility() && el.matches("textarea, input:not([type=range])"))
  .map((el) => [el.name, el.type])"""
COMPOSED = """(el) => ["isComposing", "keyCode"].map((key) => {
  const event = new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true,
    [key]: {isComposing: true, keyCode: 229}[key]});
  return el.dispatchEvent(event);
})"""


# What is on the screen when the mouse button goes down over it, and is gone when it comes up:
# a click ends the typing in a field between the two.
LOST = """(field) => {
  const targets = [...document.querySelectorAll("a[href], button, summary, select")]
    .filter((el) => el.checkVisibility());
  field.dispatchEvent(new Event("change", {bubbles: true}));
  return [targets.length, targets.filter((el) => !el.isConnected).map((el) => el.outerHTML)];
}"""


def opened(page: Page, name: str, query: str = "") -> Page:
    page.goto(f"/{name}{query}")
    complete(page)
    expect(page).to_have_url(re.compile("model="))
    return page


def field(page: Page, name: str) -> Locator:
    return page.locator(f"main [name={name}]:not([type=hidden])")


def enter(page: Page, name: str, box: Locator, value: str) -> None:
    box.fill(value)
    box.press("Enter")
    complete(page)


def fields(page: Page) -> list[Any]:
    values: list[Any] = evaluated(page, FIELDS)
    return values


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_enter_submits_and_leaves_the_text_as_it_is(page: Page, name: str, text: str) -> None:
    box = field(opened(page, name), text)
    value = f"{value_of(box)} bank".removesuffix("\n")
    box.fill(value)
    box.press("Enter")
    page.wait_for_function(
        "([name, value]) => new URL(location).searchParams.get(name) === value", arg=[text, value]
    )
    expect(box).to_have_value(value)


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_no_click_is_lost_when_it_ends_the_typing(page: Page, name: str, text: str) -> None:
    box = field(opened(page, name), text)
    box.press("End")
    box.press_sequentially(" bank")
    n, lost = box.evaluate(LOST)
    assert n > 10
    assert lost == []


@pytest.mark.parametrize("name", LONG)
def test_shift_and_enter_is_a_new_line(page: Page, name: str) -> None:
    box = field(opened(page, name), "texts" if name == "masks" else "text")
    box.fill("one")
    box.press("Shift+Enter")
    box.press_sequentially("two")
    expect(box).to_have_value("one\ntwo")


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_the_enter_that_ends_a_composition_submits_nothing(
    page: Page, name: str, text: str
) -> None:
    box = field(opened(page, name), text)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    assert evaluated(box, COMPOSED) == [True, True], "the browser does with it what it always does"
    assert [url for url in requests if "/api/" in url] == []


NOTHING = [(*text, value) for text in TEXTS for value in ("", "   ")]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [each for each in NOTHING if each != ("generate", "text", "   ")],  # it goes on from spaces
)
def test_without_a_text_there_is_no_other_texts_picture(
    page: Page, name: str, text: str, value: str
) -> None:
    enter(opened(page, name), name, field(page, text), value)
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile(r"empty|no words?|no tokens|one to eight")
    )
    expect(page.locator(READY[name])).to_have_class(re.compile("stale"))


@pytest.mark.parametrize("name", READY)
def test_an_odd_text_is_shown_or_refused(page: Page, name: str) -> None:
    """In every field: what is on screen is what was typed, or it is said why not."""
    opened(page, name)
    for text in [each for each, kind in fields(page) if kind in ("text", "textarea")]:
        before = value_of(field(page, text))
        for value in ("", " ", *ODD):
            enter(page, name, field(page, text), value)
            refused = text_of(page.get_by_role("alert")) != ""
            shown = query_of(page).get(text, "") == value
            assert refused or shown or (not value and text in MAY_BE_EMPTY), (text, value)
        enter(page, name, field(page, text), before)


@pytest.mark.parametrize("name", READY)
def test_a_number_that_cannot_be_is_named(page: Page, name: str) -> None:
    opened(page, name)
    for number in [each for each, kind in fields(page) if kind == "number"]:
        box = field(page, number)
        before, label = value_of(box), evaluated(box, "el => el.labels[0].textContent.trim()")
        for value in ("", "-1", "1e99"):
            enter(page, name, box, value)
            expect(page.get_by_role("alert")).to_contain_text(label)
        enter(page, name, box, before)
        expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize("setting", [LIGHT | {"locale": "en"}], ids=["English browser"])
def test_what_is_wrong_is_said_in_the_pages_language(page: Page) -> None:
    opened(page, "fill", "?lang=zh")
    enter(page, "fill", field(page, "seed"), "")
    expect(page.get_by_role("alert")).to_have_text("种子为空：请输入一个值。")
    enter(page, "fill", field(page, "seed"), "0.5")
    expect(page.get_by_role("alert")).to_have_text("种子：0.5 不是整数。")


def test_an_order_that_was_cleared_is_the_one_from_the_end(page: Page) -> None:
    box = field(opened(page, "positions"), "text_b")
    enter(page, "positions", box, "NLP I like")
    enter(page, "positions", box, "")
    expect(box).to_have_value("NLP like I")


def test_a_text_can_be_added_without_a_keyboards_shift(page: Page) -> None:
    opened(page, "masks").get_by_role("button", name="Add a text").click()
    page.keyboard.type("The end")
    expect(page.locator("#ids-table tr")).to_have_count(4)
    expect(page.locator("#ids-table tr").last).to_contain_text("end")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *(("/explore", "text"), ("/explore?view=tokens", "text"), ("/explore?view=table", "text")),
        *(("/fill", "text"), ("/masks", "texts"), ("/positions", "text"), ("/attention", "text")),
    ],
)
def test_a_word_without_end_does_not_widen_the_page(page: Page, path: str, field: str) -> None:
    joint = "&" if "?" in path else "?"
    page.goto(f"{path}{joint}model=bert&{field}={'a' * 600}")
    assert width_of(page) <= 1440


def test_a_number_is_whole_in_its_field(page: Page) -> None:
    page.goto("/positions?base=10000")
    field = page.get_by_role("spinbutton", name="base")
    assert evaluated(field, "(el) => el.scrollWidth <= el.clientWidth")
