"""BERT's masking procedure (Devlin et al. 2019, section 3.1): [MASK], random or kept."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator

Ids = np.ndarray
Fate = Literal["masked", "replaced", "kept"]  # [MASK], a random token, the token itself

SHARE = 0.15  # of the tokens are chosen for prediction
MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens; the rest are kept


class Corrupted(NamedTuple):
    ids: Ids  # flat, the model's input
    chosen: Ids  # positions to predict
    fates: list[Fate]  # of each chosen position


def corrupted(
    ids: Ids, ordinary: Ids, rng: Generator, *, mask: int, first: int, vocab_size: int
) -> Corrupted:
    """Mask flat ids, where `ordinary` is True. Random tokens are from `first` to vocab_size - 1."""
    noisy = ids.copy()
    chosen = np.flatnonzero(ordinary & (rng.random(ids.size) < SHARE))
    if not chosen.size:  # a tiny batch: without a position to predict it has no loss
        chosen = np.flatnonzero(ordinary)[:1]
    chance = rng.random(chosen.size)
    noisy[chosen[chance < MASKED]] = mask
    other = chosen[(chance >= MASKED) & (chance < MASKED + REPLACED)]
    noisy[other] = rng.integers(first, vocab_size, other.size)
    fates: list[Fate] = [
        "masked" if c < MASKED else "replaced" if c < MASKED + REPLACED else "kept"
        for c in chance.tolist()
    ]
    return Corrupted(noisy, chosen, fates)
