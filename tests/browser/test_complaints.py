"""What fails a test whatever it asserts: a page's errors, missing files, requests elsewhere."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.conftest import complaints_of

ADD = """([tag, properties]) => new Promise((done) => {
  const el = Object.assign(document.createElement(tag), properties, {onload: done, onerror: done});
  document.head.append(el);
})"""
FETCH = "(url) => fetch(url).catch(() => null)"
ADDED = {
    "http://cdn.example.org/a.png": ["img", {"src": "http://cdn.example.org/a.png"}],
    "/static/js/none.js": ["script", {"src": "/static/js/none.js"}],
    "/static/css/none.css": ["link", {"href": "/static/css/none.css", "rel": "stylesheet"}],
}


@pytest.mark.parametrize(
    ("code", "argument", "complaint"),
    [
        (FETCH, "https://example.com/x", "asked another host: https://example.com/x"),
        (FETCH, "http://192.0.2.1/x", "asked another host: http://192.0.2.1/x"),
        (FETCH, "/static/none.json", "/static/none.json"),
        ("(url) => import(url).catch(() => null)", "/static/js/none.js", "/static/js/none.js"),
        *((ADD, argument, complaint) for complaint, argument in ADDED.items()),
        ("(text) => console.error(text)", "a line of the console", "a line of the console"),
        ("(text) => void setTimeout(() => { throw Error(text); })", "thrown", "page error: Error"),
    ],
)
def test_a_page_is_complained_of(
    context: BrowserContext, server: str, code: str, argument: object, complaint: str
) -> None:
    page = context.new_page()
    page.goto("/models")
    complaints = complaints_of(page, server)
    page.evaluate(code, argument)
    for _ in range(100):
        if any(complaint in text for text in complaints):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"not {complaint}, but {complaints}")


def test_an_answer_that_the_api_refuses_is_no_complaint(
    context: BrowserContext, server: str
) -> None:
    page = context.new_page()
    complaints = complaints_of(page, server)
    page.goto("/models")
    assert page.evaluate("async () => (await fetch('/api/v1/nope')).status") == 404
    assert complaints == []
