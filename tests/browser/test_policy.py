"""The Content Security Policy of every page, enforced: Chromium reports what breaks it."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

ENFORCED = {"viewport": {"width": 1440, "height": 900}, "bypass_csp": False}
PATHS = (
    "/",
    "/explore",
    "/compare",
    "/translate",
    "/generate",
    "/fill",
    "/classify",
    "/lab",
    "/attention",
    "/masks",
    "/positions",
    "/models",
    "/models/gpt",
    "/learn",
    "/lab",
    "/docs",
)


@pytest.mark.parametrize("setting", [ENFORCED])
@pytest.mark.parametrize("path", PATHS)
def test_no_page_breaks_its_policy(page: Page, path: str) -> None:
    """The fixture fails on each line that Chromium writes to the console as an error."""
    answer = page.goto(path)
    page.wait_for_load_state("networkidle")
    assert answer
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe-inline" not in policy


@pytest.mark.parametrize("setting", [ENFORCED])
def test_every_step_of_the_course_keeps_the_policy(page: Page) -> None:
    """Each figure of the course that Plotly draws, and its tables with bars."""
    page.goto("/learn/2")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".bars .share rect").first).to_be_attached()


@pytest.mark.parametrize("setting", [ENFORCED])
def test_an_inline_style_has_no_effect(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/positions")
    page.evaluate("""() => {
      const style = document.createElement("style");
      style.textContent = "body { color: rgb(1, 2, 3) }";
      document.head.append(style);
      document.body.insertAdjacentHTML("beforeend", '<p id="x" style="color: rgb(1, 2, 3)">x</p>');
    }""")
    color = "getComputedStyle(document.querySelector('{}')).color"
    for selector in ("body", "#x"):
        assert page.evaluate(color.format(selector)) != "rgb(1, 2, 3)"
    page.evaluate("document.querySelector('#x').style.color = 'rgb(1, 2, 3)'")  # the CSSOM
    assert page.evaluate(color.format("#x")) == "rgb(1, 2, 3)"


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
