"""What is measured of a trained model, each on text it has never seen.

Every function takes the model, its task (which holds out the text) and the folder of text, and
gives measures by name; none, when the folder does not have what it needs.
"""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_atlas.model import metrics
from attention_atlas.model.analysis import translation
from attention_atlas.model.analysis.statistics import (
    N_SAMPLE,
    Array,
    Measure,
    mean,
    measured,
    ratio,
)
from attention_atlas.model.generate import Beam, beam_search, returned, translate
from attention_atlas.model.languages import Frame
from attention_atlas.model.protocol import Translator
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Tape
from attention_atlas.model.training import corpus
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.task import COPIED, Task, padded, trained
from attention_atlas.model.training.translator_task import TranslatorTask
from attention_atlas.model.transformer import GPT, Bert
from attention_atlas.model.zoo import Loaded
from torch import Tensor, nn
from torch.nn import functional as F

Heads = dict[str, dict[str, list[list[float]]]]  # kind -> metric -> (L, H)
Measures = dict[str, Measure]
N_ROW = 768  # held-out pairs of texts, of 128 tokens each
N_TOKEN = 65_536  # of each corpus's held-out text, at most
N_TIMED = 64  # sentences


def bleu(loaded: Loaded, task: TranslatorTask, data: Path) -> Measures:
    """sacreBLEU on test.tsv, or without one on the held-out pairs: beam 4, and greedy."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError:
        raise SystemExit("BLEU needs sacrebleu: pip install 'attention-atlas[train]'") from None
    pairs = corpus.held_out_pairs(data, "test") or [
        (task.tokenizer.decode(s.tolist()), [task.tokenizer.decode(t.tolist())])
        for s, t in task.dev
    ]
    if not pairs:
        return {}
    most = max(len(refs) for _, refs in pairs)
    references: list[Any] = [[(*refs, *[None] * most)[i] for _, refs in pairs] for i in range(most)]
    measures: Measures = {}
    for name, n_beam in (("bleu", 4), ("bleu_greedy", 1)):
        texts = translated(loaded, [text for text, _ in pairs], n_beam)
        metric = BLEU()
        score = metric.corpus_score(texts, references, n_bootstrap=N_SAMPLE)
        detail = f"beam {n_beam}; {metric.get_signature()}" if n_beam > 1 else "greedy"
        measures[name] = Measure(
            value=round(score.score, 2),
            low=round(score._mean - score._ci, 2),
            high=round(score._mean + score._ci, 2),
            n=len(pairs),
            of="pairs",
            detail=detail,
        )
    return measures


def decoding_speed(loaded: Loaded, task: TranslatorTask, data: Path) -> Measures:
    """Tokens a second, </s> included, of greedy decoding, one sentence at a time."""
    pairs = corpus.held_out_pairs(data, "test")[:N_TIMED]
    if not pairs:
        return {}
    tokens, seconds = [], []
    for text, _ in pairs:
        began = time.perf_counter()
        decoded = returned(translation.translate(loaded, Spec(text), top=1))
        seconds.append(time.perf_counter() - began)
        tokens.append(len(decoded.steps))
    n, s = np.array(tokens, float), np.array(seconds)
    threads = torch.get_num_threads()
    detail = f"{loaded.device}, {threads} thread{'s' if threads > 1 else ''}"
    speed = measured(lambda i: n[i].sum() / s[i].sum(), len(n), "sentences", detail)
    return {"decoding_speed": speed}


@torch.inference_mode()
def translated(loaded: Loaded, texts: list[str], n_beam: int) -> list[str]:
    """Each text in the other language, n_beam 1 greedily; in batches of like length."""
    model, tokenizer = loaded.translator, loaded.tokenizer
    end, begin, pad = (tokenizer.id(raw) for raw in ("</s>", "<s>", "<pad>"))
    longest = model.config.n_ctx - 1
    rows = [np.array([*tokenizer.ids(text)[:longest], end]) for text in texts]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    translations = [""] * len(rows)
    for start in range(0, len(order), 50):
        chosen = order[start : start + 50]
        source = padded([rows[i] for i in chosen], pad).to(loaded.device)
        limit = min(model.config.n_ctx, 2 * source.size(1) + 10)
        for i, ids in zip(
            chosen,
            _decode(model, source, source != pad, Frame(begin, None, end), limit, n_beam),
            strict=True,
        ):
            translations[i] = tokenizer.decode(ids)
    return translations


def _decode(
    model: Translator,
    source: Tensor,
    real: Tensor,
    frame: Frame,
    limit: int,
    n_beam: int,
) -> list[list[int]]:
    if n_beam == 1:
        return translate(model, source, frame, padding=real, max_tokens=limit)
    hypotheses = beam_search(model, source, frame, Beam(n_beam, max_tokens=limit), padding=real)
    return [ids for _, ids in hypotheses]


@torch.inference_mode()
def masked_words(loaded: Loaded, task: BertTask, data: Path) -> Measures:
    """Accuracy of masked words, and of whether the second text of a pair follows the first."""
    model = trained(loaded, Bert)
    if not len(task.dev[0]):
        return {}
    rng = np.random.default_rng(1)
    right: list[float] = []
    words: list[float] = []
    next_right: list[float] = []
    the = 0
    for batch in task.held_out(rng, N_ROW // 32):
        ids, segments = batch["ids"].to(loaded.device), batch["segments"].to(loaded.device)
        x = model.encode(ids, segments, None, ids != task.pad)
        places = batch["places"]
        logits = model.masked_words(x.flatten(0, 1)[places.to(loaded.device)])
        hit = (logits.argmax(-1).cpu() == batch["label"]).double()
        the += int((batch["label"] == task.tokenizer.id("the")).sum())
        row = places // ids.size(1)
        right += torch.zeros(len(ids)).double().index_add(0, row, hit).tolist()
        words += torch.bincount(row, minlength=len(ids)).tolist()
        next_right += (model.next_sentence(x).argmax(-1).cpu() == batch["next"]).double().tolist()
    masked = ratio(right, words, "masked words", f"in {len(words)} texts")
    always = f'always "the": {the / sum(words):.3f}'
    return {
        "masked_word_accuracy": replace(masked, compare=always),
        "next_sentence_accuracy": replace(mean(next_right, "pairs"), compare="chance 0.5"),
    }


@torch.inference_mode()
def bits_per_byte(loaded: Loaded, task: GPTTask, data: Path) -> Measures:
    """How well each corpus's held-out documents are foreseen, in windows of n_ctx tokens."""
    model, n_ctx = trained(loaded, GPT), loaded.config.n_ctx
    measures: Measures = {}
    for name, texts in task.dev_texts.items():
        ids = task.stream(texts)[: N_TOKEN + 1].astype(np.int64)
        if len(ids) < 2:
            continue
        bits, size = [], []
        for start in range(0, len(ids) - 1, n_ctx):
            window = torch.from_numpy(ids[start : start + n_ctx + 1]).to(loaded.device)
            loss = F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="sum")
            bits.append(loss.item() / math.log(2))
            size.append(_n_byte(task, window.tolist()))
        text = task.tokenizer.decode(ids.tolist()).encode()
        packed = 8 * len(gzip.compress(text, 9)) / len(text)
        score = ratio(bits, size, "bytes", f"in {len(bits)} windows")
        measures[f"bits_per_byte_{name}"] = replace(score, compare=f"gzip -9: {packed:.2f}")
    return measures


def _n_byte(task: GPTTask, window: list[int]) -> int:
    """Bytes of text in all ids but the first; the space that begins a document is not its own."""
    n = 0
    for before, i in pairwise(window):
        raw = task.tokenizer.raw(i)
        begun = before == task.end and raw.startswith("Ġ")
        n += 0 if i == task.end else len(raw) - begun
    return n


@torch.inference_mode()
def blimp(loaded: Loaded, task: GPTTask, data: Path) -> Measures:
    """Minimal pairs whose grammatical sentence is the more probable: the mean of the sets."""
    sets = {name: list(pairs) for name, pairs in corpus.minimal_pairs(data)}
    if not sets:
        return {}
    names = sorted(sets)
    texts = [text for name in names for pair in sets[name] for text in pair]
    log_p = np.array(sentence_log_probabilities(loaded, task, texts)).reshape(-1, 2)
    right = (log_p[:, 0] > log_p[:, 1]).astype(float)
    set_of = np.repeat(np.arange(len(names)), [len(sets[name]) for name in names])

    def mean_of_sets(i: Array) -> float:
        hits = np.bincount(set_of[i], right[i], len(names))
        n = np.bincount(set_of[i], minlength=len(names))
        return float(np.mean(hits[n > 0] / n[n > 0]))

    score = measured(mean_of_sets, len(right), "pairs", f"mean of {len(names)} sets")
    by = {name: round(float(right[set_of == k].mean()), 4) for k, name in enumerate(names)}
    return {"blimp": replace(score, by=by, compare="chance 0.5")}


def sentence_log_probabilities(loaded: Loaded, task: GPTTask, texts: list[str]) -> list[float]:
    """Of each text after <|endoftext|>, summed over its tokens."""
    model = trained(loaded, GPT)
    rows = [np.array([task.end, *task.tokenizer.ids(text)]) for text in texts]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    totals = [0.0] * len(rows)
    for start in range(0, len(order), 100):
        chosen = order[start : start + 100]
        ids = padded([rows[i] for i in chosen], task.end).to(loaded.device)
        log_p = model(ids[:, :-1]).log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        for i, row in zip(chosen, log_p, strict=True):  # without the padding
            totals[i] = row[: len(rows[i]) - 1].sum().item()
    return totals


def best_heads(loaded: Loaded, task: Task[Any], data: Path) -> Measures:
    """The best previous-token head, next-token head and induction head."""
    model, device = loaded.model, loaded.device
    if not task.can_look():
        return {}
    names = ("previous_token", "next_token")
    measures: Measures = {}
    with torch.inference_mode():
        for kind in (kind for kind in loaded.kinds if kind != "cross"):
            for name in names if kind == "encoder" else names[:1]:
                scores = _scores(task.look(model, device), kind, metrics.METRICS[name])
                measures[f"{kind}_{name}"] = _best(scores, "held-out texts")
        scores = _induction(task, model, device)
        if len(scores):
            chance = f"chance {0.5 / COPIED:.2f}"
            measures["decoder_induction"] = replace(_best(scores, "random texts"), compare=chance)
    return measures


def _induction(task: Task[Any], model: nn.Module, device: torch.device) -> Tensor:
    """Every head's induction score on copies (texts, L, H); none where a task has no copies."""
    copies = list(task.look_at_copies(model, device))
    if not copies:
        return torch.zeros(0)
    return _scores(copies, "decoder", lambda attn: metrics.induction(attn, COPIED))


def _scores(passes: Iterable[Tape], kind: str, metric: metrics.Metric) -> Tensor:
    """(texts, L, H)"""
    return torch.stack(
        [metric(torch.cat([step.attn for step in tape if step.kind == kind])) for tape in passes]
    )


def _best(scores: Tensor, unit: str) -> Measure:
    layer, head = divmod(int(scores.mean(0).argmax()), scores.size(-1))
    return mean(scores[:, layer, head].tolist(), unit, f"L{layer} H{head}")


@torch.inference_mode()
def look(task: Task[Any], model: nn.Module, device: torch.device) -> Heads:
    """Every head by every metric on held-out texts; a GPT's by induction on copies too."""
    training = model.training
    model.eval()
    passes = list(task.look(model, device))
    heads: Heads = {
        kind: {
            name: _rounded(_scores(passes, kind, metric))
            for name, metric in metrics.METRICS.items()
        }
        for kind in dict.fromkeys(step.kind for step in passes[0])
    }
    scores = _induction(task, model, device)
    if len(scores):
        heads["decoder"]["induction"] = _rounded(scores)
    model.train(training)
    return heads


def _rounded(scores: Tensor) -> list[list[float]]:
    """Mean over texts: (texts, L, H) -> (L, H)."""
    return [[round(score, 3) for score in row] for row in scores.mean(0).tolist()]
