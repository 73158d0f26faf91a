"""What the tests of Translate, Generate and Fill in have in common."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from playwright.sync_api import Page

from tests.browser.complete import complete, texts_of


def opened(page: Page, path: str, **query: object) -> Page:
    page.goto(f"{path}?{urlencode(query)}" if query else path)
    return complete(page)


def api(server: str, path: str, **body: Any) -> Any:
    headers = {"content-type": "application/json"}
    request = Request(f"{server}/api/v1{path}", json.dumps(body).encode(), headers)
    with urlopen(request) as answer:
        return json.load(answer)


def texts(page: Page, selector: str) -> list[str]:
    return texts_of(page.locator(f"{selector} .token"))
