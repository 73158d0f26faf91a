"""The top bar and addresses of earlier versions."""

from __future__ import annotations

import re

import pytest
from attention_atlas.app.navigation import BAR, LINKS, MOVED, Group

GROUPED = [(group.label, link) for group in BAR if isinstance(group, Group) for link in group.links]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.path)
def test_every_page_of_the_bar_is_there_and_marked(client, link):
    page = client.get(f"{link.path}?lang=en").text
    header = page[page.index("<header") : page.index("</header>")]
    current = re.findall(r'<a href="([^"?]*)[^>]* aria-current="page">', header)
    assert set(current) == {link.path}


@pytest.mark.parametrize(
    ("label", "link"), GROUPED, ids=lambda value: getattr(value, "path", value)
)
def test_the_group_of_the_page_is_marked(client, label, link):
    page = client.get(f"{link.path}?lang=en").text
    assert re.findall(r'<summary class="current">(\w+)', page) == [label]


@pytest.mark.parametrize("old", MOVED)
def test_old_addresses_keep_their_parameters(client, old):
    query = "text=The+%E6%B2%B3+bank&word=2&d_k=16&lang=zh&theme=dark"
    answer = client.get(f"{old}?{query}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{MOVED[old]}?{query}")
    assert client.get(old, follow_redirects=False).headers["location"] == MOVED[old]
