"""What operators see, and what a client may do: /metrics, limits, a token, CORS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from attention_atlas.app.limits import MOST_CLIENTS, Buckets, client_of
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

HERE = ("127.0.0.1", 1)
PREFLIGHT = {"method": "POST", "headers": "content-type"}
TEXT = {"model": "gpt", "text": "Bob cashed a check"}
PUBLIC: dict[str, Any] = {"models": "gpt", "threads": 1, "host": "0.0.0.0", "hosts": ""}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(models="gpt", threads=1)), client=HERE) as client:
        yield client


def read(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    rows = re.findall(r"(?m)^(attention_atlas_\S+) (\S+)$", answer.text)
    return {name: float(value) for name, value in rows}


def test_requests_are_counted_by_template_and_status(client: TestClient) -> None:
    before = read(client)
    for path in ("/models/gpt", "/models/nobody", "/nowhere/at/all", "/static/js/lib/dom.js"):
        client.get(path)
    client.head("/healthz")
    client.request("BREW", "/healthz")
    client.get("/api/v1/run", params=TEXT)
    after = read(client)
    counted = {name for name in after if after[name] > before.get(name, 0)}
    for method, route, status in (
        ("GET", "/models/{name:path}", 200),
        ("GET", "/models/{name:path}", 404),
        ("GET", "none", 404),
        ("GET", "/static", 200),
        ("HEAD", "/healthz", 200),
        ("other", "/healthz", 405),
        ("GET", "/api/v1/run", 200),
    ):
        labels = f'method="{method}",route="{route}",status="{status}"'
        assert f"attention_atlas_requests_total{{{labels}}}" in counted, (labels, counted)
    assert 'attention_atlas_request_seconds_count{route="/api/v1/run"}' in counted
    assert "nobody" not in client.get("/metrics").text


def test_work_models_and_caches_are_measured(client: TestClient) -> None:
    client.post("/api/v1/run", json={**TEXT, "text": "Another text to be measured"})
    client.post("/api/v1/generate", json={**TEXT, "max_new_tokens": 2})
    result = read(client)
    assert result["attention_atlas_models"] == 1 and result["attention_atlas_workers"] == 2
    assert result["attention_atlas_cache_bytes"] > 0
    assert result['attention_atlas_forward_seconds_count{model="gpt"}'] >= 2
    assert result["attention_atlas_accepted"] == result["attention_atlas_computing"] == 0
    opened = 'attention_atlas_openings_total{outcome="not-found"}'
    client.post("/api/v1/models", json={"model": "/nowhere/at/all"})
    assert read(client)[opened] == result.get(opened, 0) + 1


@pytest.mark.parametrize(
    ("sort", "peer", "headers", "status"),
    [
        ("local", "127.0.0.1", {}, 200),
        ("local", "::1", {}, 200),
        ("local", "10.0.0.9", {}, 403),
        ("local", "127.0.0.1", {"x-forwarded-for": "10.0.0.9"}, 403),
        ("any", "10.0.0.9", {}, 200),
        ("off", "127.0.0.1", {}, 403),
    ],
)
def test_metrics_are_for_this_machine_unless_a_setting_says_otherwise(
    sort: str, peer: str, headers: dict[str, str], status: int
) -> None:
    app = create_app(Settings(**PUBLIC, metrics=sort))
    answer = TestClient(app, client=(peer, 1)).get("/metrics", headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] == "metrics-not-allowed"


def test_a_bucket_empties_and_fills() -> None:
    now = 0.0
    buckets = Buckets(rate=2, burst=3, now=lambda: now)
    assert [buckets.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("b") == 0
    now = 0.5
    assert [buckets.wait("a"), buckets.wait("a")] == [0, 0.5]
    now = 100.0
    assert [buckets.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_are_bounded_in_memory() -> None:
    buckets = Buckets(rate=1, burst=1)
    for n in range(MOST_CLIENTS + 50):
        buckets.wait(str(n))
    assert len(buckets.clients) == MOST_CLIENTS


def test_a_client_has_all_of_its_network_in_ipv6() -> None:
    hosts = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1", "10.0.0.1", "")
    assert [client_of({"client": (host, 1)}) for host in hosts] == [
        *("2001:db8:1:2::/64",) * 2,
        *("2001:db8:1:3::/64", "10.0.0.1", ""),
    ]


def test_a_client_that_asks_too_often_is_answered_429() -> None:
    app = create_app(Settings(**PUBLIC, rate=0.01, burst=3))
    client = TestClient(app, client=("10.0.0.9", 1))
    answers = [client.get("/api/v1/models", headers={"accept-language": "zh"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 100
    assert refused.json()["code"] == "too-many-requests" and "请求过多" in refused.json()["detail"]
    assert client.get("/healthz").status_code == 200, "a health check is not limited"
    other = TestClient(app, client=("10.0.0.10", 1))
    assert other.get("/api/v1/models").status_code == 200


def test_on_loopback_there_is_no_limit() -> None:
    client = TestClient(create_app(Settings(models="gpt", threads=1, rate=0.01, burst=1)))
    assert {client.get("/healthz.json").status_code for _ in range(5)} == {404}


@pytest.mark.parametrize(
    ("sent", "status"),
    [(None, 401), ("Bearer wrong", 401), ("Basic secret", 401), ("Bearer secrét", 401)],
)
def test_opening_needs_the_token_where_there_is_one(sent: str | None, status: int) -> None:
    app = create_app(Settings(**PUBLIC, load_models="any", open_token="secret"))
    client = TestClient(app)
    headers = {} if sent is None else {"authorization": sent.encode()}
    answer = client.post("/api/v1/models", json={"model": "gpt"}, headers=headers)
    code = "wrong-token" if sent else "no-token"
    assert answer.status_code == status and answer.json()["code"] == code
    assert answer.headers["www-authenticate"] == "Bearer"
    right = {"authorization": "Bearer secret"}
    answer = client.post("/api/v1/models", json={"model": "gpt"}, headers=right)
    assert answer.status_code == 200 and "event: done" in answer.text
    assert "secret" not in repr(app.state.service.settings)
    page = client.get("/explore").text
    assert 'type="password"' in page and "secret" not in page


def test_other_origins_read_answers_only_where_a_setting_says_so() -> None:
    origin = {"origin": "https://lab.example"}
    closed = TestClient(create_app(Settings(**PUBLIC)))
    assert "access-control-allow-origin" not in closed.get("/api/v1/models", headers=origin).headers
    app = create_app(Settings(**PUBLIC, cors_origins="https://lab.example, https://b.example"))
    client = TestClient(app)
    answer = client.get("/api/v1/models", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"
    assert "ETag" in answer.headers["access-control-expose-headers"]
    ask = {f"access-control-request-{name}": value for name, value in PREFLIGHT.items()}
    assert client.options("/api/v1/run", headers=origin | ask).status_code == 200
    other = client.get("/api/v1/models", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    opening = client.post("/api/v1/models", json={"model": "gpt"}, headers=origin)
    assert opening.status_code == 403, "their scripts read; they open nothing"
