"""What each model learns: its tokenizer, its batches, its loss and what it is measured by.

A batch is a pure function of (seed, step), so a run resumes exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F

from model import corpus
from model.positions import sinusoidal
from model.tokenizers import (
    Tokenizer,
    train_gpt_bpe,
    train_translator_bpe,
    train_wordpiece,
)
from model.transformer import GPT, Bert, Config, EncoderDecoder

Ids = np.ndarray[tuple[int], np.dtype[np.uint16]]
Batch = dict[str, Tensor]

# How many times a file's documents are seen for each time another's are.
WEIGHTS = {"classics": 0.35, "asp": 2.0, "onestop": 2.0, "fairytaleqa": 2.0, "europarl": 0.0}


class Task(Protocol):
    name: str
    learning_rate: float  # of AdamW
    matrix_rate: float  # of Muon
    batch_tokens: int
    tokenizer: Tokenizer
    sources: list[str]

    def build(self) -> nn.Module: ...
    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch: ...
    def loss(self, model: nn.Module, batch: Batch) -> Tensor: ...
    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Ragged:
    """Many id sequences in one flat array; sequence i is ids[offset[i]:offset[i + 1]]."""

    ids: Ids
    offset: np.ndarray[tuple[int], np.dtype[np.int64]]

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: list[str]) -> Ragged:
        encodings = tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False)
        sizes = np.fromiter((len(e.ids) for e in encodings), np.int64, len(encodings))
        flat = chain.from_iterable(e.ids for e in encodings)
        ids = np.fromiter(flat, np.uint16, int(sizes.sum()))
        return cls(ids, np.concatenate([[0], sizes.cumsum()]))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, i: int) -> Ids:
        return self.ids[self.offset[i] : self.offset[i + 1]]


def padded(rows: list[np.ndarray], fill: int) -> Tensor:
    """Rows of different length -> (B, T) int64."""
    out = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def weighted(docs: list[list[str]], name: str, rng: Generator) -> list[list[str]]:
    """Documents repeated or thinned by their file's weight."""
    weight = WEIGHTS.get(name, 1.0)
    times = np.floor(weight + rng.random(len(docs))).astype(int)
    return [doc for doc, n in zip(docs, times, strict=True) for _ in range(n)]


class TranslatorTask:
    """Source sentence -> target sentence, with teacher forcing and label smoothing 0.1."""

    name = "translator"
    learning_rate = 1e-3
    matrix_rate = 1e-3
    batch_tokens = 4096

    def __init__(self, data: Path, tokenizer: Tokenizer | None, seed: int) -> None:
        found = {k: v for k, v in corpus.pairs(data).items() if WEIGHTS.get(k, 1.0) > 0}
        self.sources = sorted(found)
        rows = [row for name in self.sources for row in found[name]]
        dev = [(source, targets[0]) for source, targets in corpus.held_out_pairs(data, "dev")]
        if not dev:
            dev, rows = (
                rows[:: corpus.HELD_OUT_EVERY],
                [row for i, row in enumerate(rows) if i % corpus.HELD_OUT_EVERY],
            )
        self.tokenizer = tokenizer or Tokenizer(train_translator_bpe(chain.from_iterable(rows)))
        order = np.random.default_rng(seed).permutation(len(rows))
        self.train = self._encode([rows[i] for i in order])
        self.dev = self._encode(dev)
        corpus.enough(len(self.train), len(self.dev), "sentence pairs")

    def _encode(self, rows: list[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """Pairs of ids sorted by length, so that a window of them is a batch of one length."""
        source = Ragged.of(self.tokenizer, [row[0] for row in rows])
        target = Ragged.of(self.tokenizer, [row[1] for row in rows])
        both = [(source[i], target[i]) for i in range(len(rows))]
        fits = [(s, t) for s, t in both if 0 < len(s) < 100 and 0 < len(t) < 100]
        return sorted(fits, key=lambda pair: (len(pair[0]), len(pair[1]) // 2))

    def build(self) -> EncoderDecoder:
        vocab_size = self.tokenizer.vocab_size
        return EncoderDecoder(Config(vocab_size, 128, 4, 8, 256, 1024, dropout=0.1))

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
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
            "label": padded([np.append(t, end).astype(np.int64) for _, t in pairs], -100),
        }

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        real = batch["source"] != self.tokenizer.id("<pad>")
        logits = model(batch["source"], batch["target"], None, real)
        smoothing = 0.1 if model.training else 0.0
        return F.cross_entropy(
            logits.flatten(0, 1), batch["label"].flatten(), label_smoothing=smoothing
        )

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for i in range(n_batch):
            start = i * max(0, len(self.dev) - 64) // n_batch
            yield self._collate(self.dev[start : start + 64])


class BertTask:
    """Masked words (15 %: 80 % [MASK], 10 % random, 10 % kept) and next sentence (50/50)."""

    name = "bert"
    learning_rate = 1e-3
    matrix_rate = 1e-3
    batch_tokens = 2048
    lengths = ((32, 0.4), (64, 0.7), (128, 0.92), (512, 1.0))  # until this share of the run

    def __init__(self, data: Path, tokenizer: Tokenizer | None, seed: int) -> None:
        rng = np.random.default_rng(seed)
        train: list[list[str]] = []
        dev: list[list[str]] = []
        self.sources = []
        for docs in corpus.documents(data, skip=("tatoeba_en", "wordnet_glosses")):
            self.sources.append(docs.name)
            train += weighted(docs.train, docs.name, rng)
            dev += docs.held_out
        texts = (line for doc in train for line in doc)
        self.tokenizer = tokenizer or Tokenizer(train_wordpiece(texts))
        self.train = self._encode(train)
        self.dev = self._encode(dev)
        corpus.enough(len(self.train[0]), len(self.dev[0]), "sentences in documents of several")
        self.cls, self.sep, self.mask, self.pad = (
            self.tokenizer.id(raw) for raw in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")
        )

    def _encode(self, docs: list[list[str]]) -> tuple[Ragged, np.ndarray]:
        """All sentences, and for each sentence the index of its document's last one plus 1."""
        cut = [[s for line in doc for s in corpus.sentences(line) if " " in s] for doc in docs]
        cut = [doc for doc in cut if len(doc) > 1]
        ends = np.repeat(np.cumsum([len(d) for d in cut]), [len(d) for d in cut])
        return Ragged.of(self.tokenizer, [s for doc in cut for s in doc]), ends

    def build(self) -> Bert:
        """Its learned positions begin as sines: looking at a neighbour is then a linear map away.

        Begun at random, every position learns that by itself, and for millions of tokens every
        head looks at all tokens alike.
        """
        model = Bert(Config(self.tokenizer.vocab_size, 512, 6, 8, 256, 1024))
        with torch.no_grad():
            model.position.weight.copy_(0.03 * sinusoidal(512, 256))
        return model

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
        """Short texts first: among few tokens it is sooner found which of them matter."""
        length = next(length for length, end in self.lengths if progress <= end)
        return self._batch(self.train, rng, max(1, n_token // length), length)

    def _batch(
        self, data: tuple[Ragged, np.ndarray], rng: Generator, size: int, length: int
    ) -> Batch:
        rows = [self._example(data, rng, length) for _ in range(size)]
        ids = padded([row[0] for row in rows], self.pad)
        segments = padded([row[1] for row in rows], 0)
        corrupted, places = self.corrupt(ids, rng)
        return {
            "ids": corrupted,
            "segments": segments,
            "places": places,
            "label": ids.flatten()[places],
            "next": torch.tensor([row[2] for row in rows]),
        }

    def _example(
        self, data: tuple[Ragged, np.ndarray], rng: Generator, length: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """[CLS] A [SEP] B [SEP], its segments, and 0 if B follows A, 1 if it is from elsewhere."""
        sentences, ends = data
        room = length - 3 if rng.random() < 0.9 else int(rng.integers(8, length - 3))
        i = int(rng.integers(len(sentences)))
        while i + 1 >= ends[i]:  # the last sentence of a document has none after it
            i = int(rng.integers(len(sentences)))
        want = int(rng.integers(4, max(5, room - 4)))
        a, i_next = self._take(sentences, i, int(ends[i]) - 1, want)
        elsewhere = int(rng.random() < 0.5)
        start = int(rng.integers(len(sentences))) if elsewhere else i_next
        b, _ = self._take(sentences, start, int(ends[start]), room - min(len(a), want))
        a, b = a[:want], b[: room - min(len(a), want)]
        ids = np.concatenate([[self.cls], a, [self.sep], b, [self.sep]])
        segments = np.repeat([0, 1], [len(a) + 2, len(b) + 1])
        return ids, segments, elsewhere

    @staticmethod
    def _take(sentences: Ragged, start: int, end: int, want: int) -> tuple[Ids, int]:
        """Sentences from `start` on until there are `want` ids, and the index after the last."""
        stop = start + 1
        limit = sentences.offset[start] + want
        while stop < end and sentences.offset[stop] < limit:
            stop += 1
        return sentences.ids[sentences.offset[start] : sentences.offset[stop]], stop

    def corrupt(self, ids: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Devlin et al. 2019, section 3.1: ids (B, T) -> corrupted ids, flat places to predict."""
        flat = ids.flatten().numpy().copy()
        ordinary = ~np.isin(flat, [self.cls, self.sep, self.pad])
        chosen = np.flatnonzero(ordinary & (rng.random(flat.size) < 0.15))
        if not chosen.size:  # a tiny batch: no place to predict would have no loss
            chosen = np.flatnonzero(ordinary)[:1]
        chance = rng.random(chosen.size)
        flat[chosen[chance < 0.8]] = self.mask
        other = chosen[(chance >= 0.8) & (chance < 0.9)]
        flat[other] = rng.integers(5, self.tokenizer.vocab_size, other.size)
        return torch.from_numpy(flat).view(ids.shape), torch.from_numpy(chosen)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Bert)
        x = model.encode(batch["ids"], batch["segments"], None, batch["ids"] != self.pad)
        logits = model.masked_words(x.flatten(0, 1)[batch["places"]])
        next_loss = F.cross_entropy(model.next_sentence(x).float(), batch["next"])
        return F.cross_entropy(logits.float(), batch["label"]) + next_loss

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for _ in range(n_batch):
            yield self._batch(self.dev, rng, 32, 128)


class GPTTask:
    """The next token. Some batches repeat a random segment, so that heads learn to copy."""

    name = "gpt"
    learning_rate = 2e-3
    matrix_rate = 2e-3
    batch_tokens = 4096
    copying = 0.04  # share of the batches
    n_ctx = 512

    def __init__(self, data: Path, tokenizer: Tokenizer | None, seed: int) -> None:
        rng = np.random.default_rng(seed)
        train: list[list[str]] = []
        self.dev_texts: dict[str, list[str]] = {}
        self.sources = []
        for docs in corpus.documents(data, skip=("wordnet_glosses",)):
            self.sources.append(docs.name)
            train += weighted(docs.train, docs.name, rng)
            self.dev_texts[docs.name] = ["\n".join(doc) for doc in docs.held_out]
        rng.shuffle(train)
        texts = ["\n".join(doc) for doc in train]
        self.tokenizer = tokenizer or Tokenizer(train_gpt_bpe(texts))
        self.end = self.tokenizer.id("<|endoftext|>")
        self.train = self.stream(texts)
        self.dev = self.stream(list(chain.from_iterable(self.dev_texts.values())))
        n_train = (len(self.train) - 1) // self.n_ctx
        corpus.enough(max(0, n_train), int(len(self.dev) > 1), f"stretches of {self.n_ctx} tokens")

    def stream(self, texts: list[str]) -> Ids:
        """All texts as one array of ids, <|endoftext|> before each."""
        rows = Ragged.of(self.tokenizer, texts)
        return np.insert(rows.ids, rows.offset[:-1], self.end)

    def build(self) -> GPT:
        return GPT(Config(self.tokenizer.vocab_size, self.n_ctx, 6, 8, 256, 1024))

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
        length = 256 if progress < 0.85 else 512
        size = max(1, n_token // length)
        if rng.random() < self.copying:
            segment = rng.integers(1, self.tokenizer.vocab_size, (size, int(rng.integers(8, 96))))
            rows = np.tile(segment, length // segment.shape[1] + 2)[:, : length + 1]
        else:
            starts = rng.integers(0, len(self.train) - length - 1, size)
            rows = np.stack([self.train[s : s + length + 1] for s in starts]).astype(np.int64)
        return {"ids": torch.from_numpy(rows)}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch["ids"][:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).float(), batch["ids"][:, 1:].flatten())

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for _ in range(n_batch):
            starts = rng.integers(0, max(1, len(self.dev) - 513), 8)
            rows = np.stack([self.dev[s : s + 513] for s in starts]).astype(np.int64)
            yield {"ids": torch.from_numpy(rows)}


TASKS = {task.name: task for task in (TranslatorTask, BertTask, GPTTask)}
