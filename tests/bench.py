"""make bench: what looking costs, as ratios measured in one run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from app import wire
from app.api import attention, overview
from app.schemas import AttentionRequest, OverviewRequest
from app.service import Service
from app.settings import Settings
from model.tape import Tape
from model.transformer import GPT, Bert

ROUNDS = 15
WORDS = "He sat on the river bank and watched the water while they opened an account . "


def seconds(*works: Callable[[], Any]) -> list[float]:
    """The median time of each, measured in turns so that a slow moment falls on all alike."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for times, work in zip(found, works, strict=True):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return [median(times) for times in found]


@torch.inference_mode()
def forward_passes(service: Service, name: str, n: int) -> None:
    """A pass with a tape against one without."""
    model = service.models[name].model
    assert isinstance(model, Bert | GPT)
    ids = torch.randint(5, 8000, (1, n))

    def forward(tape: Tape | None = None) -> None:
        if isinstance(model, Bert):
            model.encode(ids, torch.zeros_like(ids), tape)
        else:
            model.hidden(ids, tape)

    plain, one, every = seconds(
        forward, lambda: forward(Tape(layers=[3], heads=[2])), lambda: forward(Tape())
    )
    say(f"{name}, {n} tokens: plain forward pass {plain * 1000:.1f} ms")
    say(f"  keeping one head      {one / plain:.2f} x")
    say(f"  keeping all attention {every / plain:.2f} x")


def answers(service: Service, name: str, n: int) -> None:
    """Bytes of the first picture against those of all numbers."""
    text = (WORDS * 40)[: n * 4]
    picture = overview(service, OverviewRequest(model=name, text=text))
    everything = attention(service, AttentionRequest(model=name, text=text))
    T = everything.tensors["attn"].shape[-1]
    small, raw, json = (
        len(wire.encode(answer, format))
        for answer, format in (
            (picture, "safetensors"),
            (everything, "safetensors"),
            (everything, "json"),
        )
    )
    say(f"{name}, {T} tokens, bytes: overview {small:,}; all float32 {raw:,}; all JSON {json:,}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    """Nothing else should run meanwhile."""
    service = Service(Settings())
    say(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {service.device}")
    for name in ("bert", "gpt"):
        for n in (32, 128, 512):
            forward_passes(service, name, n)
        answers(service, name, 128)
    service.close()


if __name__ == "__main__":
    main()
