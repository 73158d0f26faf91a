"""Weights as safetensors, and under Hugging Face's names for the same architectures.

Any missing, extra or misshapen tensor is an error. Only this file uses Hugging Face's names.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from attention_atlas.model.transformer import GPT, Bert, EncoderDecoder, Transformer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

# Our names -> Hugging Face's, of modules or of single tensors; # is the number of a layer.
# Several of ours under one name of theirs: their tensor is ours, concatenated in this order.
NAMES: dict[type[Transformer], dict[str, str]] = {
    EncoderDecoder: {
        "embedding": "model.shared",
        "position": "model.encoder.embed_positions.weight",
        "encoder.#.attention.W_Q": "model.encoder.layers.#.self_attn.q_proj",
        "encoder.#.attention.W_K": "model.encoder.layers.#.self_attn.k_proj",
        "encoder.#.attention.W_V": "model.encoder.layers.#.self_attn.v_proj",
        "encoder.#.attention.W_O": "model.encoder.layers.#.self_attn.out_proj",
        "encoder.#.attention_norm": "model.encoder.layers.#.self_attn_layer_norm",
        "encoder.#.feed_forward.W_in": "model.encoder.layers.#.fc1",
        "encoder.#.feed_forward.W_out": "model.encoder.layers.#.fc2",
        "encoder.#.feed_forward_norm": "model.encoder.layers.#.final_layer_norm",
        "decoder.#.attention.W_Q": "model.decoder.layers.#.self_attn.q_proj",
        "decoder.#.attention.W_K": "model.decoder.layers.#.self_attn.k_proj",
        "decoder.#.attention.W_V": "model.decoder.layers.#.self_attn.v_proj",
        "decoder.#.attention.W_O": "model.decoder.layers.#.self_attn.out_proj",
        "decoder.#.attention_norm": "model.decoder.layers.#.self_attn_layer_norm",
        "decoder.#.cross_attention.W_Q": "model.decoder.layers.#.encoder_attn.q_proj",
        "decoder.#.cross_attention.W_K": "model.decoder.layers.#.encoder_attn.k_proj",
        "decoder.#.cross_attention.W_V": "model.decoder.layers.#.encoder_attn.v_proj",
        "decoder.#.cross_attention.W_O": "model.decoder.layers.#.encoder_attn.out_proj",
        "decoder.#.cross_attention_norm": "model.decoder.layers.#.encoder_attn_layer_norm",
        "decoder.#.feed_forward.W_in": "model.decoder.layers.#.fc1",
        "decoder.#.feed_forward.W_out": "model.decoder.layers.#.fc2",
        "decoder.#.feed_forward_norm": "model.decoder.layers.#.final_layer_norm",
    },
    Bert: {
        "embedding": "bert.embeddings.word_embeddings",
        "position": "bert.embeddings.position_embeddings",
        "segment": "bert.embeddings.token_type_embeddings",
        "embedding_norm": "bert.embeddings.LayerNorm",
        "encoder.#.attention.W_Q": "bert.encoder.layer.#.attention.self.query",
        "encoder.#.attention.W_K": "bert.encoder.layer.#.attention.self.key",
        "encoder.#.attention.W_V": "bert.encoder.layer.#.attention.self.value",
        "encoder.#.attention.W_O": "bert.encoder.layer.#.attention.output.dense",
        "encoder.#.attention_norm": "bert.encoder.layer.#.attention.output.LayerNorm",
        "encoder.#.feed_forward.W_in": "bert.encoder.layer.#.intermediate.dense",
        "encoder.#.feed_forward.W_out": "bert.encoder.layer.#.output.dense",
        "encoder.#.feed_forward_norm": "bert.encoder.layer.#.output.LayerNorm",
        "pooler": "bert.pooler.dense",
        "next_head": "cls.seq_relationship",
        "mlm_transform": "cls.predictions.transform.dense",
        "mlm_norm": "cls.predictions.transform.LayerNorm",
        "mlm_bias": "cls.predictions.bias",
    },
    GPT: {
        "embedding": "transformer.wte",
        "position": "transformer.wpe",
        "decoder.#.attention_norm": "transformer.h.#.ln_1",
        "decoder.#.attention.W_Q": "transformer.h.#.attn.c_attn",
        "decoder.#.attention.W_K": "transformer.h.#.attn.c_attn",
        "decoder.#.attention.W_V": "transformer.h.#.attn.c_attn",
        "decoder.#.attention.W_O": "transformer.h.#.attn.c_proj",
        "decoder.#.feed_forward_norm": "transformer.h.#.ln_2",
        "decoder.#.feed_forward.W_in": "transformer.h.#.mlp.c_fc",
        "decoder.#.feed_forward.W_out": "transformer.h.#.mlp.c_proj",
        "norm": "transformer.ln_f",
    },
}
# Tied tensors, a second name -> the first; a state dict may omit the second.
TIED: dict[type[Transformer], dict[str, str]] = {
    EncoderDecoder: {
        "lm_head.weight": "model.shared.weight",
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_positions.weight": "model.encoder.embed_positions.weight",
    },
    Bert: {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    GPT: {"lm_head.weight": "transformer.wte.weight"},
}
# (1, V) each: the paper's output layer has no bias, Hugging Face's has one.
ZERO_BIASES: dict[type[Transformer], tuple[str, ...]] = {EncoderDecoder: ("final_logits_bias",)}
FIXED = {"model.encoder.embed_positions.weight", "final_logits_bias"}  # constants, not learned
STEPS_A_DEVIATION = 12  # at least, when weights are rounded
TRANSPOSED = re.compile(r"\.c_(attn|proj|fc)\.weight")  # GPT-2 keeps these as (in, out)


class BadWeights(Exception):
    """A weights file is missing, damaged, or belongs to another model."""


def save(model: nn.Module, path: Path, *, coarse: bool = False) -> str:
    """Write the weights as float16, or the rounded ones, and return their sha256."""
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if coarse:
        tensors = {name: rounded(tensor) for name, tensor in tensors.items()}
    save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, str(path))
    path.chmod(0o644)  # safetensors lets only its owner read
    return sha256(path)


def rounded(weights: Tensor) -> Tensor:
    """A matrix in multiples of a power of two, between 1/24 and 1/12 of its standard deviation.

    As float16 it takes as many bytes, but git and a wheel, which compress, take about half.
    """
    deviation = weights.float().std().item() if weights.ndim == 2 else 0.0
    if not deviation:
        return weights
    step = 2.0 ** math.floor(math.log2(deviation / STEPS_A_DEVIATION))
    return (weights / step).round() * step


def load(model: nn.Module, path: Path) -> None:
    """Read weights into a model, in float32."""
    try:
        tensors = load_file(str(path))
    except FileNotFoundError:
        raise BadWeights(f"{path.name} is not in {path.parent}") from None
    except SafetensorError as error:
        raise BadWeights(f"{path} is damaged: {error}") from None
    fill(model, tensors, str(path))


def fill(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a model, in float32. BadWeights if they are another model's."""
    _check(source, model.state_dict(), tensors)
    model.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()})


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_hugging_face(model: Transformer) -> dict[str, Tensor]:
    """The model's weights under Hugging Face's names and in their layout, on the CPU."""
    ours = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state: dict[str, Tensor] = {}
    for name, parts in _parts(model).items():
        tensor = torch.cat([ours[part].detach().cpu() for part in parts])
        state[name] = tensor.T.contiguous() if TRANSPOSED.search(name) else tensor
    for name in ZERO_BIASES.get(type(model), ()):
        state[name] = torch.zeros(1, model.config.vocab_size)
    return state | {second: state[first] for second, first in TIED[type(model)].items()}


def from_hugging_face(model: Transformer, state: Mapping[str, Tensor]) -> None:
    """Load a Hugging Face model's weights, in float32. Those in FIXED must equal ours."""
    expected = to_hugging_face(model)
    theirs = {name: tensor.detach().float().cpu() for name, tensor in state.items()}
    tied = {second: theirs[first] for second, first in TIED[type(model)].items() if first in theirs}
    theirs = tied | theirs
    _check("the state dict", expected, theirs)
    same = tied | {name: expected[name] for name in FIXED & expected.keys()}
    if wrong := sorted(name for name in same if not torch.equal(same[name], theirs[name])):
        raise BadWeights(f"the state dict does not fit: {', '.join(wrong)} must be as ours")
    ours: dict[str, Tensor] = {}
    for name, parts in _parts(model).items():
        tensor = theirs[name].T if TRANSPOSED.search(name) else theirs[name]
        ours |= zip(parts, tensor.chunk(len(parts)), strict=True)
    model.load_state_dict({name: ours[name] for name in model.state_dict()})


def body_from_hugging_face(model: Bert, state: Mapping[str, Tensor]) -> None:
    """Take over a Hugging Face BertModel, which has no heads; ours stay as they are."""
    fixed = "embeddings.position_ids"  # a constant, in files of older versions
    body = {f"bert.{name}": tensor for name, tensor in state.items() if name != fixed}
    heads = {k: v for k, v in to_hugging_face(model).items() if not k.startswith("bert.")}
    untied = {k: v for k, v in heads.items() if k not in TIED[Bert]}
    from_hugging_face(model, untied | body)


def _parts(model: Transformer) -> dict[str, list[str]]:
    """Each of Hugging Face's tensors -> those of ours that it contains, in order."""
    parts = defaultdict(list)
    for name in [name for name, _ in (*model.named_parameters(), *model.named_buffers())]:
        number = "".join(re.findall(r"\d+", name))
        names = NAMES[type(model)]
        ours, _, leaf = name.replace(f".{number}.", ".#.").rpartition(".")
        theirs = f"{names[ours]}.{leaf}" if ours in names else names[leaf]
        parts[theirs.replace("#", number)].append(name)
    return dict(parts)


def _check(source: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Raise BadWeights, naming the tensors, unless names and shapes are the same."""
    expected = {name: tuple(tensor.shape) for name, tensor in ours.items()}
    given = {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    if wrong := sorted(dict(expected.items() ^ given.items())):
        raise BadWeights(f"{source} does not fit: {', '.join(wrong[:5])} ({len(wrong)} tensors)")
