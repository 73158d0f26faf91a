"""The arithmetic of attention, measured: on random vectors and on real texts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import torch
from attention_atlas.app.api.common import PREFIX, TokenOut, labels
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import ApiRequest, Seed, TextRequest, spanning
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import arithmetic, feed_forward
from attention_atlas.model.messages import Message
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationInfo, field_validator

router = APIRouter(prefix=PREFIX, tags=["API"])


MOST_COMPONENTS = 65_536  # d_k × n_key: 400 samples of as many random numbers
MOST_PRODUCTS = 1024 * 1024 * 8 * 64  # n_max² × n_head × d
MOST_STEPS = 128 * 128 * 64  # n_loop² × d, in Python


def affordable(product: int, limit: int, formula: str) -> None:
    """Refuse work whose size, a product of parameters, is over the limit."""
    if product > limit:
        raise ValueError(
            Message(
                "too-much-work",
                "{formula} is {value}; at most {limit} is computed",
                formula=formula,
                value=product,
                limit=limit,
            )
        )


class ScalingRequest(ApiRequest):
    d_k: Annotated[int, Field(ge=1, le=4096), spanning("1 to 4096")] = Field(
        256, description="the largest width; powers of 2 up to it"
    )
    n_key: int = Field(
        16,
        ge=2,
        le=256,
        description=f"keys of each query; d_k × n_key is at most {MOST_COMPONENTS}",
    )
    seed: Seed = Field(0, description="of the random vectors")

    @field_validator("n_key")
    @classmethod
    def _affordable(cls, n_key: int, known: ValidationInfo) -> int:
        affordable(known.data.get("d_k", 1) * n_key, MOST_COMPONENTS, "d_k × n_key")
        return n_key


class GradientsRequest(ApiRequest):
    depth: int = Field(24, ge=1, le=64, description="layers of the small stack")
    width: int = Field(64, ge=1, le=256)
    seed: Seed = 0


class CostRequest(ApiRequest):
    n_max: int = Field(512, ge=64, le=1024, description="tokens; 64, 128, … up to it")
    n_head: int = Field(8, ge=1, le=32)
    d: int = Field(
        32,
        ge=1,
        le=256,
        description=f"width of a head; n_max² × n_head × d is at most {MOST_PRODUCTS}",
    )
    n_loop: int = Field(
        64,
        ge=1,
        le=128,
        description=f"tokens of the loop in Python; n_loop² × d is at most {MOST_STEPS}",
    )

    @field_validator("d")
    @classmethod
    def _affordable(cls, d: int, known: ValidationInfo) -> int:
        n_max, n_head = known.data.get("n_max", 1), known.data.get("n_head", 1)
        affordable(n_max**2 * n_head * d, MOST_PRODUCTS, "n_max² × n_head × d")
        return d

    @field_validator("n_loop")
    @classmethod
    def _short(cls, n_loop: int, known: ValidationInfo) -> int:
        affordable(n_loop**2 * known.data.get("d", 1), MOST_STEPS, "n_loop² × d")
        return n_loop


class LayerRequest(TextRequest):
    layer: int = Field(0, ge=0, description="one layer")


class ScalingOut(BaseModel):
    d_k: int
    variance: float = Field(description="of q·k, of random vectors; d_k in theory")
    entropy: dict[str, float] = Field(description="of the softmax, in nats: plain, scaled")
    gradient: dict[str, float] = Field(description="size of the softmax's Jacobian")


class ScalingAnswer(BaseModel):
    n_key: int
    n_sample: int
    seed: int
    widths: list[ScalingOut]


class RegroupedOut(BaseModel):
    """The same queries and keys cut into another number of heads."""

    n_head: int
    d: int
    n_number: int = Field(description="attention weights: n_head T T")
    entropy: float = Field(description="mean over heads and queries, in nats")
    apart: float = Field(description="mean Jensen-Shannon divergence between heads, in nats")


class HeadPartsAnswer(BaseModel):
    """What each head adds to a layer's attention output, as lengths of vectors."""

    model: str
    text: str
    layer: int
    tokens: list[TokenOut]
    norms: list[list[float]] = Field(description="(H, T)")
    output: list[float] = Field(description="(T,): length of all heads' sum and the bias")
    error: float = Field(description="of the parts' sum against W_O of the concatenation")
    regrouped: list[RegroupedOut] = Field(description="fewer and more heads, same d_model")


class ActivationsAnswer(BaseModel):
    """What enters the activation of a layer's feed-forward network, at every token."""

    model: str
    text: str
    layer: int
    tokens: list[TokenOut]
    activation: Literal["relu", "gelu"]
    d_ff: int
    negative: float = Field(description="share of the values below 0")
    edges: list[float] = Field(description="of the histogram; the outer bins hold what is beyond")
    counts: list[int] = Field(description="values in each bin")


class BlockOut(BaseModel):
    residual: float = Field(description="length of what enters the layer, mean over tokens")
    attention: float = Field(description="of what self-attention adds")
    feed_forward: float = Field(description="of what the feed-forward network adds")
    token_std: tuple[float, float] = Field(description="of a token's dimensions; after layer norm")
    dimension_std: tuple[float, float] = Field(description="over tokens; after batch norm")


class BlocksAnswer(BaseModel):
    model: str
    text: str
    tokens: list[TokenOut]
    layers: list[BlockOut] = Field(description="layer 0 … layer L - 1")


class GradientsAnswer(BaseModel):
    """The gradient's length by layer: stacks[name][0] at the input, [i + 1] after layer i.

    The length after the last layer is 1.
    """

    depth: int
    width: int
    seed: int
    stacks: dict[str, list[float]] = Field(description="plain, norm, residual, residual_norm")


class CostOut(BaseModel):
    n: int
    n_number: int = Field(description="attention weights: H T T")
    seconds: float = Field(description="equation 1, naive")
    bytes: int = Field(description="peak memory beside q, k, v, by PyTorch's allocator")
    fused_seconds: float = Field(description="one fused kernel that keeps no weights")
    fused_bytes: int


class CostAnswer(BaseModel):
    """Measured on request, on the server's machine; the numbers vary."""

    device: str
    threads: int
    n_head: int
    d: int
    sizes: list[CostOut]
    exponents: dict[str, float] = Field(
        description="p of value ~ T^p, fitted: seconds, bytes, fused_seconds, fused_bytes"
    )
    loop: dict[str, float] = Field(description="loop, product: seconds; error between them")
    n_loop: int


@resource(router, "/arithmetic/scaling", ScalingRequest, ScalingAnswer)
def scaling(service: Service, request: ScalingRequest) -> Answer:
    """Why scores are divided by sqrt(d): variance, entropy and gradient by width, measured."""
    rows = arithmetic.scaling(request.d_k, request.n_key, request.seed)
    fields = {"n_key": request.n_key, "n_sample": arithmetic.SAMPLES, "seed": request.seed}
    return Answer({**fields, "widths": [asdict(row) for row in rows]}, {})


@resource(router, "/arithmetic/heads", LayerRequest, HeadPartsAnswer)
def head_parts(service: Service, request: LayerRequest, loaded: Loaded) -> Answer:
    """What each head adds to a layer's attention output, token by token."""
    parts = arithmetic.head_parts(loaded, request.text, request.layer)
    fields = {
        "model": request.model,
        "text": request.text,
        "layer": request.layer,
        "tokens": labels(parts.tokens),
        "norms": parts.norms.tolist(),
        "output": parts.output.tolist(),
        "error": parts.error,
        "regrouped": [asdict(cut) for cut in parts.regrouped],
    }
    return Answer(fields, {})


@resource(router, "/arithmetic/activations", LayerRequest, ActivationsAnswer)
def activations(service: Service, request: LayerRequest, loaded: Loaded) -> Answer:
    """The values that a layer's feed-forward network applies its activation to."""
    read = feed_forward.activations(loaded, request.text, request.layer)
    counts, edges = feed_forward.histogram(read.before)
    fields = {
        "model": request.model,
        "text": request.text,
        "layer": request.layer,
        "tokens": labels(read.tokens),
        "activation": read.activation,
        "d_ff": read.before.size(1),
        "negative": (read.before < 0).float().mean().item(),
        "edges": edges,
        "counts": counts,
    }
    return Answer(fields, {})


@resource(router, "/arithmetic/blocks", TextRequest, BlocksAnswer)
def blocks(service: Service, request: TextRequest, loaded: Loaded) -> Answer:
    """Residual stream, updates, and what layer norm and batch norm average over, by layer."""
    tokens, layers = arithmetic.blocks(loaded, request.text)
    fields = {
        "model": request.model,
        "text": request.text,
        "tokens": labels(tokens),
        "layers": [asdict(layer) for layer in layers],
    }
    return Answer(fields, {})


@resource(router, "/arithmetic/gradients", GradientsRequest, GradientsAnswer)
def gradients(service: Service, request: GradientsRequest) -> Answer:
    """The gradient through a deep stack, with and without residuals and norms."""
    stacks = arithmetic.stacks(request.depth, request.width, request.seed)
    return Answer({**request.model_dump(), "stacks": stacks}, {})


@resource(router, "/arithmetic/cost", CostRequest, CostAnswer)
def cost(service: Service, request: CostRequest) -> Answer:
    """Attention's time and memory by the number of tokens, measured on request."""
    lengths = [n for n in arithmetic.LENGTHS if n <= request.n_max]
    sizes, exponents = arithmetic.cost(lengths, n_head=request.n_head, d=request.d)
    fields = {
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "n_head": request.n_head,
        "d": request.d,
        "n_loop": request.n_loop,
        "sizes": [asdict(size) for size in sizes],
        "exponents": exponents,
        "loop": arithmetic.loop_and_product(request.n_loop, request.d),
    }
    return Answer(fields, {})
