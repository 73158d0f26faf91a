"""The feed-forward network of a layer on a text: what enters its activation, and what leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from attention_atlas.model.analysis.arithmetic import self_attention_layers
from attention_atlas.model.record import Token
from attention_atlas.model.run import forward
from attention_atlas.model.spec import Spec, check_heads
from attention_atlas.model.tape import Tape
from attention_atlas.model.transformer import EncoderLayer, GPTLayer, causal_mask
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F

Name = Literal["relu", "gelu"]


@dataclass(frozen=True)
class Activations:
    """The activation of one layer's feed-forward network at every token."""

    tokens: tuple[Token, ...]
    activation: Name
    before: Tensor  # (T, F): W_in x + b_in
    after: Tensor  # (T, F): the activation of it


@torch.inference_mode()
def activations(loaded: Loaded, text: str, layer: int) -> Activations:
    """Section 3.3: f(x W_1 + b_1) and what f is applied to."""
    layers = self_attention_layers(loaded)
    check_heads(loaded, loaded.kinds[0], (layer,), ())
    tape = Tape(layers=(), hidden=True)
    sequences, _ = forward(loaded, Spec(text), tape)
    x = next(iter(tape.streams.values()))[layer]  # (1, T, D)
    network = layers[layer].feed_forward
    before = network.W_in(_read(layers[layer], x))[0]  # (T, F)
    name: Name = "relu" if network.activation is F.relu else "gelu"
    return Activations(sequences["source"], name, before, network.activation(before))


def _read(layer: EncoderLayer | GPTLayer, x: Tensor) -> Tensor:
    """What the feed-forward network of a layer with input x reads."""
    if not layer.norm_first:
        return layer.attention_norm(x + layer.attention(x, x))
    T = x.size(1)
    normed = layer.attention_norm(x)
    update = layer.attention(normed, normed, mask=causal_mask(T, T, x.device))
    return layer.feed_forward_norm(x + update)


EDGES = [i / 4 for i in range(-16, 17)]  # of a histogram's bins


def histogram(values: Tensor) -> tuple[list[int], list[float]]:
    """How many values are in each bin; the first and the last also hold what is beyond them."""
    inside = values.flatten().double().clamp(EDGES[0], EDGES[-1] - 1e-9)
    counts, edges = torch.histogram(inside.cpu(), torch.tensor(EDGES).double())
    return [int(n) for n in counts], edges.tolist()
