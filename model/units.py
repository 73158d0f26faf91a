"""A text's words, whatever pieces a tokenizer cuts it into: what two runs are compared by."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import torch
from attention_atlas.model.record import Token
from torch import Tensor

# A word with its apostrophes, one Chinese character, or one mark.
HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+(?:['’][^\W{HAN}]+)*|[^\w\s]")


Span = tuple[int, int]


class Unit(NamedTuple):
    """A word or mark of a text, or a special token, and the tokens it is made of."""

    text: str
    tokens: tuple[int, ...]
    special: bool


def units(texts: Sequence[str], tokens: Sequence[Token]) -> list[Unit]:
    """The words of a text (of two, for BERT's pair), each with its tokens, in order.

    By characters: two tokenizers that cut a text otherwise give the same words.
    """
    spans = [[word.span() for word in WORD.finditer(text)] for text in texts]
    groups: dict[tuple[int, int], list[int]] = {}
    for i, token in enumerate(tokens):
        groups.setdefault(_place(i, token, spans), []).append(i)
    return [_unit(place, group, spans, texts, tokens) for place, group in groups.items()]


def _place(i: int, token: Token, spans: list[list[Span]]) -> tuple[int, int]:
    """Which word of which text a token is of: the word that holds its last character."""
    words = spans[token.segment] if token.segment < len(spans) else []
    if not token.special and token.end > token.start:
        n = bisect_left(words, token.end, key=lambda word: word[1])
        if n < len(words) and words[n][0] < token.end:
            return token.segment, n
    return -1, i  # a unit by itself


def _unit(
    place: tuple[int, int],
    group: list[int],
    spans: list[list[Span]],
    texts: Sequence[str],
    tokens: Sequence[Token],
) -> Unit:
    segment, n = place
    first = tokens[group[0]]
    if segment >= 0:
        start, end = spans[segment][n]
        return Unit(texts[segment][start:end], tuple(group), first.special)
    text = first.text.strip() or first.text or first.raw
    return Unit(text, tuple(group), first.special)


def alignment(a: Sequence[Unit], b: Sequence[Unit]) -> list[tuple[int, int]]:
    """Pairs of equal words in the same order, as many as can be: the longest common subsequence."""
    x, y = ([_name(unit) for unit in side] for side in (a, b))
    best = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]  # of x[i:] and y[j:]
    for i in range(len(x) - 1, -1, -1):
        for j in range(len(y) - 1, -1, -1):
            skip = max(best[i + 1][j], best[i][j + 1])
            best[i][j] = max(skip, best[i + 1][j + 1] + 1) if x[i] == y[j] else skip
    pairs, i, j = [], 0, 0
    while i < len(x) and j < len(y):
        if x[i] == y[j] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _name(unit: Unit) -> str:
    return unit.text if unit.special else unit.text.casefold()


def occurrences(found: Sequence[Unit], word: str) -> list[int]:
    """Where a word is among the units, however it is written."""
    wanted = word.strip().casefold()
    return [
        i for i, unit in enumerate(found) if not unit.special and unit.text.casefold() == wanted
    ]


def membership(found: Sequence[Unit], n_token: int) -> Tensor:
    """(units, T): 1 where a token is of a unit."""
    member = torch.zeros(len(found), n_token)
    for row, unit in enumerate(found):
        member[row, list(unit.tokens)] = 1.0
    return member


def merged(attn: Tensor, q: Sequence[Unit], k: Sequence[Unit]) -> Tensor:
    """(..., Tq, Tk) -> (..., Q, K): the sum over a key's tokens, the mean over a query's.

    Clark et al. 2019, section 4.1.
    """
    rows, columns = membership(q, attn.size(-2)), membership(k, attn.size(-1))
    return (rows / rows.sum(-1, keepdim=True)) @ attn @ columns.T


def jensen_shannon(p: Tensor, r: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two distributions (..., n) -> (...), in nats: 0 to ln 2."""
    middle = (p + r) / 2
    entropy = torch.special.entr
    return (entropy(middle) - (entropy(p) + entropy(r)) / 2).sum(-1).clamp(min=0.0)
