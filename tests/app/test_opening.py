"""Opening a model from the page: events, reasons, and who may."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attention_atlas.app import errors
from attention_atlas.app.main import create_app
from attention_atlas.app.service import MOST_OPENING, Service
from attention_atlas.app.settings import Settings
from attention_atlas.model.spec import Spec
from attention_atlas.model.zoo import Loaded
from fastapi.testclient import TestClient

from tests import saved
from tests.asynchronous import awaited

TEXT = "He sat on the river bank."
ROOT = Path(__file__).parents[2]
LOCAL = "http://127.0.0.1:8000"


def client_of(**settings: Any) -> TestClient:
    app = create_app(Settings(threads=1, models="bert", **settings))
    return TestClient(app, base_url=LOCAL, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(max_models=2) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved.gpt2(tmp_path_factory.mktemp("models") / "my-gpt")


def events(client: TestClient, model: str, **headers: str) -> list[tuple[str, Any]]:
    """What the server says while it opens a model."""
    answer = client.post("/api/v1/models", json={"model": model}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    rows = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in rows
    ]


def test_a_folder_is_opened_and_then_like_any_other(client: TestClient, folder: Path) -> None:
    *steps, (last, summary) = events(client, str(folder))
    assert {name for name, _ in steps} == {"progress"}
    assert [step["stage"] for _, step in steps] == ["looking", "loading", "trying"]
    assert (last, summary["name"], summary["source"]) == ("done", "my-gpt", "path")
    assert summary["shapes"] == {"decoder": [3, 4]}
    listed = client.get("/api/v1/models").json()["models"]
    assert [model["name"] for model in listed] == ["bert", "my-gpt"]
    spec = {"model": "my-gpt", "text": TEXT}
    for path in ("run", "attention", "attention/overview", "metrics", "anatomy", "hidden-states"):
        assert client.get(f"/api/v1/{path}", params=spec).status_code == 200
    for path in ("/positions", "/masks", "/compare", "/models/my-gpt", "/explore"):
        page = client.get(path, params={"model": "my-gpt"})
        assert page.status_code in (200, 422) and "my-gpt" in page.text


def test_provenance_is_of_its_weights(client: TestClient, folder: Path) -> None:
    events(client, str(folder))
    answer = client.get("/api/v1/run", params={"model": "my-gpt", "text": TEXT}).json()
    card = client.get("/api/v1/models/my-gpt").json()
    assert answer["provenance"]["sha256"] == card["sha256"]
    assert card["architecture"] == "GPT2LMHeadModel"


def test_the_same_weights_with_another_config_share_nothing(
    client: TestClient, tmp_path: Path
) -> None:
    """Neither the runs that are kept nor the ETag by which a browser keeps an answer."""
    folders = [saved.bert(tmp_path / name) for name in ("one", "two")]
    saved.changed(folders[1], layer_norm_eps=0.5)
    request: dict[str, Any] = {"text": TEXT, "format": "csv", "layer": 1, "head": 0}
    answers = []
    for folder in folders:
        events(client, str(folder))
        spec = {"model": folder.name} | request
        answers.append(client.get("/api/v1/attention", params=spec))
        assert client.get("/api/v1/run", params=spec).status_code != 500
    assert answers[0].text != answers[1].text
    one = {"model": "one"} | request
    saved.changed(folders[0], layer_norm_eps=0.5)
    events(client, str(folders[0]))
    known = {"If-None-Match": answers[0].headers["etag"]}
    again = client.get("/api/v1/attention", params=one, headers=known)
    assert (again.status_code, again.text) == (200, answers[1].text)


def test_a_model_put_aside_comes_back_when_it_is_asked_for(
    client: TestClient, folder: Path, tmp_path: Path
) -> None:
    events(client, str(folder))
    for name in ("x", "y"):
        events(client, str(saved.bert(tmp_path / name)))
    assert "my-gpt" in client.get("/api/v1/models").json()["ready_to_open"]
    spec = {"model": "my-gpt", "text": TEXT}
    assert client.get("/api/v1/run", params=spec).status_code == 200
    assert client.get("/explore", params=spec).status_code == 200


def test_why_a_model_cannot_be_opened_and_the_server_goes_on(
    client: TestClient, tmp_path: Path
) -> None:
    folder = saved.bert(tmp_path / "spoilt")
    path = folder / "model.safetensors"
    path.rename(path.with_name("pytorch_model.bin"))
    *_, (last, problem) = events(client, str(folder))
    assert (last, problem["reason"], problem["status"]) == ("problem", "no-safetensors", 422)
    assert "which can run code" in problem["detail"]
    *_, (last, problem) = events(client, "/no/such/folder")
    assert (last, problem["reason"], problem["status"]) == ("problem", "not-found", 404)
    assert client.get("/healthz").status_code == 200
    assert "spoilt" not in client.get("/api/v1/models").text


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"origin": "https://evil.example"}, "pages of https://evil.example may not open"),
        ({"origin": "http://["}, "pages of http://[ may not open"),
        ({"host": "[::1"}, "not [::1"),
        ({"origin": "null"}, "pages of null may not open"),
        ({"host": "evil.example", "origin": "http://evil.example"}, "not evil.example"),
    ],
)
def test_another_sites_page_opens_nothing(
    client: TestClient, folder: Path, headers: dict[str, str], says: str
) -> None:
    answer = client.post("/api/v1/models", json={"model": str(folder)}, headers=headers)
    assert answer.status_code == 403
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_opens_nothing(client: TestClient, folder: Path, kind: str) -> None:
    """A page of another site can send these without asking first."""
    body = json.dumps({"model": str(folder)})
    answer = client.post("/api/v1/models", content=body, headers={"content-type": kind})
    assert answer.status_code in (403, 422)


def test_our_own_page_may(client: TestClient, folder: Path) -> None:
    assert events(client, str(folder), origin=LOCAL)[-1][0] == "done"


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, True),
        ({"load_models": "off"}, False),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "load_models": "any"}, True),
        ({"host": "0.0.0.0", "load_models": "org/*, */my-gpt"}, True),
        ({"host": "0.0.0.0", "load_models": "org/*"}, False),
        ({"load_models": "/tmp/elsewhere/*"}, False),
    ],
)
def test_who_may_open_what(folder: Path, settings: dict[str, str], allowed: bool) -> None:
    with client_of(**settings) as client:
        answer = client.post("/api/v1/models", json={"model": f"{folder}/../my-gpt"})
        assert answer.status_code == (200 if allowed else 403)
        page = client.get("/explore", params={"text": TEXT})
        opens = "Open another model" in page.text
        assert opens == (client.app.state.service.settings.opens)
        if not allowed:
            assert "does not open" in answer.json()["detail"]


def test_a_pattern_is_of_the_whole_path_of_a_folder(folder: Path) -> None:
    """What a pattern allows is not left by going up."""
    with client_of(load_models=f"{folder}/*") as client:
        request = {"model": f"{folder}/../my-gpt"}
        assert client.post("/api/v1/models", json=request).status_code == 403


def test_the_server_answers_while_a_model_is_opened(monkeypatch) -> None:
    """Another thread opens it; of those that wait only so many are let in."""
    service = Service(Settings(threads=1, models="bert"))
    go = threading.Event()

    def slow(*arguments: object) -> Loaded:
        assert go.wait(30)
        return service.models["bert"]

    monkeypatch.setattr(service.library, "open", slow)

    async def meanwhile() -> list[str]:
        waiting = [asyncio.ensure_future(service.open(f"m{i}")) for i in range(MOST_OPENING)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Busy, match="other models are being opened"):
            await service.open("one more")
        loaded = service.loaded("bert")
        assert (await service.compute(lambda: service.run(loaded, Spec(TEXT)))).text == TEXT
        assert not any(work.done() for work in waiting)
        go.set()
        return await asyncio.gather(*waiting)

    assert awaited(meanwhile) == ["bert"] * MOST_OPENING
    service.close()


def test_models_of_the_command_line(folder: Path) -> None:
    with client_of(model=(str(folder), "/nowhere")) as client:
        names = [model["name"] for model in client.get("/api/v1/models").json()["models"]]
        assert names == ["bert", "my-gpt"]
        ready = client.get("/readyz")
        assert ready.status_code == 200, "the bundled models are in service"
        assert "no such folder" in ready.json()["missing"]["nowhere"]
        assert str(folder.parent) not in ready.text and "/nowhere" not in ready.text
        assert ready.json()["opening"] == []


def test_one_spoilt_model_does_not_keep_the_server_from_starting(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of a library")

    monkeypatch.setattr("attention_atlas.model.hub.opening.adapt", fail)
    monkeypatch.setattr("attention_atlas.model.hub.folder.weights", fail)
    with client_of(model=(str(folder),)) as client:
        assert client.get("/readyz").json()["models"] == ["bert"]
        assert "the server's log" in client.get("/readyz").json()["missing"][folder.name]


def test_a_model_that_was_missing_is_there_once_it_is_opened(tmp_path: Path) -> None:
    place = tmp_path / "late"
    with client_of(model=(str(place),)) as client:
        assert list(client.get("/readyz").json()["missing"]) == ["late"]
        saved.gpt2(place)
        assert events(client, f"{place}/")[-1][1]["name"] == "late"
        assert client.get("/readyz").json()["missing"] == {}
        spec = {"model": "late", "text": TEXT}
        assert client.get("/api/v1/run", params=spec).status_code == 200


def test_a_name_that_looks_like_a_twin_is_another(client: TestClient, tmp_path: Path) -> None:
    name = events(client, str(saved.bert(tmp_path / "x.json")))[-1][1]["name"]
    assert name == "x-json"
    assert client.get(f"/models/{name}").status_code == 200
    assert client.get(f"/models/{name}.json").json()["card"]["name"] == name


def test_a_name_with_a_slash_has_its_pages(client: TestClient, folder: Path) -> None:
    library = client.app.state.service.library
    library.known["org/name"] = str(folder)
    try:
        library.open("org/name")
        assert client.get("/models/org/name").status_code == 200
        assert client.get("/models/org/name.json").json()["card"]["name"] == "org/name"
        assert client.get("/api/v1/models/org/name").json()["name"] == "org/name"
        alone = client.get("/explore.html", params={"model": "org/name", "text": TEXT})
        assert 'filename="attention-org-name-L0H0.html"' in alone.headers["content-disposition"]
    finally:
        library.known.pop("org/name")


def test_without_transformers_the_bundled_models_are_there() -> None:
    """The extra is an extra: nothing of it is imported until another model is asked for."""
    script = """
import sys
sys.modules["transformers"] = sys.modules["huggingface_hub"] = None  # as if not installed
from fastapi.testclient import TestClient
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
client = TestClient(create_app(Settings(models="bert", threads=1)), base_url="http://127.0.0.1")
assert client.get("/api/v1/run?model=bert&text=bank").status_code == 200
assert client.get("/api/v1/models").json()["ready_to_open"] == []
print(client.post("/api/v1/models", json={"model": "org/name"}).text)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip install 'attention-atlas[hub]'" in done.stdout


def test_the_models_setting_takes_folders_too(folder: Path) -> None:
    app = create_app(Settings(threads=1, models=f"gpt,{folder}"))
    assert list(app.state.service.models) == ["gpt", "my-gpt"]
