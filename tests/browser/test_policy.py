"""The Content Security Policy of every page, enforced: Chromium reports what breaks it."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

ENFORCED = {"viewport": {"width": 1440, "height": 900}, "bypass_csp": False}
PATHS = (
    "/",
    "/explore",
    "/compare",
    "/translate",
    "/generate",
    "/fill",
    "/lab",
    "/attention",
    "/masks",
    "/positions",
    "/models",
    "/models/gpt",
    "/learn",
    "/docs",
)


@pytest.mark.parametrize("setting", [ENFORCED])
@pytest.mark.parametrize("path", PATHS)
def test_no_page_breaks_its_policy(page: Page, path: str) -> None:
    """The fixture fails on each line that Chromium writes to the console as an error."""
    answer = page.goto(path)
    page.wait_for_load_state("networkidle")
    assert answer and "script-src" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("setting", [ENFORCED])
def test_a_script_from_elsewhere_does_not_run(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/explore")
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "globalThis.ran = true";
      document.body.append(script);
    }""")
    assert page.evaluate("globalThis.ran") is None
