"""Loaded models, the cache, the workers and the limits."""

from __future__ import annotations

import asyncio
import shutil
import threading

import pytest
from attention_atlas.app import errors
from attention_atlas.app.main import create_app
from attention_atlas.app.service import Service
from attention_atlas.app.settings import Settings
from attention_atlas.model import run as door
from attention_atlas.model import zoo
from attention_atlas.model.record import Selection
from attention_atlas.model.spec import Spec
from fastapi.testclient import TestClient

from tests.asynchronous import awaited


@pytest.fixture
def service():
    service = Service(Settings(models="bert", threads=1, workers=1, queue=1))
    yield service
    service.close()


def test_only_the_models_asked_for_are_loaded(service):
    assert list(service.models) == ["bert"]


def test_a_full_queue_is_busy_at_once(service):
    release = threading.Event()

    async def flood() -> list[object]:
        waiting = [asyncio.ensure_future(service.compute(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Busy) as refused:
            await service.compute(lambda: None)
        release.set()
        return [refused.value.headers, await asyncio.gather(*waiting)]

    assert awaited(flood) == [{"Retry-After": "1"}, [True, True]]
    assert awaited(service.compute, lambda: "free again") == "free again"


def test_busy_is_503_with_retry_after(app, client, monkeypatch):
    async def busy(*_: object) -> None:
        raise errors.Busy("every worker is busy")

    monkeypatch.setattr(app.state.service, "compute", busy)
    answer = client.get("/api/v1/run?model=bert&text=hello")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_event_loop_answers_while_workers_are_busy(app, client):
    release = threading.Event()
    service = app.state.service
    held = [service.workers.pool.submit(release.wait) for _ in range(service.settings.workers)]
    try:
        assert client.get("/healthz").json() == {"status": "up"}
        assert client.get("/static/js/pages/explore.js").status_code == 200
    finally:
        release.set()
    assert [future.result() for future in held] == [True] * len(held)


def test_a_run_of_everything_answers_every_smaller_question(service, monkeypatch):
    loaded, spec = service.loaded("bert"), Spec("He sat on the river bank.")
    whole = service.run(loaded, spec)
    monkeypatch.setattr(door, "run", None)  # a second run would fail
    _, record = service.record(loaded, spec, Selection(layers=(3,), heads=(5, 2)))
    assert (record.layers, record.heads) == ((3,), (5, 2))
    assert record.attn.equal(whole.records["encoder"].attn[[3]][:, [5, 2]])


def test_one_head_alone_costs_one_head(service, monkeypatch):
    seen = []
    run = door.run
    monkeypatch.setattr(door, "run", lambda *a: seen.append(run(*a)) or seen[-1])
    service.record(service.loaded("bert"), Spec("A bank."), Selection(layers=(1,), heads=(0,)))
    assert [tuple(r.attn.shape[:2]) for run in seen for r in run.records.values()] == [(1, 1)]


def test_the_cache_is_bounded(monkeypatch):
    service = Service(Settings(models="bert", threads=1, cache_mb=2))
    for n in range(1, 40):
        service.run(service.loaded("bert"), Spec("bank " * n))
    assert service._cache.currsize <= 2_000_000
    assert len(service._cache) > 1
    service.close()


def test_a_damaged_model_is_named_and_the_others_serve(tmp_path, monkeypatch):
    shutil.copytree(zoo.WEIGHTS, tmp_path / "weights")
    damaged = tmp_path / "weights/gpt/model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    monkeypatch.setattr(zoo.load, "__defaults__", (tmp_path / "weights",))
    with TestClient(create_app(Settings(threads=1))) as client:
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["models"] == ["bert", "recurrent", "translator"]
        assert "gpt/model.safetensors is damaged" in ready.json()["missing"]["gpt"]
        assert client.get("/api/v1/run?model=bert&text=hi").status_code == 200
        assert client.get("/api/v1/run?model=gpt&text=hi").status_code == 503
