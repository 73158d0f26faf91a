"""Models from elsewhere in a real Chromium: opened from the page, shown like any other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from attention_atlas.model.hub.library import packaged
from playwright.sync_api import Page, expect

from tests import saved
from tests.browser.complete import complete, evaluated, query_of, screenshot, texts_of, width_of
from tests.browser.screens import BOTH_CLEAN, LIGHT, PHONE, violations, violations_by_theme

DOCS = Path(__file__).parents[2] / "docs"
RIVER = "He sat on the river bank and watched the water."
REAL = pytest.mark.skipif(len(packaged()) < 2, reason="make pretrained installs the models")
SECONDS = 120_000  # a GGUF file is unpacked once, on a machine that does other things too

Explore = Callable[..., Page]


def api(server: str, path: str, **query: object) -> Any:
    with urlopen(f"{server}/api/v1/{path}?{urlencode(query)}") as answer:
        return json.load(answer)


def open_by_name(page: Page, name: str) -> None:
    page.get_by_text("Open another model").click()
    page.get_by_role("textbox", name="Hub name or folder").fill(name)
    page.get_by_role("button", name="Open", exact=True).click()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved.gpt2(tmp_path / f"gpt-{tmp_path.name}")


@REAL
@pytest.mark.parametrize(
    ("name", "shape"), [("all-MiniLM-L6-v2", (6, 12)), ("SmolLM2-135M-Instruct", (30, 9))]
)
def test_a_real_model_is_chosen_and_drawn(
    explore: Explore, server: str, name: str, shape: tuple[int, int]
) -> None:
    page = explore(model="bert", text=RIVER)
    page.get_by_role("combobox", name="Model").select_option(name)
    L, H = shape
    label = page.get_by_role("grid", name=f"All heads: {L} layers by {H} heads")
    expect(label).to_be_visible(timeout=SECONDS)
    expect(page.locator("#foot")).to_contain_text(name)
    assert query_of(page)["model"] == name
    spec = {"model": name, "text": RIVER, "layer": 1, "head": 2}
    page.goto(f"/explore?{urlencode({**spec, 'view': 'table'})}")
    complete(page)
    most = [max(row) for row in api(server, "attention", **spec)["attn"][0][0]]
    rows = page.locator("#view tbody tr")
    expect(rows).to_contain_text([f"{value:.4f}" for value in most])
    page.go_back()
    expect(page.get_by_role("combobox", name="Model")).to_have_value(name)


@REAL
@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
def test_heads_that_share_keys_are_in_groups(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="SmolLM2-135M-Instruct", text=RIVER, layer=2, head=1, query=5)
    expect(page.locator(".grid-groups span")).to_have_text(["kv 0", "kv 1", "kv 2"])
    head = page.get_by_role("button", name="head 4 of all layers, keys and values of group 1")
    expect(head).to_be_visible()
    expect(page.get_by_text("bank looks most at")).to_be_visible()
    folder = DOCS if os.environ.get("UPDATE_PICTURES") == "1" else tmp_path
    picture = screenshot(page, folder / "own-model.png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 30_000


@REAL
def test_what_a_model_cannot_is_said(explore: Explore) -> None:
    page = explore(model="all-MiniLM-L6-v2", text=RIVER)
    expect(page.get_by_text("This model has no head that predicts words.")).to_be_visible()
    expect(page.get_by_role("textbox", name="Second sentence")).to_be_visible()
    page.goto("/positions?model=SmolLM2-135M-Instruct")
    expect(page.get_by_text("SmolLM2-135M-Instruct: rotary positions")).to_be_visible()


@REAL
def test_anatomy_says_that_q_and_k_are_rotated(explore: Explore) -> None:
    page = explore(model="SmolLM2-135M-Instruct", text="The river bank", view="anatomy", query=2)
    expect(page.locator(".anatomy-steps")).to_contain_text("q and k are shown after rotation")


@REAL
def test_real_models_are_compared(page: Page, server: str, tmp_path: Path) -> None:
    query = {"model": "all-MiniLM-L6-v2", "text": RIVER, "word": "bank"}
    money = "She opened an account at the bank to save money."
    for other in ("all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"):
        page.goto(f"/compare?{urlencode({**query, 'text_b': money, 'model_b': other})}")
        page.locator("#comparison[aria-busy=false]").wait_for(timeout=SECONDS)
        expect(page.locator(".compare-map button").first).to_be_visible()
        assert len(screenshot(page, tmp_path / f"{other}.png")) > 30_000
    query = {"model": "SmolLM2-135M-Instruct", "text": RIVER, "text_b": money, "word": "bank"}
    page.goto(f"/compare?{urlencode(query)}")
    complete(page)
    expect(page.locator(".compare-map button")).to_have_count(270)
    page.get_by_label("Content words only").check()
    words = page.locator("#function-words")
    expect(words).to_contain_text("by the list of function words (English)")
    expect(words).to_contain_text("The language of SmolLM2-135M-Instruct is not known here")


def test_a_folder_is_opened_by_its_path(explore: Explore, folder: Path) -> None:
    page = explore(model="bert", text="The river bank")
    open_by_name(page, str(folder))
    expect(page.get_by_role("grid", name="All heads: 3 layers by 4 heads")).to_be_visible()
    picker = page.get_by_role("combobox", name="Model")
    expect(picker).to_have_value(folder.name)
    assert query_of(page)["model"] == folder.name
    page.go_back()
    expect(picker).to_have_value("bert")
    page.go_forward()
    expect(picker).to_have_value(folder.name)
    page.goto("/masks")
    choice = page.get_by_role("combobox", name="Model")
    names = [text.split(",")[0] for text in texts_of(choice.locator("option"))]
    assert folder.name in names


def test_the_reason_is_said_and_the_picture_stays(explore: Explore, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.rename(folder / "pytorch_model.bin")
    page = explore(model="bert", text="The river bank")
    open_by_name(page, str(folder))
    element = page.locator(".opening [role=status]")
    expect(element).to_contain_text("No safetensors: ")
    expect(element).to_contain_text("which can run code when it is opened")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("bert")
    field = page.get_by_role("textbox", name="Hub name or folder")
    expect(field).to_have_value(str(folder))
    field.fill("/no/such/folder")
    field.press("Enter")
    expect(element).to_contain_text("Not found: there is no model at /no/such/folder")
    assert query_of(page)["model"] == "bert"


@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
def test_axe_finds_no_violation_in_either_theme(explore: Explore) -> None:
    page = explore(model="bert", text="The river bank")
    open_by_name(page, "/no/such/folder")
    expect(page.locator(".opening")).to_contain_text("Not found")
    assert violations_by_theme(page) == BOTH_CLEAN


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_has_room_for_it(explore: Explore) -> None:
    page = explore(model="bert", text="The river bank")
    open_by_name(page, "/no/such/folder/" + "x" * 80)
    expect(page.locator(".opening")).to_contain_text("Not found")
    assert violations(page) == []
    assert width_of(page) == 390
    heights = evaluated(
        page,
        """[...document.querySelectorAll(".open-model :is(summary, input, button)")]
        .filter((el) => el.checkVisibility())
        .map((el) => el.getBoundingClientRect().height)""",
    )
    assert min(heights) >= 43.9


@REAL
def test_its_own_q_k_and_v_are_taken_apart(page: Page) -> None:
    page.goto("/attention?model=SmolLM2-135M-Instruct&layer=3&head=4")
    complete(page)
    expect(page.locator("#anatomy tbody tr")).to_have_count(8)
    expect(page.locator("#shapes")).to_contain_text("576 × 3 · 64")
    expect(page.locator("#heads-table")).to_be_hidden()
    expect(page.locator("#elsewhere")).to_be_visible()
    page.get_by_role("combobox", name="Model").select_option("bert")
    expect(page.locator("#heads-table")).to_be_visible()
    expect(page.locator("#elsewhere")).to_be_hidden()


@REAL
def test_it_goes_on_with_a_text(page: Page) -> None:
    text = "The+capital+of+France+is"
    page.goto(f"/generate?model=SmolLM2-135M-Instruct&text={text}&temperature=0&max_new_tokens=3")
    complete(page)
    expect(page.locator("#said button").first).to_have_text("Paris")
    expect(page.locator("#candidates tbody tr").first).to_contain_text("Paris")
