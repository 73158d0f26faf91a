"""What the two translators learn: pairs of sentences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import Tokenizer, train_translator_bpe
from attention_atlas.model.training import corpus
from attention_atlas.model.training.task import (
    N_LOOK,
    NO_LABEL,
    Batch,
    Ids,
    Ragged,
    Task,
    cross_entropy,
    padded,
    weighted,
)
from attention_atlas.model.transformer import Config, EncoderDecoder
from numpy.random import Generator
from torch import Tensor


class TranslatorTask(Task[EncoderDecoder | Recurrent]):
    """Source sentence -> target sentence, with teacher forcing and label smoothing 0.1."""

    name = "translator"
    learning_rate = 1e-3
    matrix_rate = 1.5e-3
    batch_tokens = 4096
    longest = 100  # tokens of either side, with <s> or </s>; pairs with more are left out
    small_until = 0.4  # this share of the run, batches are half as large
    recipe = (
        "teacher forcing, label smoothing 0.1; batches half as large for the first 40 %; "
        "one pair in ten from Europarl"
    )

    def __init__(
        self, data: Path, tokenizer: Tokenizer | None, seed: int, *, train: bool = True
    ) -> None:
        pairs, rng = corpus.pairs(data), np.random.default_rng(seed)
        self.sources = sorted(pairs)
        rows = [row for name in self.sources for row in weighted(pairs[name], name, rng)]
        dev = [(source, targets[0]) for source, targets in corpus.held_out_pairs(data, "dev")]
        if not dev:
            dev, rows = (
                rows[:: corpus.HELD_OUT_EVERY],
                [row for i, row in enumerate(rows) if i % corpus.HELD_OUT_EVERY],
            )
        self.tokenizer = tokenizer or Tokenizer(train_translator_bpe(chain.from_iterable(rows)))
        order = rng.permutation(len(rows))
        self.train = self._encode([rows[i] for i in order] if train else [])
        self.dev = self._encode(dev)
        if train:
            corpus.enough(len(self.train), len(self.dev), "sentence pairs")

    def _encode(self, rows: list[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """Pairs of ids sorted by length, so that a window of them is a batch of one length."""
        source = Ragged.of(self.tokenizer, [row[0] for row in rows])
        target = Ragged.of(self.tokenizer, [row[1] for row in rows])
        both = [(source[i], target[i]) for i in range(len(rows))]
        fits = [pair for pair in both if all(0 < len(side) < self.longest for side in pair)]
        return sorted(fits, key=lambda pair: (len(pair[0]), len(pair[1]) // 2))

    def build(self) -> EncoderDecoder | Recurrent:
        vocab_size = self.tokenizer.vocab_size
        return EncoderDecoder(Config(vocab_size, 128, 4, 8, 256, 1024, dropout=0.1))

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
        """Pairs of like length; small steps first."""
        n_token = n_token // 2 if progress < self.small_until else n_token
        middle = int(rng.integers(len(self.train)))
        width = sum(map(len, self.train[middle])) + 2
        size = max(1, n_token // width)
        start = max(0, min(middle - size // 2, len(self.train) - size))
        return self._collate(self.train[start : start + size])

    def _collate(self, pairs: list[tuple[Ids, Ids]]) -> Batch:
        pad, begin, end = (self.tokenizer.id(raw) for raw in ("<pad>", "<s>", "</s>"))
        return {
            "source": padded([np.append(s, end) for s, _ in pairs], pad),
            "target": padded([np.insert(t, 0, begin) for _, t in pairs], pad),
            "label": padded([np.append(t, end).astype(np.int64) for _, t in pairs], NO_LABEL),
        }

    def loss(self, model: EncoderDecoder | Recurrent, batch: Batch) -> Tensor:
        source = batch["source"]
        real = source != self.tokenizer.id("<pad>")
        x = model.hidden(batch["target"], model.encode(source, None, real), None, real)
        smoothing = 0.1 if model.training else 0.0
        return cross_entropy(model.logits, x, batch["label"], smoothing=smoothing)

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for i in range(n_batch):
            start = i * max(0, len(self.dev) - 64) // n_batch
            yield self._collate(self.dev[start : start + 64])

    def can_look(self) -> bool:
        return bool(self.dev)

    def look(self, model: EncoderDecoder | Recurrent, device: torch.device) -> Iterator[Tape]:
        """What the heads do on held-out pairs of ordinary length."""
        middle = len(self.dev) // 2
        for pair in self.dev[middle : middle + N_LOOK]:
            tape, batch = Tape(), self._collate([pair])
            model(batch["source"].to(device), batch["target"].to(device), tape)
            yield tape


class RecurrentTask(TranslatorTask):
    """The same pairs and the same vocabulary, for the attention before the Transformer."""

    name = "recurrent"

    def build(self) -> Recurrent:
        """States of width 512, embeddings and alignment of width 256."""
        return Recurrent(Config(self.tokenizer.vocab_size, 128, 1, 1, 256, 512, dropout=0.1))
