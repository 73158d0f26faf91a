"""The app below a path of a proxy: links, redirects, scripts, the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

PAGES = ("/", "/explore", "/models", "/models/gpt", "/learn", "/generate", "/positions", "/docs")
ADDRESS = re.compile(r'\b(?:href|src|action)="(/[^"]*)"')


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(Settings(models="gpt", threads=1, root_path="/atlas"))
    with TestClient(app, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("prefix", ["", "/atlas"])
def test_every_address_of_a_page_has_the_prefix(client: TestClient, path: str, prefix: str) -> None:
    """Whether the proxy strips it or not."""
    answer = client.get(f"{prefix}{path}")
    assert answer.status_code == 200
    addresses = ADDRESS.findall(answer.text)
    assert len(addresses) > 5
    assert [each for each in addresses if not each.startswith("/atlas/")] == []
    assert not any(each.startswith("/atlas/atlas") for each in addresses)
    assert '"/atlas/static/' in answer.text and 'data-root="/atlas"' in answer.text
    assert "/docs" in path or answer.headers["link"].startswith("</atlas/")


def test_the_policy_knows_the_import_map_with_the_prefix(client: TestClient) -> None:
    from attention_atlas.app.security import digest

    answer = client.get("/explore")
    [script] = re.findall(r'<script type="importmap">(.*?)</script>', answer.text)
    assert digest(script) in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "place", "status"),
    [
        ("/arithmetic?text=a", "/atlas/attention?text=a", 308),
        ("/explore/?text=a", "http://testserver/atlas/explore?text=a", 307),
    ],
)
def test_redirects_have_it(client: TestClient, path: str, place: str, status: int) -> None:
    for prefix in ("", "/atlas"):
        answer = client.get(f"{prefix}{path}")
        assert (answer.status_code, answer.headers["location"]) == (status, place)


def test_links_of_an_answer_and_the_schema_have_it(client: TestClient) -> None:
    spec = {"model": "gpt", "text": "a bank"}
    links = client.get("/api/v1/run", params=spec).json()["links"]
    assert all(link.startswith("/atlas/") for link in links.values())
    assert client.get(links["attention"]).status_code == 200
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/atlas"}]


def test_what_only_looks_like_the_prefix_is_a_path(client: TestClient) -> None:
    assert client.get("/atlasexplore").status_code == 404
    assert client.get("/atlas/atlas/explore").status_code == 404
    assert client.get("/atlas").status_code == 200


def test_what_is_typed_is_no_link(client: TestClient) -> None:
    text = 'href="/explore"'
    page = client.get("/explore", params={"model": "gpt", "text": text}).text
    assert 'href="/atlas/explore"' not in page.partition("</header>")[2].partition("<details")[0]
    assert "href=&#34;/explore&#34;" in page


@pytest.mark.parametrize("path", ["atlas", "/atlas/", "/a b", "//evil.example", '/a"b'])
def test_a_base_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=path)


@pytest.mark.parametrize("path", ["/explore", "/learn/more", "/static", "/api"])
def test_a_base_path_that_is_an_address_of_the_app_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="ROOT_PATH"):
        create_app(Settings(models="gpt", threads=1, root_path=path))


def test_without_one_nothing_changes() -> None:
    page = TestClient(create_app(Settings(models="gpt", threads=1))).get("/explore").text
    assert 'data-root=""' in page and 'href="/models' in page


PREFIX = "/atlas"
ODD = (
    "//explore",
    "/explore//",
    "/%2Fexplore",
    "/%2f%2fevil.example/",
    "//evil.example/",
    "//evil.example/explore/",
    "/explore%2F",
    "/explore/%2e%2e/models",
    "/%2e%2e/models",
    "/..%2fmodels",
    "/./explore/./",
    "/models/..%2fgpt",
    "/models/gpt%2F",
    "/models/%2E%2E%2F%2E%2E%2Fetc%2Fpasswd",
    "/static/%2e%2e/%2e%2e/pyproject.toml",
    "/static//etc/passwd",
    "/arithmetic%2F?text=a",
    "//arithmetic?text=a",
    "/atlas%2Fexplore",
    "/%61tlas/explore",
    "/%0d%0aX: y",
)  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> Iterator[TestClient]:
    """The same app at the top of its host."""
    app = create_app(Settings(models="gpt", threads=1))
    with TestClient(app, follow_redirects=False) as client:
        yield client


def sent_as_it_is(client: TestClient, target: str) -> Any:
    """A target whose path no client has tidied before: both spellings of it, as uvicorn has them.

    (httpx itself would remove dot segments.)
    """
    path, _, query = target.partition("?")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        odd = {"path": unquote(path), "raw_path": path.encode(), "query_string": query.encode()}
        await client.app(scope | odd if scope["type"] == "http" else scope, receive, send)

    return TestClient(app, follow_redirects=False).get("/")


@pytest.mark.parametrize("target", ODD)
def test_odd_paths_below_the_prefix_are_what_they_are_without(
    client: TestClient, plain: TestClient, target: str
) -> None:
    below, top = (
        sent_as_it_is(app, target) for app, target in ((client, PREFIX + target), (plain, target))
    )
    assert below.status_code == top.status_code
    for name in ("location", "link"):
        assert (name in below.headers) == (name in top.headers)
        place = below.headers.get(name, "").partition("testserver")[2] or below.headers.get(name)
        if place:
            assert re.match(r"<?/atlas/(?!/)", place), place
            assert not re.match(r"<?/atlas/atlas", place), place
    assert "root:" not in below.text and "[project]" not in below.text


@pytest.mark.parametrize("target", ["/%61tlas/explore", "/atlas%2Fexplore", "/atlas/explore"])
def test_a_prefix_that_is_written_in_code_is_the_prefix(client: TestClient, target: str) -> None:
    """Of the path that is routed it is removed; so it is of the path that links are made of."""
    answer = sent_as_it_is(client, target)
    assert answer.status_code == 200
    assert answer.headers["link"].startswith("</atlas/explore.json>")
