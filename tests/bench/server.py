"""What looking costs on the server: ratios to a forward pass that keeps nothing, and bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from attention_atlas.app import wire
from attention_atlas.app.api.attention import (
    AttentionRequest,
    OverviewRequest,
    attention,
    overview,
)
from attention_atlas.app.service import Service
from attention_atlas.app.settings import Settings
from attention_atlas.model import run as door
from attention_atlas.model.analysis import decoding as work
from attention_atlas.model.generate import Sampling, generating, returned
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.transformer import GPT, Bert
from attention_atlas.model.zoo import Loaded

from tests.bench.rows import Plan, Row
from tests.bench.text import passage

LAYER, HEAD = 3, 2
LENGTHS = (32, 128, 512)
OVERVIEW_GOAL, HEAD_GOAL, CAPTURE_GOAL = 1.15, 1.10, 1.30
NEW = 64  # tokens of a continuation


def seconds(rounds: int, *works: Callable[[], Any]) -> list[float]:
    """The median time of each, measured in turns so that a slow moment falls on all alike."""
    values: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for times, doing in zip(values, works, strict=True):
            began = time.perf_counter()
            doing()
            times.append(time.perf_counter() - began)
    return [median(times) for times in values]


@torch.inference_mode()
def tapes(service: Service, name: str, n: int, rounds: int) -> Iterator[Row]:
    """The model alone: a pass with a tape against one without."""
    model = service.models[name].model
    assert isinstance(model, Bert | GPT)
    ids = torch.randint(5, 8000, (1, n))

    def forward(tape: Tape | None = None) -> None:
        if isinstance(model, Bert):
            model.encode(ids, torch.zeros_like(ids), tape)
        else:
            model.hidden(ids, tape)

    def one_head() -> None:
        forward(Tape(layers=[LAYER], heads=[HEAD]))

    plain, one, every = seconds(rounds, forward, one_head, lambda: forward(Tape()))
    what = f"{name}, {n} tokens"
    yield Row(f"{what}: the model's forward pass", plain * 1000, "ms")
    yield Row(f"{what}: keeping one head / keeping nothing", one / plain, "x")
    yield Row(f"{what}: keeping all attention / keeping nothing", every / plain, "x")


@torch.inference_mode()
def looks(service: Service, name: str, n: int, rounds: int) -> Iterator[Row]:
    """What the API computes against text, model and predictions alone; nothing is in the cache."""
    loaded = service.models[name]
    text = passage(n, loaded.tokenizer)
    first_picture = OverviewRequest(model=name, text=text)
    one_head = AttentionRequest(model=name, text=text, layer=(LAYER,), head=(HEAD,))

    def look(
        make: Callable[[Service, Any, Loaded], Any], request: OverviewRequest | AttentionRequest
    ) -> None:
        service._cache.clear()
        make(service, request, loaded)

    plain, picture, head = seconds(
        rounds,
        lambda: door.forward(loaded, Spec(text), Tape(layers=())),
        lambda: look(overview, first_picture),
        lambda: look(attention, one_head),
    )
    what = f"{name}, {n} tokens"
    yield Row(f"{what}: text to prediction, nothing kept", plain * 1000, "ms")
    yield Row(f"{what}: overview / nothing kept", picture / plain, "x", goal=OVERVIEW_GOAL)
    yield Row(f"{what}: one head in float32 / nothing kept", head / plain, "x", goal=HEAD_GOAL)


@torch.inference_mode()
def decoding(service: Service, rounds: int) -> Iterator[Row]:
    """A continuation with the attention of every step, against the same without."""
    loaded = service.models["gpt"]
    model = loaded.model
    assert isinstance(model, GPT)
    text = passage(32, loaded.tokenizer)
    ids = torch.tensor([[token.id for token in loaded.tokenizer.encode(text)]])

    def decode(**options: Any) -> None:
        for _ in generating(model, ids, max_new_tokens=NEW, **options):
            pass

    def labelled() -> None:
        returned(work.generate(loaded, text, sampling=Sampling(), max_new_tokens=NEW))

    plain, looked, told, anew = seconds(
        rounds,
        lambda: decode(tape=Tape(layers=())),
        lambda: decode(tape=Tape()),
        labelled,
        lambda: decode(tape=Tape(layers=(), edits=[Edit("scale", by=1.0, query=0)])),
    )
    what = f"gpt, {NEW} new tokens after 32"
    yield Row(f"{what}: nothing kept", plain * 1000, "ms")
    yield Row(f"{what}: all attention kept / nothing kept", looked / plain, "x", goal=CAPTURE_GOAL)
    yield Row(f"{what}: with candidates and labels too / nothing kept", told / plain, "x")
    yield Row(f"{what}: without a KV cache / with", anew / plain, "x")


def sizes(service: Service, name: str, n: int) -> Iterator[Row]:
    """Bytes of the first picture and of all numbers, before compression."""
    loaded = service.models[name]
    text = passage(n, loaded.tokenizer)
    picture = overview(service, OverviewRequest(model=name, text=text), loaded)
    everything = attention(service, AttentionRequest(model=name, text=text), loaded)
    for what, answer, format in (
        ("overview", picture, "safetensors"),
        ("all heads in float32", everything, "safetensors"),
        ("all heads in JSON", everything, "json"),
    ):
        size = len(wire.encode(answer, format))
        yield Row(f"{name}, {n} tokens: {what}, uncompressed", size, "bytes")


def rows(plan: Plan) -> Iterator[Row]:
    """Everything; nothing else should run meanwhile."""
    service = Service(Settings(models="bert,gpt"))
    try:
        for name in ("bert", "gpt"):
            for n in LENGTHS if plan.rounds > 2 else plan.sizes:
                yield from tapes(service, name, n, 3 * plan.rounds)
                yield from looks(service, name, n, 3 * plan.rounds)
            yield from sizes(service, name, 128)
        yield from decoding(service, plan.rounds)
    finally:
        service.close()
