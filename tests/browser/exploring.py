"""What the tests of Explore have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import Page

from tests.browser.complete import box_of, texts_of

RIVER = "He sat on the river bank and watched the water."


SVG = "{http://www.w3.org/2000/svg}"


Explore = Callable[..., Page]


def api(server: str, path: str, **query: object) -> Any:
    spec = {"model": "bert", "text": RIVER, **query}
    with urlopen(f"{server}/api/v1/{path}?{urlencode(spec)}") as answer:
        return json.load(answer)


def text_field(page: Page) -> Any:
    return page.get_by_role("textbox", name="Text", exact=True)


def option(page: Page, name: str) -> Any:
    return page.get_by_role("combobox", name=name, exact=True)


def token(page: Page, side: str, index: int) -> Any:
    return page.get_by_role("group", name=f"{side} tokens").get_by_role("button").nth(index)


def tokens(page: Page, side: str) -> list[str]:
    return texts_of(page.locator(f".lines-column.{side} .token"))


def point_at_head(page: Page, layer: int, head: int) -> dict[str, float]:
    """Where a head's picture is, inside the grid of 6 layers."""
    box = box_of(page.get_by_role("grid"))
    assert box is not None
    cell = (box["height"] - 24) / 6
    return {"x": 26 + (head + 0.5) * cell, "y": 24 + (layer + 0.5) * cell}


def three(values: list[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]


def saved(page: Page, button: str, tmp_path: Path) -> Path:
    with page.expect_download() as download:
        page.locator("#foot").get_by_role("button", name=button, exact=True).click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path
