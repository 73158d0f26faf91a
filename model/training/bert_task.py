"""What BERT learns: masked words and the next sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.analysis.corruption import corrupted
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import Tokenizer, train_wordpiece
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
    share_until,
    sinusoidal_start,
    weighted,
)
from attention_atlas.model.transformer import Bert, Config
from numpy.random import Generator
from torch import Tensor


class BertTask(Task[Bert]):
    """Masked words (15 %: 80 % [MASK], 10 % random, 10 % kept) and next sentence (50/50)."""

    name = "bert"
    learning_rate = 1.5e-3
    matrix_rate = 1.5e-3
    batch_tokens = 4096
    lengths: Sequence[tuple[int, float]] = ((32, 0.15), (64, 0.35), (128, 0.8), (512, 1.0))
    small_until = 0.4  # this share of the run, batches are half as large
    recipe = (
        "15 % of the tokens chosen: 80 % [MASK], 10 % random, 10 % kept; next sentence 50/50; 32 "
        "tokens for 15 % of the run, 64 until 35 %, 128 until 80 %, then 512; batches half as "
        'large for the first 40 %; 4 % of the rows are two sentences with "bank"'
    )
    banks = 0.04  # share of the rows: two sentences with "bank", and no next sentence to tell

    @property
    def longest(self) -> int:
        return max(length for length, _ in self.lengths)

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
        pieces = corrupted(
            flat,
            ~np.isin(flat, [self.cls, self.sep, self.pad]),
            rng,
            mask=self.mask,
            first=5,  # after the specials
            vocab_size=self.tokenizer.vocab_size,
        )
        return torch.from_numpy(pieces.ids).view(ids.shape), torch.from_numpy(pieces.chosen)

    def loss(self, model: Bert, batch: Batch) -> Tensor:
        x = model.encode(batch["ids"], batch["segments"], None, batch["ids"] != self.pad)
        masked = cross_entropy(model.masked_words, x.flatten(0, 1)[batch["places"]], batch["label"])
        return masked + cross_entropy(model.next_sentence, x, batch["next"])

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        for _ in range(n_batch):
            yield self._batch(self.dev, rng, 32, 128)

    def can_look(self) -> bool:
        return len(self.dev[0]) > 0

    def look(self, model: Bert, device: torch.device) -> Iterator[Tape]:
        """What the heads do on held-out pairs of texts, nothing masked."""
        rng = np.random.default_rng(2)
        for _ in range(N_LOOK):
            ids, segments, _ = self._pair(self.dev, rng, 64)
            tape, batch = Tape(), torch.from_numpy(np.stack([ids, segments])).to(device)
            model.encode(batch[:1], batch[1:], tape)
            yield tape
