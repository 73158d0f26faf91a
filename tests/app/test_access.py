"""The log of requests, ids, and problems as documents."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from attention_atlas.app.access import JsonLines
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

SECRET = "nobody-may-read-this"
PLACES = ("/api/v1/tokenize", "/explore", "/explore.json", "/masks", "/nothing")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "app.access"]


@pytest.mark.parametrize("path", PLACES)
def test_the_log_has_no_texts(client: TestClient, caplog: Any, path: str) -> None:
    with caplog.at_level(logging.INFO, "app"):
        client.get(path, params={"model": "bert", "text": SECRET, "texts": SECRET})
    [line] = lines(caplog)
    assert f"GET {path} " in line and line.endswith(" ms")
    assert SECRET not in caplog.text


def test_an_operator_may_have_query_strings(caplog: Any) -> None:
    settings = Settings(models="gpt", threads=1, log_queries=True)
    with TestClient(create_app(settings)) as client, caplog.at_level(logging.INFO, "app"):
        client.get("/healthz", params={"text": SECRET})
    assert f"GET /healthz?text={SECRET} 200 " in lines(caplog)[0]


def test_a_path_stays_on_one_line(client: TestClient, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, "app"):
        client.get("/a%0Aroot%1b[31m")
    [line] = lines(caplog)
    assert "\n" not in line and "\x1b" not in line


def test_a_problem_and_its_answer_have_the_same_id(client: TestClient) -> None:
    for path in ("/api/v1/nothing", "/api/v1/run?model=none&text=x", "/api/v1/run"):
        answer = client.get(path)
        assert answer.status_code >= 400
        assert answer.json()["request_id"] == answer.headers["x-request-id"] != ""


def test_an_id_of_a_proxy_is_kept_and_nonsense_is_not(client: TestClient) -> None:
    kept = client.get("/healthz", headers={"x-request-id": "a-1.b_2"})
    assert kept.headers["x-request-id"] == "a-1.b_2"
    for sent in ("x" * 65, "a b", "é", "<script>"):
        answer = client.get("/healthz", headers={"x-request-id": sent.encode()})
        assert answer.headers["x-request-id"] != sent


def test_each_line_is_json_on_request(client: TestClient, caplog: Any) -> None:
    caplog.handler.setFormatter(JsonLines())
    with caplog.at_level(logging.INFO, "app"):
        client.get("/healthz", headers={"x-request-id": "one"})
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("app").exception("went wrong")
    first, second = [json.loads(line) for line in caplog.handler.stream.getvalue().splitlines()]
    assert (first["path"], first["status"], first["logger"]) == ("/healthz", 200, "app.access")
    assert first["request_id"] == "one" and first["milliseconds"] >= 0
    assert second["level"] == "error" and "ValueError: two\nlines" in second["exception"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/v1/run", "GET, HEAD, POST"),
        ("DELETE", "/api/v1/models", "GET, HEAD, POST"),
        ("POST", "/explore", "GET, HEAD"),
        ("PATCH", "/api/v1/translate", "GET, HEAD, POST"),
    ],
)
def test_allow_names_every_method(client: TestClient, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405 and answer.headers["allow"] == allow
    assert allow in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/static/js/lib/dom.js", {"range": "bytes=9999999-"}, 416),
        ("/static/js/lib/dom.js", {"range": "bytes=x-y"}, 400),
        ("/static/nothing.js", {}, 404),
        ("/nothing", {}, 404),
    ],
)
@pytest.mark.parametrize("code", ["en", "zh"])
def test_what_the_framework_refuses_is_a_problem_too(
    client: TestClient, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.get(path, headers={**headers, "accept-language": code})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"].isascii() is (code == "en")
