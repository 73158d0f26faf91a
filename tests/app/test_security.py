"""Who is answered, and what a page may do: Host, other sites, proxies, policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.security import content_policy, digest
from attention_atlas.app.settings import Settings
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests import saved

HERE = "http://127.0.0.1"
PATHS = (
    "/explore",
    "/explore.json",
    "/api/v1/models",
    "/healthz",
    "/static/js/lib/dom.js",
    "/docs",
)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """A server on loopback, with the names of this machine alone."""
    return create_app(Settings(models="gpt", threads=1, hosts=""))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::1", "", "0.0.0.0"])
def test_another_host_is_refused_everywhere(client: TestClient, path: str, host: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["code"] == "host-not-allowed"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_the_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"host": "0.0.0.0", "hosts": ""}, "anything.example", 200),
        ({"host": "0.0.0.0", "hosts": "atlas.example"}, "other.example", 403),
        ({"host": "0.0.0.0", "hosts": "atlas.example"}, "Atlas.example:443", 200),
        ({"hosts": "atlas.example, b.example"}, "b.example", 200),
    ],
)
def test_an_operator_names_other_hosts(settings: dict[str, str], host: str, status: int) -> None:
    app = create_app(Settings(models="gpt", threads=1, **settings))
    with TestClient(app, base_url=HERE) as client:
        assert client.get("/healthz", headers={"host": host}).status_code == status


FORWARDED = [
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-host", "atlas.example"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "203.0.113.7"),
    ("forwarded", "for=203.0.113.7"),
]


@pytest.mark.parametrize(("header", "value"), FORWARDED)
def test_behind_a_proxy_nothing_is_opened(client: TestClient, header: str, value: str) -> None:
    body = {"model": "/nowhere"}
    answer = client.post("/api/v1/models", json=body, headers={header: value})
    assert answer.status_code == 403 and answer.json()["code"] == "forwarded"
    assert client.get("/api/v1/models", headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    ("load_models", "status"), [("", 403), ("off", 403), ("any", 200), ("/nowhere", 200)]
)
def test_with_a_trusted_proxy_the_operator_says_what_is_opened(
    load_models: str, status: int
) -> None:
    settings = Settings(
        models="gpt", threads=1, trusted_proxies="127.0.0.1", load_models=load_models
    )
    with TestClient(create_app(settings), base_url=HERE) as client:
        headers = {"x-forwarded-for": "203.0.113.7"}
        answer = client.post("/api/v1/models", json={"model": "/nowhere"}, headers=headers)
        assert answer.status_code == status
        assert client.get("/explore.json").json()["opens"] is (status == 200)


def test_a_page_of_another_site_loads_no_model(tmp_path: Any) -> None:
    """A model that is known, and was removed from memory: only its own pages bring it back."""
    folders = [saved.gpt2(tmp_path / name) for name in ("a", "b", "c")]
    settings = Settings(models="gpt", model=tuple(map(str, folders)), max_models=2, threads=1)
    path, spec = "/api/v1/run", {"model": "a", "text": "hi"}
    with TestClient(create_app(settings), base_url=HERE) as client:
        assert "a" in client.get("/api/v1/models").json()["ready_to_open"]
        far = {"sec-fetch-site": "cross-site"}
        answer = client.get(path, params=spec, headers=far)
        assert answer.status_code == 403 and answer.json()["code"] == "cross-site"
        assert "a" in client.get("/api/v1/models").json()["ready_to_open"]
        here = client.get(path, params={**spec, "model": "c"}, headers=far)
        assert here.status_code == 200, "what is in memory is answered"
        clicked = {**far, "sec-fetch-user": "?1", "sec-fetch-mode": "navigate"}
        assert client.get(path, params=spec, headers=clicked).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/openapi.json"])
def test_every_answer_has_a_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert "unsafe" not in policy["script-src"] and "'self'" in policy["script-src"]
    assert policy["frame-ancestors"] == "'self'"


@pytest.mark.parametrize("path", ["/explore", "/masks", "/models", "/docs", "/nothing"])
def test_the_inline_scripts_of_a_page_are_named_by_their_hash(
    client: TestClient, path: str
) -> None:
    answer = client.get(path, headers={"accept": "text/html"})
    inline = re.findall(r"<script(?![^>]* src=)([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
    run = [text for kind, text in inline if "application/json" not in kind]
    assert len(run) == 1
    assert f"'sha256-{digest(run[0])}'" in answer.headers["content-security-policy"]
    assert not re.search(r"<[^>]+\son\w+=", answer.text), "no handler in an attribute"


def test_who_may_embed_a_page_is_a_setting() -> None:
    policy = content_policy("https://lms.example", [], [])
    assert policy.endswith("frame-ancestors https://lms.example")
    settings = Settings(models="gpt", threads=1, frame_ancestors="*")
    with TestClient(create_app(settings), base_url=HERE) as client:
        assert client.get("/healthz").headers["content-security-policy"].endswith("ancestors *")


def test_a_file_that_stands_alone_has_no_origin(client: TestClient) -> None:
    answer = client.get("/explore.html", params={"model": "gpt", "text": "hi"})
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
