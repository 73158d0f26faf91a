"""The arithmetic of attention as the API says it: measured, on random vectors and on real texts."""

from __future__ import annotations

from dataclasses import asdict

import torch
from attention_atlas.app.api.common import labels
from attention_atlas.app.api.spec import (
    CostRequest,
    GradientsRequest,
    LayerRequest,
    ScalingRequest,
    TokenizeRequest,
)
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import arithmetic

STACKS = {
    "plain": (False, False),
    "norm": (False, True),
    "residual": (True, False),
    "residual_norm": (True, True),
}


def scaling_answer(asked: ScalingRequest) -> Answer:
    """Variance of q·k by width; entropy and gradient of the softmax with and without 1/sqrt(d)."""
    widths = [asdict(found) for found in arithmetic.scaling(asked.d_k, asked.n_key, asked.seed)]
    fields = {"n_key": asked.n_key, "n_sample": arithmetic.SAMPLES, "seed": asked.seed}
    return Answer({**fields, "widths": widths}, {})


def heads_answer(service: Service, asked: LayerRequest) -> Answer:
    """What each head adds to a layer's attention output."""
    found = service.head_parts(asked)
    fields = {
        "model": asked.model,
        "text": asked.text,
        "layer": asked.layer,
        "tokens": labels(found.tokens),
        "norms": found.norms.tolist(),
        "output": found.output.tolist(),
        "error": found.error,
        "regrouped": [asdict(cut) for cut in found.regrouped],
    }
    return Answer(fields, {})


def blocks_answer(service: Service, asked: TokenizeRequest) -> Answer:
    """Residual stream, updates and the two norms, layer by layer."""
    tokens, found = service.blocks(asked)
    fields = {
        "model": asked.model,
        "text": asked.text,
        "tokens": labels(tokens),
        "layers": [asdict(block) for block in found],
    }
    return Answer(fields, {})


def gradients_answer(asked: GradientsRequest) -> Answer:
    """The gradient through a deep stack, with and without residuals and norms."""
    stacks = {
        name: arithmetic.gradients(
            asked.depth, asked.width, residual=residual, norm=norm, seed=asked.seed
        )
        for name, (residual, norm) in STACKS.items()
    }
    return Answer({**asked.model_dump(), "stacks": stacks}, {})


def cost_answer(service: Service, asked: CostRequest) -> Answer:
    """Time and memory of attention by tokens, measured now; a loop against one product."""
    sizes = [n for n in (64, 128, 256, 512, 1024) if n <= asked.n_max]
    found, exponents = arithmetic.cost(sizes, n_head=asked.n_head, d=asked.d)
    fields = {
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "n_head": asked.n_head,
        "d": asked.d,
        "n_loop": asked.n_loop,
        "sizes": [asdict(each) for each in found],
        "exponents": exponents,
        "loop": arithmetic.loop_and_product(asked.n_loop, asked.d),
    }
    return Answer(fields, {})
