"""BERT trained on from all-MiniLM-L6-v2, its attention held to what it was there.

Training on masked words alone turns most heads into sinks on [SEP] within a few hundred steps.
The anchor is KL(teacher's attention on the clean text ‖ student's), mean over rows, heads and
layers; the teacher is the model as it was at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import corpus
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.task import (
    NO_LABEL,
    Batch,
    Ragged,
    cross_entropy,
    share_until,
)
from attention_atlas.model.training.teacher import NAME, Teacher, begin_heads, trimmed
from attention_atlas.model.transformer import Bert, EncoderLayer, padding_mask
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

WEIGHT = 1.5  # of the anchor, beside the two losses of BERT
HEADS_UNTIL = 0.08  # this share of the run trains the heads alone
N_CTX = 512
WARM_UP = 0.01  # share of the run in which the other rates rise; about 50 steps of two hours
HEAD_RATE = 2e-3  # of AdamW, while the heads train alone
HEADS = ("pooler.", "next_head.", "mlm_")
EMBEDDINGS = ("embedding.", "position.", "segment.")
EMBEDDING_RATE = 2e-4
EVERYDAY = "tatoeba_en"
SAMPLED = 8  # every eighth document is enough to count pieces in


def log_attention(layer: EncoderLayer, x: Tensor, real: Tensor) -> Tensor:
    """The logarithm of a layer's attention, from what it reads: (B, T, D) -> (B, H, T, T)."""
    attention = layer.attention
    q, k = attention.split(attention.W_Q(x)), attention.split(attention.W_K(x))
    scores = (q * q.size(-1) ** -0.5) @ k.transpose(-2, -1)
    return scores.float().masked_fill(~real[:, None, None], -1e4).log_softmax(-1)


def encoded(
    model: Bert, ids: Tensor, segments: Tensor, real: Tensor, layers: Sequence[int]
) -> tuple[Tensor, list[Tensor]]:
    """What the encoder gives, and the log attention of some of its layers on the way."""
    x, logs, mask = model.embed(ids, segments), [], padding_mask(real)
    for i, layer in enumerate(cast(list[EncoderLayer], model.encoder)):
        if i in layers:
            logs.append(log_attention(layer, x, real))
        x = layer(x, mask, None)
    return x, logs


@torch.no_grad()
def taught(
    teacher: Bert, ids: Tensor, segments: Tensor, real: Tensor, layers: Sequence[int]
) -> list[Tensor]:
    """The teacher's log attention of some layers; no layer after the last of them is computed."""
    x, logs, mask = teacher.embed(ids, segments), [], padding_mask(real)
    first = cast(list[EncoderLayer], teacher.encoder[: max(layers) + 1])
    for i, layer in enumerate(first):
        if i in layers:
            logs.append(log_attention(layer, x, real))
        if i < max(layers):
            x = layer(x, mask, None)
    return logs


def divergence(teacher: Sequence[Tensor], student: Sequence[Tensor], real: Tensor) -> Tensor:
    """KL(teacher ‖ student) of log attention (B, H, T, T), mean over real rows, heads, layers."""
    rows = [
        F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1).mean(1)  # (B, T)
        for theirs, ours in zip(teacher, student, strict=True)
    ]
    return (torch.stack(rows).mean(0) * real).sum() / real.sum()


class AnchoredBertTask(BertTask):
    """BERT's task, begun from MiniLM: heads first, then everything, its attention held."""

    learning_rate = 3e-4
    matrix_rate = 3e-4
    batch_tokens = 2048
    lengths = ((64, 0.3), (128, 1.0))
    long = ((0.0, 0.3), (0.3, 1.0))  # share of the batches whose rows have 512 tokens, until then
    longest = N_CTX
    banks = 0.02  # with more, it guesses "bank" too often
    muon_steps = 3  # of its Newton-Schulz iteration: at 2 048 tokens five are a third of the time
    small_until = 0.0
    everyday = 0.08  # share of the rows: everyday sentences, one after another
    start = (
        "all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers): embeddings, encoder and pooler, the "
        "vocabulary trimmed, and the attention held to it. It has probably read Wikipedia, so "
        "Wikipedia's texts are not held out from it, only from what was trained here"
    )
    recipe = (
        "KL of its attention on the clean text to ours added with weight 1.5, two layers a step; "
        "15 % of the tokens chosen: 80 % [MASK], 10 % random, 10 % kept; next sentence 50/50; the "
        "heads alone for 8 % of the run (AdamW 0.002), then everything (AdamW 0.0003, embeddings "
        "0.0002, Muon 0.0003), falling to 0 over the second half; 64 tokens for 30 % of the run, "
        'then 128, and 512 in 30 % of the batches; 2 % of the rows are two sentences with "bank", '
        "8 % everyday sentences"
    )

    def __init__(
        self, data: Path, tokenizer: Tokenizer | None, seed: int, *, train: bool = True
    ) -> None:
        teacher = Teacher.read()
        if tokenizer is None:
            read = [docs.train for docs in corpus.documents(data)]
            texts = [line for docs in read for doc in docs[::SAMPLED] for line in doc]
            tokenizer = Tokenizer(trimmed(teacher.tokenizer, texts))
        super().__init__(data, tokenizer, seed, train=train)
        self.everyday_ids = self._everyday(data)
        self.sources.insert(0, NAME)
        self.anchor = teacher.bert(self.tokenizer).eval().requires_grad_(False)

    def _everyday(self, data: Path) -> Ragged:
        files = list(corpus.named(data, EVERYDAY))
        self.sources += [docs.name for docs in files]
        texts = [line for docs in files for doc in docs.train for line in doc]
        return Ragged.of(self.tokenizer, texts)

    def build(self) -> Bert:
        model = deepcopy(self.anchor).requires_grad_(True)
        counts = np.bincount(self.train[0].ids, minlength=self.tokenizer.vocab_size)
        begin_heads(model, counts, self.mask)
        return model

    def rates(self, name: str) -> tuple[float, float]:
        """A parameter's learning rate while the heads train alone, and after that."""
        if name.startswith(EMBEDDINGS):
            return 0.0, EMBEDDING_RATE
        return (HEAD_RATE if name.startswith(HEADS) else 0.0), self.learning_rate

    def rate(self, group: dict[str, Any], done: float, step: int) -> float:
        """Level while the heads train alone; then up, level, and down to 0 from the middle on."""
        if done < HEADS_UNTIL:
            return float(group["head_lr"])
        rising = max(0.02, (done - HEADS_UNTIL) / WARM_UP)
        return float(group["top_lr"] * min(1.0, rising, max(0.0, 2 * (1 - done))))

    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch:
        """After the heads' share of the run, the clean text and two layers to hold."""
        long = rng.random() < share_until(self.long, progress)
        length = N_CTX if long else share_until(self.lengths, progress)
        batch = self._batch(self.train, rng, max(1, n_token // length), length)
        if progress < HEADS_UNTIL:
            return batch
        clean = batch["ids"].flatten().clone()
        clean[batch["places"]] = batch["label"]
        first = 2 * int(rng.integers(max(1, len(self.anchor.encoder) // 2)))
        return batch | {"clean": clean.view_as(batch["ids"]), "first_layer": torch.tensor(first)}

    def _row(
        self, data: tuple[Ragged, np.ndarray], rng: Generator, length: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Now and then, while training, everyday sentences: there is no next sentence to tell."""
        plain = data is self.dev or not len(self.everyday_ids) or rng.random() >= self.everyday
        if plain:
            return super()._row(data, rng, length)
        room = (length - 3) // 2
        n = len(self.everyday_ids)
        parts = [
            np.concatenate([self.everyday_ids[int(rng.integers(n))] for _ in range(room // 8 + 1)])
            for _ in range(2)
        ]
        return *self._framed(parts[0][:room], parts[1][:room]), NO_LABEL

    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]:
        """A third of the batches: this model is larger, and its curve needs no more."""
        return super().held_out(rng, max(1, n_batch // 3))

    def loss(self, model: Bert, batch: Batch) -> Tensor:
        """BERT's two losses and the anchor; of a batch without clean text, the heads' alone."""
        if not model.training:
            return super().loss(model, batch)
        real = batch["ids"] != self.pad
        if "clean" not in batch:
            with torch.no_grad():
                x = model.encode(batch["ids"], batch["segments"], None, real)
            return self.losses(model, x, batch)
        first = int(batch["first_layer"])
        layers = [i for i in (first, first + 1) if i < len(model.encoder)]
        teacher = self.anchor.to(batch["ids"].device)
        theirs = taught(teacher, batch["clean"], batch["segments"], real, layers)
        x, ours = encoded(model, batch["ids"], batch["segments"], real, layers)
        return self.losses(model, x, batch) + WEIGHT * divergence(theirs, ours, real)

    @staticmethod
    def losses(model: Bert, x: Tensor, batch: Batch) -> Tensor:
        """Masked words and next sentence, from what the encoder gives."""
        masked = cross_entropy(model.masked_words, x.flatten(0, 1)[batch["places"]], batch["label"])
        return masked + cross_entropy(model.next_sentence, x, batch["next"])
