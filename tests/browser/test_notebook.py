"""A figure as a notebook shows it: in a frame that has no origin and reaches nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import attention_atlas as atlas

TOKENS = ["the", "river", "bank"]


@pytest.fixture(scope="module")
def figure() -> atlas.Figure:
    attn = np.full((2, 3, 3, 3), 1 / 3)
    attn[1, 2] = np.eye(3)[[1, 2, 0]]  # the river ← the, bank ← river, the ← bank
    return atlas.show(attn, TOKENS, layer=1, head=2, query=0)


def test_all_heads_and_the_chosen_one_are_drawn(page: Page, figure: atlas.Figure) -> None:
    page.set_content(f"<h1>A notebook</h1>{figure._repr_html_()}")
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("heading", name="the river bank")).to_be_visible()
    expect(inside.locator("#head-title")).to_have_text(re.compile("Layer 1.*head 2", re.I))
    expect(inside.locator("#heads canvas").first).to_be_visible()
    inside.get_by_role("tab", name="Matrix").click()
    expect(inside.locator("#view .heatmaplayer image")).to_be_visible()
    inside.get_by_role("tab", name="Table").click()
    expect(inside.locator("#view table")).to_contain_text("river")
    expect(inside.locator("#problem")).to_be_hidden()


def test_two_figures_stand_beside_each_other(page: Page, figure: atlas.Figure) -> None:
    other = atlas.show(np.full((1, 1, 2, 2), 0.5), ["a", "b"])
    page.set_content(figure._repr_html_() + other._repr_html_())
    for n, text in enumerate(("the river bank", "a b")):
        inside = page.frame_locator(f"iframe >> nth={n}")
        expect(inside.get_by_role("heading", name=text)).to_be_visible()
        expect(inside.locator("#picture")).to_be_visible()
