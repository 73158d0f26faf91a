"""Words of a text, and the tokens of each. This is the one definition of a word.

A word is what lies between two word boundaries of Unicode (UAX #29), as ICU places them. Letters
keep their combining marks; "don't" and "3.14" are one word each; a punctuation mark or an emoji
sequence is a word by itself. Chinese, Japanese, Thai, Lao, Khmer and Burmese, written without
spaces, are divided by ICU's dictionaries, Tibetan at its syllable marks. Spaces, invisible
characters and the model's special tokens are not words. Two words that share a token are one.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from attention_atlas.model.record import Token
from icu4py.breakers import WordBreaker
from torch import Tensor

Span = tuple[int, int]  # first character, and the one after the last
LOCALE = "root"  # no language's own exceptions
INVISIBLE = ("Zs", "Zl", "Zp", "Cc", "Cf")  # Unicode's categories of spaces, controls, formats
APOSTROPHES = str.maketrans("\u2019\u02bc\uff07", "'''")


class Word(NamedTuple):
    """A word of a text and its tokens, or a token that belongs to no word, such as [CLS]."""

    text: str
    tokens: tuple[int, ...]
    special: bool = False
    number: int | None = None  # the same as its tokens' `word`
    span: Span = (0, 0)
    parts: tuple[str, ...] = ()  # the words in it that share a token, where there are several


def word_spans(text: str, specials: Iterable[Span] = ()) -> list[Span]:
    """Where each word of a text is, and each special token typed in it, which ends a word.

    So a word keeps its number when one before it is replaced by [MASK].
    """
    spans: list[Span] = []
    start = 0
    for span in sorted(specials):
        spans += [*_spans(text[start : span[0]], start), span]
        start = span[1]
    return [*spans, *_spans(text[start:], start)]


def is_blank(text: str) -> bool:
    """Whether a text has only spaces, control and format characters."""
    return all(unicodedata.category(char) in INVISIBLE for char in text)


def _spans(text: str, offset: int) -> Iterator[Span]:
    end = offset
    for piece in WordBreaker(text, LOCALE):
        end += len(piece)
        if not is_blank(piece):
            yield end - len(piece.lstrip()), end


def numbered(tokens: Sequence[Token], texts: Sequence[str]) -> tuple[Token, ...]:
    """The tokens with `word`: the number of its word in its text, None where it has no word.

    The text alone numbers its words from 0, so all tokenizers give a word the same number. A
    word in several tokens is all of them; of words that share a token the first gives the number.
    """
    spans = _spans_of(tokens, texts)
    touched = [_touched(token, spans) for token in tokens]
    first = [list(range(len(words))) for words in spans]  # of the words joined to each
    for token, held in zip(tokens, touched, strict=True):
        for i in held[1:]:
            first[token.segment][i] = i - 1
    for numbers in first:
        for i, before in enumerate(numbers):
            numbers[i] = numbers[before] if before < i else i
    return tuple(
        token._replace(word=first[token.segment][held.start] if held else None)
        for token, held in zip(tokens, touched, strict=True)
    )


def _spans_of(tokens: Sequence[Token], texts: Sequence[str]) -> list[list[Span]]:
    """The words of each text."""
    specials: list[list[Span]] = [[] for _ in texts]
    for token in tokens:
        if token.special and token.end > token.start:
            specials[token.segment].append((token.start, token.end))
    return [word_spans(*pair) for pair in zip(texts, specials, strict=True)]


def _touched(token: Token, spans: list[list[Span]]) -> range:
    """The words of its text that a token holds a part of."""
    if token.special or token.end <= token.start or token.segment >= len(spans):
        return range(0)
    words = spans[token.segment]
    first = bisect_right(words, token.start, key=lambda span: span[1])
    after = bisect_left(words, token.end, key=lambda span: span[0])
    return range(first, after)


def groups(tokens: Sequence[Token]) -> list[tuple[int, ...]]:
    """The tokens of each word, in order; a token without a word is by itself."""
    by_word: dict[tuple[int, int | None, int], list[int]] = {}
    for i, token in enumerate(tokens):
        key = (token.segment, token.word, i if token.word is None else -1)
        by_word.setdefault(key, []).append(i)
    return [tuple(group) for group in by_word.values()]


def words_of(tokens: Sequence[Token], texts: Sequence[str]) -> list[Word]:
    """The words of a text (two, if the model takes a pair), from its numbered tokens."""
    spans = _spans_of(tokens, texts)
    return [_word(group, tokens, spans, texts) for group in groups(tokens)]


def _word(
    group: tuple[int, ...],
    tokens: Sequence[Token],
    spans: list[list[Span]],
    texts: Sequence[str],
) -> Word:
    first = tokens[group[0]]
    if first.word is None:
        text = first.text.strip() or first.text or first.raw
        return Word(text, group, first.special, span=(first.start, first.end))
    last = max(_touched(tokens[i], spans)[-1] for i in group)
    covered = spans[first.segment][first.word : last + 1]
    text, (start, end) = texts[first.segment], (covered[0][0], covered[-1][1])
    parts = tuple(text[a:b] for a, b in covered) if len(covered) > 1 else ()
    return Word(text[start:end], group, False, first.word, (start, end), parts)


def folded(word: str) -> str:
    """A word without what writing leaves free: case, NFC or NFD, which apostrophe."""
    plain = unicodedata.normalize("NFD", word.strip()).casefold()
    return unicodedata.normalize("NFC", plain).translate(APOSTROPHES)


def occurrences(words: Sequence[Word], word: str) -> list[int]:
    """Where a word is among the words of a text, in any case, form and apostrophe."""
    wanted = folded(word)
    return [
        i
        for i, other in enumerate(words)
        if other.number is not None and wanted in map(folded, (other.text, *other.parts))
    ]


def alignment(a: Sequence[Word], b: Sequence[Word]) -> list[tuple[int, int]]:
    """Pairs of equal words in the same order, as many as can be: the longest common subsequence."""
    x, y = ([_key(word) for word in words] for words in (a, b))
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


def _key(word: Word) -> str:
    return word.text if word.special else folded(word.text)


def merged(attn: Tensor, q: Sequence[Sequence[int]], k: Sequence[Sequence[int]]) -> Tensor:
    """(..., Tq, Tk) -> (..., Q, K): the sum over a key's tokens, the mean over a query's.

    Clark et al. 2019, section 4.1. `q` and `k` are the tokens of each word.
    """
    rows, columns = (_membership(words, attn, axis) for words, axis in ((q, -2), (k, -1)))
    return (rows / rows.sum(-1, keepdim=True)) @ attn @ columns.T


def _membership(words: Sequence[Sequence[int]], attn: Tensor, axis: int) -> Tensor:
    """(words, T): 1 where a token is of a word."""
    member = torch.zeros(len(words), attn.size(axis), dtype=attn.dtype, device=attn.device)
    for row, tokens in enumerate(words):
        member[row, list(tokens)] = 1.0
    return member
