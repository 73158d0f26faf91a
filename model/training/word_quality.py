"""How well BERT fills in whole words, by a protocol that does not depend on its vocabulary.

Passages and masked words are chosen from the text alone, so two models with different vocabularies
are asked the same: bits per word and per character are comparable between them.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.analysis.statistics import Measure, ratio, share
from attention_atlas.model.record import Token
from attention_atlas.model.training import corpus
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.task import padded, trained
from attention_atlas.model.transformer import Bert
from attention_atlas.model.zoo import Loaded

N_PASSAGE = 600
PASSAGE = (
    48,
    96,
)  # words: it ends with the sentence that reaches 48, or at 96
SHARE = 0.15  # of a passage's words are masked, all their pieces at once
WORD = re.compile(r"(?<![^\W_])[A-Za-z]+(?![^\W_])")
GUESSES = Path(__file__).parent / "first_guesses.tsv"
ROWS = 16  # texts in a batch


@dataclass(frozen=True)
class Passage:
    """A held-out text and the spans of its words that are to be predicted."""

    text: str
    masked: tuple[tuple[int, int], ...]


def passages(documents: list[list[str]], n: int = N_PASSAGE) -> list[Passage]:
    """Passages from held-out documents, drawn by sentence; the same ones for every model."""
    cut = [[s for line in doc for s in corpus.sentences(line)] for doc in documents]
    starts = [(d, i) for d, doc in enumerate(cut) for i in range(len(doc))]
    rng = np.random.default_rng(4)
    texts = []
    for k in rng.permutation(len(starts)):
        d, i = starts[k]
        words: list[str] = []
        for sentence in cut[d][i:]:
            words += sentence.split()
            if len(words) >= PASSAGE[0]:
                break
        text = " ".join(words[: PASSAGE[1]])
        spans = [match.span() for match in WORD.finditer(text)]
        if len(words) >= PASSAGE[0] and spans:
            some = rng.permutation(len(spans))[: max(1, round(SHARE * len(spans)))]
            texts.append(Passage(text, tuple(spans[i] for i in sorted(some))))
        if len(texts) == n:
            break
    return texts


def pieces(tokens: tuple[Token, ...], span: tuple[int, int]) -> list[int]:
    """The places of the tokens that make up a span of the text."""
    inside = [i for i, t in enumerate(tokens) if span[0] <= t.start < t.end <= span[1]]
    return [i for i in inside if not tokens[i].special]


@torch.inference_mode()
def whole_words(loaded: Loaded, task: BertTask, data: Path) -> dict[str, Measure]:
    """Bits per masked word and per character of it, and how many words are guessed whole."""
    texts = passages(task.held_out_documents)
    if not texts:
        return {}
    bits, right, words, characters = [], [], [], []
    for log_p, best, label, word, passage in scored(loaded, task, texts):
        spent = np.bincount(word, -log_p / math.log(2), len(passage.masked))
        wrong = np.bincount(word, best != label, len(passage.masked))
        bits.append(float(spent.sum()))
        right.append(float((wrong == 0).sum()))
        words.append(len(passage.masked))
        characters.append(sum(end - start for start, end in passage.masked))
    detail = f"in {len(words)} passages, whole words masked"
    return {
        "bits_per_masked_word": ratio(bits, words, "masked words", detail),
        "bits_per_masked_character": ratio(bits, characters, "characters of masked words", detail),
        "masked_whole_word_accuracy": ratio(right, words, "masked words", detail),
    }


Scores = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Passage]


def scored(loaded: Loaded, task: BertTask, texts: list[Passage]) -> Iterator[Scores]:
    """Of each passage's masked pieces: log probability, best guess, id, and the word it is of."""
    model, mask = trained(loaded, Bert), task.mask
    for begin in range(0, len(texts), ROWS):
        some = texts[begin : begin + ROWS]
        tokens = [task.tokenizer.encode(passage.text)[: model.config.n_ctx] for passage in some]
        rows = [np.array([token.id for token in row]) for row in tokens]
        places = [
            [(i, w) for w, span in enumerate(p.masked) for i in pieces(row, span)]
            for p, row in zip(some, tokens, strict=True)
        ]
        ids = padded(rows, task.pad).to(loaded.device)
        real = torch.arange(ids.size(1), device=ids.device) < torch.tensor(
            [[len(row)] for row in rows], device=ids.device
        )
        hidden = ids.clone()
        for r, place in enumerate(places):
            hidden[r, [i for i, _ in place]] = mask
        x = model.encode(hidden, torch.zeros_like(ids), None, real)
        for r, place in enumerate(places):
            columns = [i for i, _ in place]
            log_p = model.masked_words(x[r, columns]).float().log_softmax(-1)
            label = ids[r, columns]
            taken = log_p.gather(-1, label[:, None]).squeeze(-1)
            word = np.array([w for _, w in place])
            yield (
                taken.cpu().double().numpy(),
                log_p.argmax(-1).cpu().numpy(),
                label.cpu().numpy(),
                word,
                some[r],
            )


def first_guess_sentences(path: Path = GUESSES) -> list[tuple[str, frozenset[str]]]:
    """Sentences with one [MASK], and the words that are sensible there."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(sentence, frozenset(words.split())) for sentence, words in rows]


@torch.inference_mode()
def first_guesses(loaded: Loaded, task: BertTask, data: Path) -> dict[str, Measure]:
    """Everyday sentences whose blank is first filled with a word that makes sense there.

    The sentences and the words were written before any model was asked.
    """
    model = trained(loaded, Bert)
    right = []
    for sentence, words in first_guess_sentences():
        ids = torch.tensor([[token.id for token in task.tokenizer.encode(sentence)]])
        ids = ids.to(loaded.device)
        x = model.encode(ids, torch.zeros_like(ids))
        best = int(model.masked_words(x[ids == task.mask]).argmax(-1)[0])
        right.append(task.tokenizer.raw(best) in words)
    accuracy = share(right, "sentences")
    return {"sensible_first_guess": replace(accuracy, detail="one blank each, best single piece")}
