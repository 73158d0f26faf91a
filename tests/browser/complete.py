"""What a page has to say, read when the page is complete: nothing on it is busy."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import FloatRect, Locator, Page

IS_COMPLETE = """() => document.readyState === "complete"
  && !document.querySelector("[aria-busy=true]")"""


def complete(page: Page) -> Page:
    """Wait until answers, what comes after them, pauses in typing and plots are all done."""
    page.wait_for_function(IS_COMPLETE)
    return page


def evaluated(target: Page | Locator, code: str, argument: object = None) -> Any:
    complete(target if isinstance(target, Page) else target.page)
    return target.evaluate(code, argument)


def address_of(page: Page) -> str:
    """The page's own; Playwright's page.url follows it a little later."""
    return str(evaluated(page, "location.href"))


def query_of(page: Page) -> dict[str, str]:
    query = parse_qs(urlsplit(address_of(page)).query, keep_blank_values=True)
    return {key: values[0] for key, values in query.items()}


def width_of(page: Page) -> int:
    """How wide the page is, with what has to be scrolled to."""
    return int(evaluated(page, "document.documentElement.scrollWidth"))


def texts_of(locator: Locator) -> list[str]:
    complete(locator.page)
    return locator.all_text_contents()


def text_of(locator: Locator) -> str:
    complete(locator.page)
    return locator.inner_text()


def value_of(locator: Locator) -> str:
    complete(locator.page)
    return locator.input_value()


def attribute_of(locator: Locator, name: str) -> str:
    """The attribute's value; "" where there is none."""
    complete(locator.page)
    return locator.get_attribute(name) or ""


def count_of(locator: Locator) -> int:
    complete(locator.page)
    return locator.count()


def all_of(locator: Locator) -> list[Locator]:
    complete(locator.page)
    return locator.all()


def box_of(locator: Locator) -> FloatRect:
    complete(locator.page)
    box = locator.bounding_box()
    assert box is not None
    return box


def screenshot(target: Page | Locator, path: Path | None = None) -> bytes:
    complete(target if isinstance(target, Page) else target.page)
    return target.screenshot(path=path)
