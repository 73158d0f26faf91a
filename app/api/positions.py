"""Positions as the API says them: encodings, their part of the input, and why they are needed."""

from __future__ import annotations

from typing import Any

from attention_atlas.app import errors
from attention_atlas.app.api.common import labels
from attention_atlas.app.api.spec import EmbeddingRequest, PermutationRequest, PositionsRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model import positions as encodings

DEFAULT = 64  # positions shown


def positions_answer(service: Service, asked: PositionsRequest) -> Answer:
    """The encoding of each position, and how alike any two are."""
    n, base = asked.n_positions, asked.base
    if asked.model is None:
        encoding = encodings.sinusoidal(n or DEFAULT, asked.d_model, base=base)
        kind = "sinusoidal"
    else:
        table = service.positions(asked.model)
        if n is not None and n > len(table):
            message = f"{n} positions are too many: {asked.model} has {len(table)}"
            raise errors.Invalid(message, "n_positions")
        encoding = table[: n or len(table)]
        kind = service.card(asked.model).positions
        base = encodings.BASE
    similarity = encodings.likeness(encoding, asked.measure)
    is_sine = kind == "sinusoidal"
    D = encoding.size(1)
    fields: dict[str, Any] = {
        "kind": kind,
        "model": asked.model,
        "n_positions": len(encoding),
        "d_model": D,
        "base": base if is_sine else None,
        "measure": asked.measure,
        "shift": asked.shift,
        "provenance": asked.model and service.provenance(asked.model).model_dump(),
        "shift_error": encodings.shift_error(encoding, asked.shift, base=base) if is_sine else None,
    }
    waves = encodings.wavelengths(D, base=base).float() if is_sine else encoding.new_zeros(0)
    turns = encodings.shift_turns(asked.shift, D, base=base) if is_sine else None
    tensors = {"encoding": encoding, "similarity": similarity, "wavelengths": waves}
    tensors["turns"] = encoding.new_zeros(0, 2, 2) if turns is None else turns
    tensors["by_distance"] = encodings.by_distance(similarity)
    return Answer(fields, {name: tensor.numpy() for name, tensor in tensors.items()})


def embedding_answer(service: Service, asked: EmbeddingRequest) -> Answer:
    """Word + position + segment, token by token, as lengths of vectors."""
    tokens, parts = service.embedding(asked)
    fields = {
        "model": asked.model,
        "text": asked.text,
        "text_pair": asked.text_pair,
        "tokens": labels(tokens),
        "parts": {name: norms.tolist() for name, norms in parts.items()},
    }
    return Answer(fields, {})


def permutation_answer(service: Service, asked: PermutationRequest) -> Answer:
    """The same words in two orders: what changes with positions, and what without."""
    found = service.permutation(asked)
    by_token = {"with": found.with_positions, "without": found.without}
    fields = {
        "model": asked.model,
        "text": asked.text,
        "text_b": found.text_b,
        "same": found.is_same,
        "causal": service.card(asked.model).family == "decoder",
        "tokens_a": labels(found.a),
        "tokens_b": labels(found.b),
        "order": found.order,
        "difference": {name: change.max().item() for name, change in by_token.items()},
        "by_token": {name: change.tolist() for name, change in by_token.items()},
    }
    return Answer(fields, {})
