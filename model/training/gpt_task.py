"""What GPT learns: the next token, and in some rows to copy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import Tokenizer, train_gpt_bpe
from attention_atlas.model.training import corpus
from attention_atlas.model.training.task import (
    COPIED,
    N_LOOK,
    NO_LABEL,
    Batch,
    Ids,
    Ragged,
    Task,
    cross_entropy,
    share_until,
    sinusoidal_start,
    weighted,
)
from attention_atlas.model.transformer import GPT, Config
from numpy.random import Generator
from torch import Tensor


class GPTTask(Task[GPT]):
    """The next token. Some rows reward copying: a random segment, or pairs "x → y", repeated."""

    name = "gpt"
    learning_rate = 2e-3
    matrix_rate = 5e-3
    batch_tokens = 4096
    lengths = ((32, 0.1), (64, 0.2), (128, 1.0))  # until this share of the run
    long = ((0.0, 0.5), (0.4, 1.0))  # share of the batches whose rows have n_ctx tokens, likewise
    copying = ((0.15, 0.2), (0.06, 1.0))  # share of the rows, likewise
    small_until = 0.2  # this share of the run, batches are half as large
    recipe = (
        "32 tokens for 10 % of the run, 64 until 20 %, then 128, and from the middle on 512 in 40 "
        "% of the batches; batches half as large for the first 20 %; to reward copying, 15 % of "
        'the rows until then and 6 % after are a random segment repeated, or lines "x → y" '
        "repeated in another order"
    )
    n_ctx = longest = 512

    def __init__(
        self, data: Path, tokenizer: Tokenizer | None, seed: int, *, train: bool = True
    ) -> None:
        rng = np.random.default_rng(seed)
        seen: list[list[str]] = []
        self.dev_texts: dict[str, list[str]] = {}
        self.sources = []
        for docs in corpus.documents(data, skip=("wordnet_glosses",), train=train):
            self.sources.append(docs.name)
            seen += weighted(docs.train, docs.name, rng) if train else []
            held_out = self.dev_texts.setdefault(docs.name, [])
            held_out += ["\n".join(doc) for doc in docs.held_out]
        rng.shuffle(seen)
        texts = ["\n".join(doc) for doc in seen]
        self.tokenizer = tokenizer or Tokenizer(train_gpt_bpe(texts))
        self.end = self.tokenizer.id("<|endoftext|>")
        self.arrow, self.line = self.tokenizer.ids("→"), [self.tokenizer.id("Ċ")]
        self.train = self.stream(texts)
        self.dev = self.stream(list(chain.from_iterable(self.dev_texts.values())))
        if train:
            n_train = max(0, len(self.train) - 1) // self.n_ctx
            corpus.enough(n_train, int(len(self.dev) > 1), f"stretches of {self.n_ctx} tokens")

    def stream(self, texts: list[str]) -> Ids:
        """All texts as one array of ids, <|endoftext|> before each."""
        rows = Ragged.of(self.tokenizer, texts)
        return np.insert(rows.ids, rows.offset[:-1], self.end)

    def longest_at(self, progress: float) -> int:
        is_long = share_until(self.long, progress) > 0
        return self.n_ctx if is_long else share_until(self.lengths, progress)

    def build(self) -> GPT:
        model = GPT(Config(self.tokenizer.vocab_size, self.n_ctx, 6, 8, 256, 1024))
        sinusoidal_start(model.position, 0.06)
        return model

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
        """Short texts and small steps first: they are cheaper, and heads form sooner."""
        long = rng.random() < share_until(self.long, progress)
        length = self.n_ctx if long else share_until(self.lengths, progress)
        n_token = n_token // 2 if progress < self.small_until else n_token
        copying = share_until(self.copying, progress)
        rows = [self._row(rng, length, copying) for _ in range(max(1, n_token // length))]
        return self._collate(rows)

    def _row(self, rng: Generator, length: int, copying: float) -> tuple[Ids, int]:
        """length + 1 ids, and how many at their start are not to be predicted."""
        if rng.random() < copying:
            make = self.repeated if rng.random() < 0.75 else self.mapped
            return make(rng, length + 1)
        start = int(rng.integers(0, len(self.train) - length - 1))
        return self.train[start : start + length + 1], 0

    def repeated(self, rng: Generator, n: int) -> tuple[Ids, int]:
        """A segment of random tokens again and again: (n ids, length of the segment)."""
        segment = rng.integers(1, self.tokenizer.vocab_size, int(rng.integers(8, n // 2)))
        return np.resize(segment, n).astype(np.uint16), len(segment)

    def mapped(self, rng: Generator, n: int) -> tuple[Ids, int]:
        """Lines "x → y" of a few random pairs, in a new order each time: (n ids, first round)."""
        width = 2 + len(self.arrow) + len(self.line)
        most = max(2, min(8, n // (2 * width)))
        pairs = rng.integers(1, self.tokenizer.vocab_size, (int(rng.integers(2, most + 1)), 2))
        lines = [[x, *self.arrow, y, *self.line] for x, y in pairs]
        size = sum(map(len, lines))
        orders = [rng.permutation(len(lines)) for _ in range(n // size + 1)]
        ids = np.array([i for order in orders for n in order for i in lines[n]], np.uint16)
        return ids[:n], min(size, n - 1)

    @staticmethod
    def _collate(rows: list[tuple[Ids, int]]) -> Batch:
        ids = torch.from_numpy(np.stack([row for row, _ in rows]).astype(np.int64))
        label = ids[:, 1:].clone()
        for i, (_, given) in enumerate(rows):
            label[i, : max(0, given - 1)] = NO_LABEL
        return {"ids": ids[:, :-1], "label": label}

    def loss(self, model: GPT, batch: Batch) -> Tensor:
        return cross_entropy(model.logits, model.hidden(batch["ids"]), batch["label"])

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for _ in range(n_batch):
            starts = rng.integers(0, max(1, len(self.dev) - 513), 8)
            yield self._collate([(self.dev[s : s + 513], 0) for s in starts])

    def can_look(self) -> bool:
        return len(self.dev) > 1

    def look(self, model: GPT, device: torch.device) -> Iterator[Tape]:
        """What the heads do on held-out texts."""
        rng = np.random.default_rng(2)
        for _ in range(N_LOOK):
            start = int(rng.integers(0, max(1, len(self.dev) - 64)))
            tape, ids = Tape(), self.dev[start : start + 64].astype(np.int64)
            model(torch.from_numpy(ids)[None].to(device), tape)
            yield tape

    def look_at_copies(self, model: GPT, device: torch.device) -> Iterator[Tape]:
        """What the heads do on random tokens, a segment of COPIED of them repeated once."""
        rng = np.random.default_rng(3)
        for _ in range(N_LOOK):
            segment = torch.from_numpy(rng.integers(1, self.tokenizer.vocab_size, COPIED))
            tape = Tape()
            model(segment.repeat(2)[None].to(device), tape)
            yield tape
