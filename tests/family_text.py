"""A text of token ids, read by a small random model of a family, for experiments."""

from __future__ import annotations

from typing import Any, cast

import torch
from attention_atlas.model.analysis.lab import KEPT, ReadText
from attention_atlas.model.hub.adapters import HubEncoderDecoder
from attention_atlas.model.record import Token
from attention_atlas.model.run import read
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import AnyTokenizer
from attention_atlas.model.zoo import Card, Loaded

from tests.families import SOURCE, TARGET, adapted


class NumberTokenizer:
    """Spells a token as its number."""

    mask_id = None

    def raw(self, i: int) -> str:
        return str(i)

    readable = raw


def tokens(ids: torch.Tensor) -> tuple[Token, ...]:
    return tuple(Token(i, str(i), str(i)) for i in ids[0].tolist())


def family_text(name: str) -> ReadText:
    """The text as one of FAMILIES reads it; its z is not kept if the family lacks edits."""
    model: Any = adapted(name)
    card = Card(name, name, {}, "0" * 64)
    loaded = Loaded(card, cast(AnyTokenizer, NumberTokenizer()), model, torch.device("cpu"))
    sequences = {"source": tokens(SOURCE)}
    if isinstance(model, HubEncoderDecoder):
        sequences["target"] = tokens(TARGET)
    tape = Tape(keep=KEPT, layers=() if model.lacks else None)
    with torch.inference_mode():
        x = read(loaded, sequences, tape)
    kinds = () if model.lacks else loaded.kinds
    z = {kind: [step.z for step in tape if step.kind == kind] for kind in kinds}
    return ReadText(loaded, sequences, (), x, z)
