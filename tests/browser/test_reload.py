"""A reload, Back and Forward: the same address and the same picture, on every page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.browser.complete import complete, evaluated, query_of

Change = Callable[[Page], object]

SNAPSHOT = """() => ({
  address: location.pathname + location.search,
  fields: [...document.querySelectorAll("main :is(select, input, textarea)")].map((el) =>
    [el.name || el.id, el.type === "checkbox" ? el.checked : el.value]),
  pressed: [...document.querySelectorAll("main :is([aria-pressed=true], [aria-selected=true])")]
    .map((el) => el.textContent),
  text: document.querySelector("main").innerText,
  pictures: [...document.querySelectorAll("main canvas")].map((canvas) => canvas.toDataURL())
})"""


def text(value: str, name: str = "text") -> Change:
    def change(page: Page) -> None:
        field = page.locator(f"main [name={name}]")
        field.fill(value)
        field.press("Enter")

    return change


def select(name: str, value: str) -> Change:
    return lambda page: page.locator(f"main select[name={name}]").select_option(value)


def click(selector: str, n: int = 0) -> Change:
    return lambda page: page.locator(selector).nth(n).click()


MAT = "The cat sat on the mat by the river bank."
CHANGES: dict[str, list[Change]] = {
    "explore": [text(MAT), select("layer", "3"), click(".lines-column.query button", 2)],
    "compare": [text(MAT), click("#ranked tbody button", 1), click("#content-words")],
    "masks": [text("The cat sat\nA dog", "texts"), select("head", "2"), select("off", "padding")],
    "positions": [text("We like cats"), select("model", "gpt"), select("measure", "dot")],
    "attention": [text(MAT), select("head", "2"), select("stops", "hidden")],
    "translate": [text("El banco es grande."), select("head", "2"), click("#target button", 1)],
    "generate": [text("Once there was"), select("layer", "2"), click("#said button", 3)],
    "classify": [text(MAT), select("head", "2"), click("#labels button", 1)],
    "fill": [text("He sat on the [MASK] bank."), select("head", "2"), click("#sentence button", 3)],
}


def snapshot(page: Page) -> dict[str, Any]:
    page.mouse.move(0, 0)
    complete(page)
    state: dict[str, Any] = evaluated(page, SNAPSHOT)
    return state


@pytest.mark.parametrize("name", CHANGES)
def test_a_reload_back_and_forward_show_the_same(page: Page, name: str) -> None:
    page.goto(f"/{name}?lang=en")
    states = [snapshot(page)]
    for change in CHANGES[name]:
        change(page)
        states.append(snapshot(page))
    addresses = [state["address"] for state in states]
    assert len(set(addresses)) == len(states)
    page.reload()
    assert snapshot(page) == states[-1]
    for state in reversed(states[:-1]):
        page.go_back()
        assert snapshot(page) == state
    for _ in states[1:]:
        page.go_forward()
    assert snapshot(page) == states[-1]


ON_ITS_WAY = {"explore": select("layer", "1"), "generate": text("7", "seed")}


@pytest.mark.parametrize("name", ON_ITS_WAY)
def test_a_reload_asks_again_for_what_is_on_its_way(page: Page, name: str) -> None:
    page.goto(f"/{name}?lang=en")
    before = query_of(page)
    held: list[Route] = []
    is_held = [True]
    page.route(
        "**/api/v1/**", lambda route: held.append(route) if any(is_held) else route.continue_()
    )
    ON_ITS_WAY[name](page)
    page.wait_for_function("() => history.state?.draft")
    assert held
    is_held.clear()
    page.reload()
    fields = dict(snapshot(page)["fields"])
    after = query_of(page)
    changed = {key: after[key] for key in after if after[key] != before.get(key)}
    assert changed
    assert {key: fields[key] for key in changed} == changed
