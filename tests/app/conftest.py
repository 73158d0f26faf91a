"""A client of the whole app, with the bundled models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attention_atlas.app.answers import Answers
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi import FastAPI
from fastapi.testclient import TestClient

BANK = "He sat on the river bank."


@pytest.fixture(scope="session")
def app() -> FastAPI:
    return create_app(Settings(threads=1))


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(autouse=True)
def no_answers_of_other_tests(request: pytest.FixtureRequest) -> None:
    if "app" in request.fixturenames:
        request.getfixturevalue("app").state.service.answers = Answers(1_000_000)


@pytest.fixture
def get(client: TestClient) -> Any:
    """get("/run", model="bert", text="…"): the answer's JSON, which must be a 200."""

    def ask(path: str, **params: Any) -> Any:
        answer = client.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.fixture
def post(client: TestClient) -> Any:
    """post("/generate", model="gpt", text="…"): the same by POST."""

    def ask(path: str, **body: Any) -> Any:
        answer = client.post(f"/api/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask
