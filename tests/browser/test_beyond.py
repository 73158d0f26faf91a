"""A step or a blank that is not there: the last is shown, and that is said."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.working import opened


def test_a_step_beyond_the_last_is_said_to_be_the_last(page: Page) -> None:
    opened(page, "/generate", text="The old king", max_new_tokens=4, step=99)
    expect(page.locator("#notice")).to_contain_text("step 99 does not exist: 0 to 3")
    expect(page.locator("#notice")).to_contain_text("3 is shown instead")
    expect(page.locator("#said [aria-pressed=true]")).to_have_count(1)


def test_a_shorter_text_names_the_step_that_is_gone(page: Page) -> None:
    opened(page, "/generate", text="The old king", max_new_tokens=4, step=3)
    field = page.get_by_role("spinbutton", name="New tokens")
    field.fill("2")
    field.press("Enter")
    message = "step 3 does not exist: 0 to 1; 1 is shown instead."
    expect(page.locator("#notice")).to_contain_text(message)
    expect(page).to_have_url(re.compile("step=1(&|$)"))


def test_in_chinese_too(page: Page) -> None:
    opened(page, "/translate", text="El banco está cerrado.", step=99, lang="zh")
    expect(page.locator("#notice")).to_contain_text("step 99 不存在")


def test_a_blank_beyond_the_last_is_named(page: Page) -> None:
    opened(page, "/fill", text="The [MASK] is cold.", mask=9)
    message = "mask 9 does not exist: 0 to 0; 0 is shown instead."
    expect(page.locator("#notice")).to_contain_text(message)


@pytest.mark.parametrize("path", ["/fill", "/classify", "/explore"])
def test_a_token_beyond_the_text_is_said_and_none_is_locked(page: Page, path: str) -> None:
    page.goto(f"{path}?query=99")
    notice = re.compile(r"query 99 does not exist: 0 to \d+; no token is locked")
    expect(page.locator("#notice")).to_contain_text(notice)
