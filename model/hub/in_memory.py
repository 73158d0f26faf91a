"""A model of transformers that is in memory already, such as one that was fine-tuned a moment ago.

It is never changed: what is run here is a copy of its modules that shares its tensors. So the
attention implementation, hooks, training mode and tokenizer settings of the original stay as they
are, whatever happens.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from attention_atlas.model.hub import loading
from attention_atlas.model.hub.opening import left_out, only_bad_models, ready
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.zoo import Card, Loaded
from torch import nn


def loaded(model: Any, tokenizer: Any, name: str = "") -> Loaded:
    """A model and its tokenizer, ready to run. Raises BadModel, which says why it cannot be.

    `model` may be tied, compiled, wrapped by PEFT, in any precision and with any attention
    implementation; its parameters are shared, not copied.
    """
    plain = unwrapped(model)
    check(plain, tokenizer)
    with only_bad_models():
        shared = sharing(plain).eval()
        ours, adapter = ready(shared, copy.deepcopy(tokenizer))
    card = Card(
        name=name or type(plain).__name__,
        architecture=type(plain).__name__,
        config={},
        sha256=sha256(shared),
    )
    notes = left_out(type(plain).__name__, adapter)
    return Loaded(card, ours, adapter, shared.device, "memory", notes)


def unwrapped(model: Any) -> Any:
    """The model of transformers inside what torch.compile and PEFT make of it. An adapter's layers
    stay in it."""
    model = getattr(model, "_orig_mod", model)
    get_base = getattr(model, "get_base_model", None)
    return model if get_base is None else getattr(get_base(), "_orig_mod", get_base())


def check(model: Any, tokenizer: Any) -> None:
    """A model of transformers, on a device, and a tokenizer that has no more tokens than it."""
    if not hasattr(model, "set_attn_implementation"):
        text = "{name} is not a model of transformers: it has no set_attn_implementation"
        raise BadModel("unsupported", text, name=type(model).__name__)
    if not hasattr(tokenizer, "get_vocab"):
        text = "{name} is not a tokenizer of transformers: it has no get_vocab"
        raise BadModel("unsupported", text, name=type(tokenizer).__name__)
    if any(parameter.is_meta for parameter in model.parameters()):
        raise BadModel("unsupported", "its weights are on the meta device: they have no numbers")
    words = getattr(model.get_input_embeddings(), "weight", None)
    n = max(tokenizer.get_vocab().values(), default=0)
    if words is not None and n >= len(words):
        raise BadModel(
            "damaged",
            "its tokenizer has tokens up to {n} and the model vectors up to {limit}: it is the "
            "tokenizer of another model, or the vectors were not resized after tokens were added",
            n=f"{n:,}",
            limit=f"{len(words) - 1:,}",
        )
    loading.check_finite(model)


def sharing(model: nn.Module) -> Any:
    """A copy of a model's modules, with parameters of its own that share the original's memory."""
    tensors: dict[int, Any] = {}
    for parameter in model.parameters():
        tensors[id(parameter)] = (
            nn.Parameter(parameter.detach(), requires_grad=False)
            if type(parameter) is nn.Parameter
            else parameter  # quantised: a class of its own
        )
    tensors |= {id(buffer): buffer.detach() for buffer in model.buffers()}
    return copy.deepcopy(model, tensors)


def sha256(model: nn.Module) -> str:
    """Of the parameters' names, shapes and bytes."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().cpu().contiguous().view(-1)
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
