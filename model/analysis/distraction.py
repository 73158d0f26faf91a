"""A sentence put before a text: how it changes the guess for the text's [MASK].

A sentence that says nothing about the blank should not matter. The search for one that does is that
of Jia & Liang 2017 in its smallest form: each candidate is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from attention_atlas.model.analysis.blanks import no_mask
from attention_atlas.model.protocol import Batch
from attention_atlas.model.record import Token
from attention_atlas.model.spec import BadInput, check_length, tokenize
from attention_atlas.model.zoo import Loaded
from torch import Tensor


class Distracted(NamedTuple):
    """The text after a sentence, "" for none."""

    sentence: str
    guess: int  # the token id that is most probable at the blank now
    probability: float  # of the token that is guessed without a sentence


@torch.inference_mode()
def distracted(loaded: Loaded, text: str, sentences: Sequence[str]) -> list[Distracted]:
    """The guess for the first [MASK] of a text alone, then after each sentence. Raises BadInput."""
    texts = [text, *(f"{sentence} {text}" for sentence in sentences)]
    rows = [tokenize(loaded, each) for each in texts]
    check_length(loaded, "text", max(map(len, rows)))
    blanks = [_blank(loaded, row) for row in rows]
    x = loaded.model.read(_padded(loaded, rows))
    shares = loaded.model.logits(x[range(len(rows)), blanks]).float().softmax(-1)  # (n, V)
    guesses = shares.argmax(-1).tolist()
    of_first = shares[:, guesses[0]].tolist()
    return list(map(Distracted, ("", *sentences), guesses, of_first))


def _padded(loaded: Loaded, rows: Sequence[Sequence[Token]]) -> Batch:
    ids = [torch.tensor([token.id for token in row], device=loaded.device) for row in rows]
    real = [torch.ones_like(row, dtype=torch.bool) for row in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    padding: Tensor = pad(real, batch_first=True)
    return Batch(pad(ids, batch_first=True), padding=padding)


def _blank(loaded: Loaded, tokens: Sequence[Token]) -> int:
    tokenizer = loaded.tokenizer
    for i, token in enumerate(tokens):
        if token.id == tokenizer.mask_id:
            return i
    raise BadInput("text", no_mask(tokenizer.raw(tokenizer.mask_id or 0)))
