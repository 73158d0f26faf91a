"""A file of attention opened on the page."""

from __future__ import annotations

import json
import re

import numpy as np
import safetensors.numpy
from playwright.sync_api import Page, expect

from tests.browser.working import opened

TOKENS = ["[CLS]", "the", "river", "bank", "[SEP]"]


def chosen(page: Page, body: bytes) -> None:
    page.locator("#own summary").click()
    file = {"name": "mine.safetensors", "mimeType": "application/octet-stream", "buffer": body}
    page.locator("#own input[type=file]").set_input_files([file])  # type: ignore[list-item]


def test_a_file_of_attention_is_shown(page: Page) -> None:
    attn = np.full((2, 3, 5, 5), 0.2, np.float32)
    opened(page, "/explore")
    chosen(page, safetensors.numpy.save({"attn": attn}, {"tokens": json.dumps(TOKENS)}))
    expect(page).to_have_url(re.compile(r"model=record-"))
    expect(page.locator(".lines-column.query button")).to_have_text(TOKENS)
    expect(page.locator("#predictions")).to_contain_text("attention was computed elsewhere")


def test_what_cannot_be_shown_is_said_and_the_picture_stays(page: Page) -> None:
    opened(page, "/explore")
    chosen(page, b"nothing")
    expect(page.locator(".opening [role=status]")).to_contain_text("neither whole safetensors")
    expect(page.locator(".lines-column.query button").first).to_be_visible()
