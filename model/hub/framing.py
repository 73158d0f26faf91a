"""What a model's files say of how the texts that it makes begin and end."""

from __future__ import annotations

from typing import Any

import torch


def framing(model: Any) -> dict[str, Any]:
    """Options of a `HubTokenizer` for a model of transformers: which tokens end a text; and what
    the decoder of a translator begins with, and must say first."""
    framed: dict[str, Any] = {"end_ids": _ids(model, "eos_token_id")}
    if getattr(model.config, "is_encoder_decoder", False):
        framed["begin_id"] = next(iter(_ids(model, "decoder_start_token_id")), None)
        framed["first_id"] = next(iter(_ids(model, "forced_bos_token_id")), None)
        framed["read_first"] = lambda labels: _read_first(model, labels)
    return framed


def _ids(model: Any, name: str) -> tuple[int, ...]:
    """What generation_config.json says, else config.json: one id, several, or none.

    Ids beyond the vocabulary, such as a default that was left in a small model's config, are no
    tokens of it.
    """
    settings = (getattr(model, "generation_config", None), model.config)
    values: list[Any] = [getattr(part, name, None) for part in settings]
    known = next((value for value in values if value not in (None, [])), ())
    vocab_size = model.get_input_embeddings().weight.size(0)
    ids = (known,) if isinstance(known, int) else tuple(known)
    return tuple(i for i in ids if 0 <= i < vocab_size)


def _read_first(model: Any, labels: list[int]) -> int | None:
    """What a decoder reads before it predicts some labels: as in training, they are shifted."""
    try:
        shifted = model.prepare_decoder_input_ids_from_labels(torch.tensor([labels]))
    except (AttributeError, ValueError):  # no such method; no token to begin with
        return None
    return int(shifted[0, 0])
