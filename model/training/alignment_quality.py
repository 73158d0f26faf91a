"""How well cross-attention aligns the words of two languages, by hand-made links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.analysis.statistics import Array, Measure, measured
from attention_atlas.model.record import Token
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from attention_atlas.model.training import corpus
from attention_atlas.model.training.translator_task import TranslatorTask
from attention_atlas.model.zoo import Loaded

SHORT = 15  # words: the longest side of a pair whose words are aligned
Link = tuple[int, int]  # a target word and a source word
Pair = tuple[list[str], list[str], set[Link]]  # target words, source words, links by hand


def alignment(loaded: Loaded, task: TranslatorTask, data: Path) -> dict[str, Measure]:
    """Alignment error rate of cross-attention on short pairs, by the best head or mean of a layer.

    Each English word is linked to the Spanish word that a row of it looks at most: that of the step
    that has it as input (Kobayashi et al. 2020, section 5), and, "as output", that of the step
    before, which gives it. The recurrent model looks before it reads its input, so it has only the
    second reading. "cross_" is the best single head; all are chosen on the pairs they are measured
    on. AER = 1 - F1 (Och & Ney 2003).
    """
    pairs = [pair for pair in corpus.alignments(data) if max(map(len, pair[:2])) <= SHORT]
    if not pairs:
        return {}
    reading = "output" if loaded.family == "recurrent" else "input"
    first, best_head = _measured(loaded, pairs, reading)
    found = {"alignment_error_rate": first, "cross_alignment_error_rate": best_head}
    if reading == "input":
        found["alignment_error_rate_as_output"] = _measured(loaded, pairs, "output")[1]
    return found


def _measured(loaded: Loaded, pairs: list[Pair], reading: str) -> tuple[Measure, Measure]:
    """By one reading: the best head or mean of a layer, and the best single head."""
    hits, guesses, links = [], [], []
    for english, spanish, gold in pairs:
        predicted = _links(loaded, english, spanish, reading)  # of heads, then of means
        hits.append([len(gold & link) for link in predicted])
        guesses.append([len(link) for link in predicted])
        links.append(len(gold))
    hit = np.array(hits, float)  # (pairs, heads and means)
    total = np.array(guesses, float) + np.array(links, float)[:, None]
    L, H = loaded.config.n_layer, loaded.config.n_head
    names = [f"L{i} H{j}" for i in range(L) for j in range(H)]
    names += [f"L{i} mean of heads" for i in range(L)]
    rates = 1 - 2 * hit.sum(0) / total.sum(0)
    straight = 1 - 2 * sum(map(_straight, pairs)) / sum(len(e) + len(g) for e, _, g in pairs)
    compare = f"each word with the one as far along: {straight:.2f}"

    def rate(n: int) -> Measure:
        def over_pairs(i: Array) -> float:
            return float(1 - 2 * hit[i, n].sum() / total[i, n].sum())

        return replace(measured(over_pairs, len(pairs), "pairs", names[n]), compare=compare)

    by = {name: round(rates[n], 4) for n, name in enumerate(names) if n >= L * H}
    return replace(rate(int(rates.argmin())), by=by), rate(int(rates[: L * H].argmin()))


def _straight(pair: Pair) -> int:
    """How many links are right that join words equally far along in their sentences."""
    english, spanish, gold = pair
    return sum((i, i * len(spanish) // len(english)) in gold for i in range(len(english)))


def _links(loaded: Loaded, english: list[str], spanish: list[str], reading: str) -> list[set[Link]]:
    """For every head, then every layer's mean, each English word's link to a Spanish one."""
    (source, source_spans), (target, target_spans) = joined(spanish), joined(english)
    record = run(loaded, Spec(source, target=target)).records["cross"]
    key_of = _words_of(record.k_tokens, source_spans)  # (Tk,)
    query_of = _words_of(record.q_tokens, target_spans)  # (Tq,)
    if reading == "output":
        query_of = [*query_of[1:], None]
    attn = torch.cat([record.attn.flatten(0, 1), record.attn.mean(1)])  # and the means
    merged = attn.new_zeros(len(attn), len(english), len(spanish))
    for q, word in enumerate(query_of):
        for k, key_word in enumerate(key_of):
            if word is not None and key_word is not None:
                merged[:, word, key_word] += attn[:, q, k]  # the mean's divisor changes no maximum
    words = sorted({word for word in query_of if word is not None})  # some marks have no token
    return [{(word, best[word]) for word in words} for best in merged.argmax(-1).tolist()]


def joined(tokens: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Words and marks as a sentence is written, marks close to their word; and the span of each."""
    text, spans = "", []
    for token in tokens:
        glued = not text or token[0] in ".,;:!?)%»" or text[-1] in "¿¡(«"
        text += token if glued else f" {token}"
        spans.append((len(text) - len(token), len(text)))
    return text, spans


def _words_of(tokens: tuple[Token, ...], spans: list[tuple[int, int]]) -> list[int | None]:
    """The word each token lies in, None for specials."""
    return [
        None
        if token.special or token.start == token.end
        else next((i for i, (a, b) in enumerate(spans) if a < token.end <= b), None)
        for token in tokens
    ]
