"""What each model learns: its tokenizer, its batches, its loss and what it is measured by.

A task with `train=False` reads only what is held out: enough to measure a model. A batch is a pure
function of seed, step and the share of the run that is done, so a run resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from attention_atlas.model.analysis.corruption import corrupted
from attention_atlas.model.positions import sinusoidal
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import (
    Tokenizer,
    train_gpt_bpe,
    train_translator_bpe,
    train_wordpiece,
)
from attention_atlas.model.training import corpus
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F

Ids = np.ndarray[tuple[int], np.dtype[np.uint16]]
Batch = dict[str, Tensor]
Number = TypeVar("Number", int, float)

# How many times a file's documents are seen for each time another's are.
WEIGHTS = {"classics": 0.5, "asp": 2.0, "onestop": 2.0, "fairytaleqa": 2.0, "europarl": 0.0}
NO_LABEL = -100  # nothing is to be predicted here
N_LOOK = 16  # texts a head is judged by
COPIED = 50  # random tokens that are said twice
GPU_CHUNK = 16_384
CHUNK = 512  # places whose logits are computed at a time, so that they stay in the cache


class Task(Protocol):
    name: str
    learning_rate: float  # of AdamW
    matrix_rate: float  # of Muon
    muon_steps: int  # of its Newton-Schulz iteration
    batch_tokens: int
    recipe: str  # what else a card says of the training
    tokenizer: Tokenizer
    sources: list[str]

    def build(self) -> nn.Module: ...
    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch: ...
    def loss(self, model: nn.Module, batch: Batch) -> Tensor: ...
    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]: ...
    def can_look(self) -> bool: ...
    def look(self, model: nn.Module, device: torch.device) -> Iterator[Tape]: ...


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


def cross_entropy(
    logits: Callable[[Tensor], Tensor], x: Tensor, label: Tensor, *, smoothing: float = 0.0
) -> Tensor:
    """Mean loss where there is a label: x (..., D), label (...), without all logits at once."""
    x, label = x.flatten(0, label.ndim - 1), label.flatten()
    chunk = GPU_CHUNK
    if x.device.type != "cuda":  # a GPU would have to wait for the number of labels
        chosen = label != NO_LABEL
        x, label, chunk = x[chosen], label[chosen], CHUNK  # (N, D), (N,)
    parts = [
        F.cross_entropy(
            logits(some).float(),
            wanted,
            ignore_index=NO_LABEL,
            reduction="sum",
            label_smoothing=smoothing,
        )
        for some, wanted in zip(torch.split(x, chunk), torch.split(label, chunk), strict=True)
    ]
    return torch.stack(parts).sum() / (label != NO_LABEL).sum().clamp(min=1)


def share_until(shares: Sequence[tuple[Number, float]], progress: float) -> Number:
    """The value for this share of a run, of ((value, until this share), …)."""
    return next(value for value, end in shares if progress <= end)


def sinusoidal_start(position: nn.Embedding, size: float) -> None:
    """Learned positions that begin as sines: looking at a neighbour is then a linear map away.

    Begun at random, every position learns that by itself, and for millions of tokens every head
    looks at all tokens alike.
    """
    with torch.no_grad():
        position.weight.copy_(size * sinusoidal(*position.weight.shape))


class TranslatorTask:
    """Source sentence -> target sentence, with teacher forcing and label smoothing 0.1."""

    name = "translator"
    learning_rate = 1e-3
    matrix_rate = 1.5e-3
    muon_steps = 5
    batch_tokens = 4096
    small_until = 0.4  # this share of the run, batches are half as large
    recipe = "teacher forcing, label smoothing 0.1; batches half as large for the first 40 %"

    def __init__(
        self, data: Path, tokenizer: Tokenizer | None, seed: int, *, train: bool = True
    ) -> None:
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
        self.train = self._encode([rows[i] for i in order] if train else [])
        self.dev = self._encode(dev)
        if train:
            corpus.enough(len(self.train), len(self.dev), "sentence pairs")

    def _encode(self, rows: list[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """Pairs of ids sorted by length, so that a window of them is a batch of one length."""
        source = Ragged.of(self.tokenizer, [row[0] for row in rows])
        target = Ragged.of(self.tokenizer, [row[1] for row in rows])
        both = [(source[i], target[i]) for i in range(len(rows))]
        fits = [(s, t) for s, t in both if 0 < len(s) < 100 and 0 < len(t) < 100]
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

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, EncoderDecoder | Recurrent)
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

    def look(self, model: nn.Module, device: torch.device) -> Iterator[Tape]:
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


class BertTask:
    """Masked words (15 %: 80 % [MASK], 10 % random, 10 % kept) and next sentence (50/50)."""

    name = "bert"
    learning_rate = 1.5e-3
    matrix_rate = 1.5e-3
    muon_steps = 5
    batch_tokens = 4096
    lengths: Sequence[tuple[int, float]] = ((32, 0.15), (64, 0.35), (128, 0.8), (512, 1.0))
    small_until = 0.4  # this share of the run, batches are half as large
    recipe = (
        "15 % of the tokens chosen: 80 % [MASK], 10 % random, 10 % kept; next sentence 50/50; 32 "
        "tokens for 15 % of the run, 64 until 35 %, 128 until 80 %, then 512; batches half as "
        'large for the first 40 %; 4 % of the rows are two sentences with "bank"'
    )
    banks = 0.04  # share of the rows: two sentences with "bank", and no next sentence to tell

    def __init__(
        self, data: Path, tokenizer: Tokenizer | None, seed: int, *, train: bool = True
    ) -> None:
        rng = np.random.default_rng(seed)
        seen: list[list[str]] = []
        dev: list[list[str]] = []
        self.sources = []
        for docs in corpus.documents(data, skip=("tatoeba_en", "wordnet_glosses"), train=train):
            self.sources.append(docs.name)
            seen += weighted(docs.train, docs.name, rng) if train else []
            dev += docs.held_out
        self.held_out_documents = dev
        unseen = [s for doc in dev for line in doc for s in corpus.sentences(line)]
        banks = corpus.bank_sentences(data, unseen) if train else []
        self.sources += ["bank_sentences"] if banks else []
        texts = (line for doc in seen for line in doc)
        self.tokenizer = tokenizer or Tokenizer(train_wordpiece(texts))
        self.banks_ids = Ragged.of(self.tokenizer, banks)
        self.train = self._encode(seen)
        self.dev = self._encode(dev)
        if train:
            n_train, n_dev = len(self.train[0]), len(self.dev[0])
            corpus.enough(n_train, n_dev, "sentences in documents of several")
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
        model = Bert(Config(self.tokenizer.vocab_size, 512, 6, 8, 256, 1024))
        sinusoidal_start(model.position, 0.03)
        return model

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
        """Short texts first: among few tokens it is sooner found which of them matter.

        And small steps first: until heads form, their number counts more than their size.
        """
        length = share_until(self.lengths, progress)
        n_token = n_token // 2 if progress < self.small_until else n_token
        return self._batch(self.train, rng, max(1, n_token // length), length)

    def _batch(
        self, data: tuple[Ragged, np.ndarray], rng: Generator, size: int, length: int
    ) -> Batch:
        rows = [self._row(data, rng, length) for _ in range(size)]
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

    def _row(
        self, data: tuple[Ragged, np.ndarray], rng: Generator, length: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """A pair of texts, or now and then, while training, two sentences with "bank"."""
        if data is self.dev or not len(self.banks_ids) or rng.random() >= self.banks:
            return self._pair(data, rng, length)
        a, b = (self.banks_ids[int(rng.integers(len(self.banks_ids)))] for _ in range(2))
        room = max(1, (length - 3) // 2)
        return *self._framed(a[:room], b[:room]), NO_LABEL

    def _pair(
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
        return *self._framed(a, b), elsewhere

    def _framed(self, a: Ids, b: Ids) -> tuple[np.ndarray, np.ndarray]:
        """[CLS] A [SEP] B [SEP], and the segment of each."""
        ids = np.concatenate([[self.cls], a, [self.sep], b, [self.sep]])
        return ids, np.repeat([0, 1], [len(a) + 2, len(b) + 1])

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
        flat = ids.flatten().numpy()
        found = corrupted(
            flat,
            ~np.isin(flat, [self.cls, self.sep, self.pad]),
            rng,
            mask=self.mask,
            first=5,  # after the specials
            vocab_size=self.tokenizer.vocab_size,
        )
        return torch.from_numpy(found.ids).view(ids.shape), torch.from_numpy(found.chosen)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Bert)
        x = model.encode(batch["ids"], batch["segments"], None, batch["ids"] != self.pad)
        masked = cross_entropy(model.masked_words, x.flatten(0, 1)[batch["places"]], batch["label"])
        return masked + cross_entropy(model.next_sentence, x, batch["next"])

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for _ in range(n_batch):
            yield self._batch(self.dev, rng, 32, 128)

    def can_look(self) -> bool:
        return len(self.dev[0]) > 0

    def look(self, model: nn.Module, device: torch.device) -> Iterator[Tape]:
        """What the heads do on held-out pairs of texts, nothing masked."""
        assert isinstance(model, Bert)
        rng = np.random.default_rng(2)
        for _ in range(N_LOOK):
            ids, segments, _ = self._pair(self.dev, rng, 64)
            tape, batch = Tape(), torch.from_numpy(np.stack([ids, segments])).to(device)
            model.encode(batch[:1], batch[1:], tape)
            yield tape


class GPTTask:
    """The next token. Some rows reward copying: a random segment, or pairs "x → y", repeated."""

    name = "gpt"
    learning_rate = 2e-3
    matrix_rate = 5e-3
    muon_steps = 5
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
    n_ctx = 512

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
        ids = np.array([i for order in orders for at in order for i in lines[at]], np.uint16)
        return ids[:n], min(size, n - 1)

    @staticmethod
    def _collate(rows: list[tuple[Ids, int]]) -> Batch:
        ids = torch.from_numpy(np.stack([row for row, _ in rows]).astype(np.int64))
        label = ids[:, 1:].clone()
        for i, (_, given) in enumerate(rows):
            label[i, : max(0, given - 1)] = NO_LABEL
        return {"ids": ids[:, :-1], "label": label}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, GPT)
        return cross_entropy(model.logits, model.hidden(batch["ids"]), batch["label"])

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for _ in range(n_batch):
            starts = rng.integers(0, max(1, len(self.dev) - 513), 8)
            yield self._collate([(self.dev[s : s + 513], 0) for s in starts])

    def can_look(self) -> bool:
        return len(self.dev) > 1

    def look(self, model: nn.Module, device: torch.device) -> Iterator[Tape]:
        """What the heads do on held-out texts."""
        rng = np.random.default_rng(2)
        for _ in range(N_LOOK):
            start = int(rng.integers(0, max(1, len(self.dev) - 64)))
            tape, ids = Tape(), self.dev[start : start + 64].astype(np.int64)
            model(torch.from_numpy(ids)[None].to(device), tape)
            yield tape

    def look_at_copies(self, model: nn.Module, device: torch.device) -> Iterator[Tape]:
        """What the heads do on random tokens, a segment of COPIED of them said twice."""
        rng = np.random.default_rng(3)
        for _ in range(N_LOOK):
            segment = torch.from_numpy(rng.integers(1, self.tokenizer.vocab_size, COPIED))
            tape = Tape()
            model(segment.repeat(2)[None].to(device), tape)
            yield tape


TASKS = {task.name: task for task in (TranslatorTask, RecurrentTask, BertTask, GPTTask)}
