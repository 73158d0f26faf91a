"""Explore's state: the address, typing, Back, refused texts, late answers."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.complete import address_of, complete, count_of, query_of, text_of
from tests.browser.exploring import (
    RIVER,
    Explore,
    option,
    point_at_head,
    text_field,
    token,
    tokens,
)


def test_a_click_locks_and_another_unlocks(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    bank = token(page, "query", 6)
    bank.click()
    expect(bank).to_have_attribute("aria-pressed", "true")
    assert query_of(page)["query"] == "6"
    page.mouse.move(5, 5)
    expect(page.get_by_text("bank looks most at")).to_be_visible()
    bank.click()
    expect(bank).to_have_attribute("aria-pressed", "false")
    assert "query" not in query_of(page)


def test_typing_runs_again_by_itself(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3)
    text_field(page).press("End")
    text_field(page).press_sequentially(" The end.")
    expect(page.locator(".lines-column.query .token")).to_have_count(16)
    assert tokens(page, "query")[-3:] == ["end", ".", "[SEP]"]
    expect(page).to_have_url(re.compile("The\\+end"))
    assert query_of(page)["layer"] == "2"


def test_enter_runs_at_once(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    text_field(page).fill("the bank")
    text_field(page).press("Enter")
    expect(page.locator(".lines-column.key .token")).to_have_text(["[CLS]", "the", "bank", "[SEP]"])


def test_an_older_answer_never_overwrites_a_newer_one(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    held: list[Route] = []
    page.route(re.compile("run.*text=the\\+river"), lambda route: held.append(route))
    text_field(page).fill("the river")
    with page.expect_request(re.compile("run.*text=the\\+river")):
        text_field(page).press("Enter")
    text_field(page).fill("the bank")
    text_field(page).press("Enter")
    expect(page.locator(".lines-column.key .token")).to_have_text(["[CLS]", "the", "bank", "[SEP]"])
    held[0].abort()
    assert tokens(page, "key") == ["[CLS]", "the", "bank", "[SEP]"]
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_late_answer_does_not_undo_a_later_choice(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    held: list[Route] = []
    page.route("**/api/v1/anatomy?*", lambda route: held.append(route))
    with page.expect_request("**/api/v1/anatomy?*"):
        page.get_by_role("tab", name="Anatomy").click()
    page.get_by_role("tab", name="Table").click()
    complete(page)
    held[0].continue_()
    expect(page).to_have_url(re.compile("view=table"))
    expect(page.get_by_role("tab", name="Table")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>"]
)
def test_markup_stays_text(explore: Explore, text: str) -> None:
    page = explore(model="bert", text=text)
    for view in ("Matrix", "Table", "Lines"):
        page.get_by_role("tab", name=view).click()
        page.locator("#view .numbers, #view .xtick text, #view button").first.wait_for()
    assert "".join(tokens(page, "query")[1:-1]) == text.replace(" ", "")
    assert count_of(page.locator("main img, main script")) == 0
    expect(text_field(page)).to_have_value(text)


def test_reload_restores_the_view(explore: Explore) -> None:
    page = explore(model="gpt", text="Once upon a time", layer=0, head=7, query=0, threshold=0)
    page.get_by_role("tab", name="Table").click()
    option(page, "Special tokens").select_option("hide")
    expect(page.locator("#foot")).to_contain_text("rows sum to less than 1")
    before = address_of(page), text_of(page.locator("main"))
    page.reload()
    expect(page.locator("#foot")).to_contain_text("rows sum to less than 1")
    assert (address_of(page), text_of(page.locator("main"))) == before


def test_numbers_that_were_interrupted_are_asked_for_again(page: Page) -> None:
    page.route("**/api/v1/metrics?*", lambda route: None)
    page.route(re.compile("run.*text=Twice"), lambda route: None)
    with page.expect_request("**/api/v1/metrics?*"):
        page.goto(f"/explore?{urlencode({'model': 'gpt', 'text': 'Once upon a time'})}")
    text_field(page).fill("Twice")
    with page.expect_request(re.compile("run.*text=Twice")):
        text_field(page).press("Enter")
    expect(page.locator("#heads")).to_have_attribute("aria-busy", "true")
    page.unroute_all()
    text_field(page).fill("Once upon a time")
    text_field(page).press("Enter")
    expect(page.locator("#heads")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".grid-badge").first).to_be_attached()


def test_back_undoes_each_choice(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=1, head=1)
    page.get_by_role("tab", name="Table").click()
    page.get_by_role("grid").click(position=point_at_head(page, 3, 5))
    expect(page.get_by_role("heading", name="Layer 3 · Head 5")).to_be_visible()
    text_field(page).fill("the bank")
    expect(page).to_have_url(re.compile("the\\+bank"))
    page.go_back()
    expect(text_field(page)).to_have_value(RIVER)
    page.go_back()
    expect(page.get_by_role("heading", name="Layer 1 · Head 1")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("tab", name="Lines")).to_have_attribute("aria-selected", "true")
    page.go_forward()
    expect(page.get_by_role("tab", name="Table")).to_have_attribute("aria-selected", "true")


def test_back_keeps_the_lock_of_the_earlier_text(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, query=10)
    text_field(page).fill("the bank")
    text_field(page).press("Enter")
    expect(page).to_have_url(re.compile("the\\+bank"))
    page.go_back()
    expect(token(page, "query", 10)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_metric_that_cross_attention_lacks_falls_back(explore: Explore) -> None:
    page = explore(model="recurrent", text="El banco.", metric="distance")
    expect(page.locator("#notice")).to_contain_text("metric=distance")
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), ("bank " * 600, "512")])
def test_a_refused_text_keeps_the_picture_and_the_words(
    explore: Explore, text: str, reason: str
) -> None:
    page = explore(model="bert", text=RIVER)
    text_field(page).fill(text)
    expect(page.get_by_role("alert")).to_contain_text(reason)
    expect(text_field(page)).to_have_value(text)
    assert tokens(page, "query")[6] == "bank"
    expect(page.get_by_text("The picture is of the earlier text")).to_be_visible()
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text(reason)
    expect(text_field(page)).to_have_value(text)


def test_a_refused_text_is_forgotten_with_the_next_good_one(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    text_field(page).fill("")
    expect(page.get_by_role("alert")).not_to_be_empty()
    text_field(page).fill("the bank")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.get_by_text("The picture is of the earlier text")).to_be_hidden()


def test_an_unknown_model_is_named_and_the_text_kept(page: Page) -> None:
    page.goto(f"/explore?{urlencode({'model': 'nope', 'text': RIVER})}")
    expect(page.get_by_role("alert")).to_contain_text("nope")
    expect(text_field(page)).to_have_value(RIVER)
    page.get_by_label("Model").select_option("gpt")
    expect(page.get_by_role("heading", name="Layer 0 · Head 0")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()


def test_nonsense_in_the_address_falls_back_and_is_named(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=99, head=-1, view="zzz", query=77)
    expect(page.get_by_role("heading", name="Layer 0 · Head 0")).to_be_visible()
    for part in ("layer 99", "head -1", "view zzz", "query 77"):
        expect(page.locator("#notice")).to_contain_text(part)


def test_a_busy_server_is_asked_again(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "body": "{}"}
    page.route("**/api/v1/run?*", lambda route: route.fulfill(**busy), times=1)
    text_field(page).fill("the bank")
    expect(page.locator("#notice")).to_contain_text("busy: trying again in 1 s")
    expect(token(page, "query", 6)).to_contain_text("bank")  # the picture stays meanwhile
    expect(page.locator(".lines-column.key .token")).to_have_text(["[CLS]", "the", "bank", "[SEP]"])
    expect(page.locator("#notice")).to_be_empty()


def test_a_long_text_goes_as_a_post(explore: Explore) -> None:
    page = explore(model="gpt", text="the bank")
    with page.expect_request(lambda request: request.method == "POST"):
        text_field(page).fill("水" * 700)
    expect(page.get_by_role("alert")).to_contain_text("512")
