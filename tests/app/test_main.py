"""Static files, compression, readiness, mistakes of ours."""

from __future__ import annotations

import re

import pytest
from attention_atlas.app.assets import folder, scripts
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient


def test_the_server_is_up_and_ready(client):
    assert client.get("/healthz").json() == {"status": "up"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["missing"]) == (200, {})


def test_versioned_files_last_a_year_and_others_are_checked(client):
    page = client.get("/explore").text
    script = re.search(r'src="(/static/v-[0-9a-f]{8}/js/pages/explore\.js)"', page)
    assert script
    lasting = client.get(script[1])
    assert lasting.headers["cache-control"] == "public, max-age=31536000, immutable"
    plain = client.get("/static/js/pages/explore.js")
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.content == lasting.content


SCRIPT = re.compile(r'<script type="module" src="/static/(v-\w+)/js/pages/(\w+)\.js"')
PRELOAD = re.compile(r'<link rel="modulepreload" href="/static/(v-\w+)/(js/[^"]+)"')
PAGES = ("/", "/explore", "/compare", "/masks", "/learn/0/look", "/models", "/docs", "/nowhere")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_each_script_that_its_own_import(client, path):
    """So that none is found only when another has come; and none twice."""
    page = client.get(path, headers={"accept": "text/html"}).text
    pages = [folder("static") / "js" / "pages" / f"{name}.js" for _, name in SCRIPT.findall(page)]
    assert pages[0].stem == "navigation" and len(pages) == 2
    named = [folder("static") / file for _, file in PRELOAD.findall(page)]
    assert len(named) == len(set(named))
    assert {*named, *pages} == {file for each in pages for file in scripts(each)}
    [version] = {version for version, _ in (*SCRIPT.findall(page), *PRELOAD.findall(page))}
    assert client.get(f"/static/{version}/js/lib/dom.js").status_code == 200


def test_plotly_is_served_from_its_package(client):
    answer = client.get("/static/vendor/plotly.min.js")
    assert answer.status_code == 200
    assert "javascript" in answer.headers["content-type"]
    assert len(answer.content) > 1_000_000


@pytest.mark.parametrize(
    "path", ["/static/../app/main.py", "/static/nope.js", "/static/v-0/js/pages/explore.js"]
)
def test_only_static_files_are_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("format", ["json", "safetensors"])
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_answers_are_compressed_as_the_client_accepts(client, coding, format):
    url = f"/api/v1/attention?model=bert&text=A+bank.&layer=0&format={format}"
    answer = client.get(url, headers={"Accept-Encoding": coding})
    assert answer.headers["content-encoding"] == coding
    assert "Accept-Encoding" in answer.headers["vary"]


def test_no_page_or_document_asks_another_host(client):
    for path in ("/explore", "/docs"):
        hosts = re.findall(r'(?:src|href)="(https?:)?//', client.get(path).text)
        assert hosts == []


def test_a_mistake_of_ours_is_a_500_without_a_stack_trace():
    app = create_app(Settings(models="bert", threads=1))

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


def test_a_streamed_body_over_the_limit_is_413(client):
    chunks = (b"x" * 100_000 for _ in range(20))
    answer = client.post("/api/v1/run", content=chunks)
    assert answer.status_code == 413
    assert "at most 1000000 are taken" in answer.json()["detail"]


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("MAX_CHARACTERS", "12")
    assert (Settings().port, Settings().max_characters) == (9001, 12)


def test_a_page_that_is_not_there_says_so_as_a_page(client):
    answer = client.get("/nowhere?lang=zh", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert 'role="alert"' in answer.text and 'href="/explore?lang=zh"' in answer.text
    assert client.get("/nowhere").headers["content-type"] == "application/problem+json"
    api = client.get("/api/v1/nope", headers={"accept": "text/html"})
    assert api.headers["content-type"] == "application/problem+json"


def test_pages_without_a_model_for_them_say_so():
    with TestClient(create_app(Settings(models="recurrent", threads=1))) as alone:
        for path in ("/positions", "/masks", "/attention", "/generate", "/fill"):
            answer = alone.get(path, headers={"accept": "text/html"})
            assert (answer.status_code, 'role="alert"' in answer.text) == (503, True), path
        assert alone.get("/translate").status_code == 200
