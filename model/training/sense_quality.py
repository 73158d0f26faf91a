"""Are the senses of a word apart in BERT's hidden states? CoarseWSD-20 (Loureiro et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.analysis.statistics import Array, Measure, measured
from attention_atlas.model.record import state_names
from attention_atlas.model.training import corpus
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.task import padded, trained
from attention_atlas.model.transformer import Bert
from attention_atlas.model.zoo import Loaded

N_FOLD = 5
PER_SENSE = 100  # sentences of each sense of the other nouns, at most
ROWS = 16  # sentences in a batch
MONEY, RIVER = 0, 1  # the senses of "bank"
FROM_LAYER = 2  # on, the margin of river and money is measured

Sentence = tuple[str, tuple[int, int], int]  # text, span of the word, sense


def bank_senses(loaded: Loaded, task: BertTask, data: Path) -> dict[str, Measure]:
    """Nearest centroid for "bank" at each state of the residual stream, and the margin of senses.

    The state is the mean of the word's pieces; a sense is the nearest centroid of the other folds'
    sentences; balanced accuracy is the mean of the senses' own accuracies, so chance is 0.5.
    """
    sentences = list(corpus.senses(data, "bank"))
    if not sentences:
        return {}
    states, gold = word_states(loaded, task, sentences), np.array([s for *_, s in sentences])
    right = np.stack([told_apart(states[:, i], gold) for i in range(states.shape[1])])

    def balanced(i: Array, layer: int) -> float:
        return float(np.mean([right[layer, i][gold[i] == s].mean() for s in np.unique(gold)]))

    accuracy = _best_layer(balanced, len(right), len(gold))
    return {"bank_senses": replace(accuracy, compare="chance 0.5")} | _margin(states, gold)


def other_senses(loaded: Loaded, task: BertTask, data: Path) -> dict[str, Measure]:
    """The same for the other nouns of CoarseWSD-20: the mean of their balanced accuracies."""
    words = [word for word in corpus.sense_words(data) if word != "bank"]
    rights, senses, chance = [], [], []
    for word in words:
        some = few_of_each(list(corpus.senses(data, word)))
        gold = np.array([sense for *_, sense in some])
        states = word_states(loaded, task, some)
        rights.append(np.stack([told_apart(states[:, i], gold) for i in range(states.shape[1])]))
        senses.append(np.unique(gold, return_inverse=True)[1])
        chance.append(1 / len(np.unique(gold)))
    if not words:
        return {}
    right = np.concatenate(rights, axis=1)
    offsets = np.cumsum([0, *[s.max() + 1 for s in senses]])
    group = np.concatenate([s + start for s, start in zip(senses, offsets, strict=False)])
    noun = np.repeat(np.arange(len(words)), np.diff(offsets))

    def mean_of_nouns(i: Array, layer: int) -> float:
        n = np.bincount(group[i], minlength=len(noun))
        hits = np.bincount(group[i], right[layer, i], len(noun))
        each = np.where(n > 0, hits / np.maximum(n, 1), np.nan)
        return float(np.mean([np.nanmean(each[noun == k]) for k in range(len(words))]))

    accuracy = _best_layer(mean_of_nouns, len(right), len(group))
    best = f"{accuracy.detail}, mean of {len(words)} nouns"
    return {
        "other_senses": replace(accuracy, detail=best, compare=f"chance {np.mean(chance):.2f}"),
    }


def few_of_each(sentences: list[Sentence]) -> list[Sentence]:
    """At most PER_SENSE sentences of each sense; senses with too few for the folds left out."""
    order = np.random.default_rng(0).permutation(len(sentences))
    by_sense: dict[int, list[Sentence]] = {}
    for i in order:
        by_sense.setdefault(sentences[i][2], []).append(sentences[i])
    kept = [by_sense[sense] for sense in sorted(by_sense) if len(by_sense[sense]) >= N_FOLD]
    return [sentence for group in kept for sentence in group[:PER_SENSE]]


@torch.inference_mode()
def word_states(loaded: Loaded, task: BertTask, sentences: list[Sentence]) -> Array:
    """The word's state at the embedding and after each layer: (n, L + 1, D)."""
    model = trained(loaded, Bert)
    rows, places = [], []
    for text, (start, end), _ in sentences:
        tokens = task.tokenizer.encode(text)[: model.config.n_ctx]
        places.append([i for i, t in enumerate(tokens) if start <= t.start < t.end <= end])
        rows.append(np.array([token.id for token in tokens]))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    states = np.zeros((len(rows), model.config.n_layer + 1, model.config.d_model), np.float32)
    for begin in range(0, len(order), ROWS):
        some = order[begin : begin + ROWS]
        ids = padded([rows[i] for i in some], task.pad).to(loaded.device)
        mask = (ids != task.pad)[:, None, None]
        layers = [model.embed(ids, torch.zeros_like(ids))]
        for layer in model.encoder:
            layers.append(layer(layers[-1], mask, None))
        x = torch.stack(layers, 1)  # (B, L + 1, T, D)
        for r, i in enumerate(some):
            states[i] = x[r][:, places[i]].mean(1).cpu().numpy()
    return states


def told_apart(states: Array, gold: Array) -> Array:
    """Nearest centroid, each sense's items dealt to folds in turn: (n, D), (n,) -> (n,)."""
    fold, right = np.zeros(len(gold), int), np.zeros(len(gold))
    senses = np.unique(gold)
    for sense in senses:
        rows = np.flatnonzero(gold == sense)
        fold[rows] = np.random.default_rng(0).permutation(len(rows)) % N_FOLD
    for k in range(N_FOLD):
        seen, held_out = fold != k, np.flatnonzero(fold == k)
        centroids = np.stack([states[seen & (gold == sense)].mean(0) for sense in senses])
        away = np.linalg.norm(states[held_out, None] - centroids, axis=-1)
        right[held_out] = senses[away.argmin(-1)] == gold[held_out]
    return right


def _best_layer(score: Callable[[Array, int], float], n_layer: int, n: int) -> Measure:
    """The measure at the layer where it is highest, with its value at each."""
    every = np.arange(n)
    names = state_names(n_layer - 1)
    by = {name: round(score(every, i), 4) for i, name in enumerate(names)}
    best = max(range(n_layer), key=lambda i: by[names[i]])
    return replace(measured(lambda i: score(i, best), n, "sentences", names[best]), by=by)


def _margin(states: Array, gold: Array) -> dict[str, Measure]:
    """Mean cosine of a "bank" to those of its own sense minus to those of the other.

    Of a river bank and of a money bank, whichever is smaller, at the layer from FROM_LAYER on
    where it is smallest.
    """
    layers = np.stack([margins(states[:, i], gold) for i in range(states.shape[1])])  # (L + 1, n)

    def smaller(i: Array, layer: int) -> float:
        return float(min(layers[layer, i][gold[i] == s].mean() for s in (MONEY, RIVER)))

    def smallest(i: Array) -> float:
        return min(smaller(i, layer) for layer in range(FROM_LAYER, len(layers)))

    names = state_names(len(layers) - 1)
    by = {name: round(smaller(np.arange(len(gold)), k), 4) for k, name in enumerate(names)}
    detail = f"smallest of {names[FROM_LAYER]} to {names[-1]}"
    return {"bank_margin": replace(measured(smallest, len(gold), "sentences", detail), by=by)}


def margins(states: Array, gold: Array) -> Array:
    """Of each item: mean cosine to the others of its sense minus to all of the other sense."""
    unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
    sums = np.stack([unit[gold == s].sum(0) for s in (MONEY, RIVER)])  # (2, D)
    counts = np.array([(gold == s).sum() for s in (MONEY, RIVER)])
    to = unit @ sums.T  # (n, 2)
    rows = np.arange(len(gold))
    same = (to[rows, gold] - 1) / np.maximum(counts[gold] - 1, 1)
    return same - to[rows, 1 - gold] / counts[1 - gold]
