"""The parts of a model of transformers, whatever they are called in its family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attention_atlas.model.tape import Kind
from torch import Tensor, nn

PROJECTION = "enc_to_dec_proj"  # of an EncoderDecoderModel whose stacks are of different widths
NAMES: dict[Kind, tuple[str, ...]] = {  # of the attentions in a model's output
    "encoder": ("encoder_attentions", "attentions"),
    "decoder": ("decoder_attentions", "attentions"),
    "cross": ("cross_attentions",),
}


def base_of(model: Any) -> Any:
    """A model without its head; some say that they have none of the name that they give it."""
    base = model.base_model
    if base is not model or model.get_output_embeddings() is None:
        return base
    return next((part for part in model.children() if hasattr(part, "base_model")), model)


def encoder_of(model: Any) -> Any:
    """Of a model with two stacks, the one that reads the source."""
    return model.get_encoder()


def decoder_of(model: Any) -> Any:
    """Of a model with two stacks, the one that writes the target, without its head."""
    return base_of(model.get_decoder())


def projected(model: Any, x: Tensor) -> Tensor:
    """An encoder's output as the decoder takes it, where the two are of different widths."""
    projection = getattr(model, PROJECTION, None)
    return x if projection is None else projection(x)


def encoder_width(model: Any, d_model: int) -> int:
    """The width of an encoder's output, where the decoder's is `d_model`."""
    projection = getattr(model, PROJECTION, None)
    return d_model if projection is None else int(projection.in_features)


def rows(module: nn.Module) -> Tensor:
    """The vectors of an embedding, (n, D), whether they were learned or computed."""
    vectors = getattr(module, "weight", None)
    vectors = getattr(module, "weights", None) if vectors is None else vectors
    return vectors if isinstance(vectors, Tensor) else torch.zeros(0)


def attentions(output: Any, kind: Kind) -> Sequence[Tensor]:
    """The attention of a kind in an output, layer by layer; none where a layer has none."""
    layers = next((x for name in NAMES[kind] if (x := getattr(output, name, None))), ())
    return [attn for attn in layers if isinstance(attn, Tensor)]


def window(config: Any, layer: int, n_key: int) -> int:
    """How many keys, itself the last, a decoder's query may look at, as the config says."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    windowed = layer < len(kinds) and kinds[layer] == "sliding_attention"
    return (getattr(config, "sliding_window", None) or n_key) if windowed else n_key
