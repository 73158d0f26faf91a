"""Masked words: BERT's predictions, its masking procedure, next-sentence prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from attention_atlas.model.analysis.corruption import Fate, corrupted
from attention_atlas.model.analysis.decoding import (
    Guess,
    check_edits,
    check_task,
    edits_that_fit,
    guess,
)
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token
from attention_atlas.model.run import read
from attention_atlas.model.spec import BadInput, tokenize
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.words import words_of
from attention_atlas.model.zoo import Loaded


class Filled(NamedTuple):
    """A text with masked words, and the predictions for them."""

    texts: tuple[str, str | None]  # with [MASK] instead of each selected word
    tokens: tuple[Token, ...]
    words: list[int | None]  # of each token, its word in the original text
    masks: dict[int, Guess]  # by position


@torch.inference_mode()
def fill(
    loaded: Loaded,
    text: str,
    text_pair: str | None = None,
    *,
    words: tuple[Sequence[int], Sequence[int]] = ((), ()),
    edits: Sequence[Edit] = (),
    top: int = 10,
) -> Filled:
    """Predictions for each [MASK] of a text, and for the selected `words`, which are masked."""
    check_task(loaded, "fill-mask")
    tokenizer = loaded.tokenizer
    assert tokenizer.mask_id is not None
    first, spans = masked(loaded, text, words[0], "words")
    second, spans_pair = (
        (None, {}) if text_pair is None else masked(loaded, text_pair, words[1], "words_pair")
    )
    tokens = tokenize(loaded, first, second)
    check_edits(loaded, edits, {"source": len(tokens)})
    positions = [i for i, token in enumerate(tokens) if token.id == tokenizer.mask_id]
    if not positions:
        raise BadInput("text", no_mask(tokenizer.raw(tokenizer.mask_id)))
    with edits_that_fit():
        x = read(loaded, {"source": tokens}, Tape(layers=(), edits=edits))[0]
    logits = loaded.encoder.masked_words(x[positions])  # (masks, V)
    guesses = [guess(loaded, row, top) for row in logits]
    original = [_word_at((spans, spans_pair)[token.segment], token) for token in tokens]
    return Filled((first, second), tokens, original, dict(zip(positions, guesses, strict=True)))


def no_mask(mask: str) -> Message:
    return Message(
        "no-mask", "the text has no {mask}; write {mask} where a word is to be filled in", mask=mask
    )


Spans = dict[int, tuple[int, int]]  # the characters of each word


def masked(loaded: Loaded, text: str, words: Sequence[int], field: str) -> tuple[str, Spans]:
    """The text with [MASK] instead of some words, by number, and the new span of each word."""
    mask_id = loaded.tokenizer.mask_id
    assert mask_id is not None
    mask, read = loaded.tokenizer.raw(mask_id), words_of(tokenize(loaded, text), [text])
    spans = {word.number: word.span for word in read if word.number is not None}
    for word in words:
        if word not in spans:
            message = Message(
                "word-out-of-range",
                "word {word} does not exist: the text has words 0 to {limit}",
                word=word,
                limit=max(spans, default=0),
            )
            raise BadInput(field, message)
    masked_text, new_spans, done = "", {}, 0
    for word, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        masked_text += text[done:start]
        piece = mask if word in words else text[start:end]
        new_spans[word] = (len(masked_text), len(masked_text) + len(piece))
        masked_text, done = masked_text + piece, end
    return masked_text + text[done:], new_spans


def _word_at(spans: Spans, token: Token) -> int | None:
    """The word that a token is part of; None if the token has no text."""
    inside = (word for word, (start, end) in spans.items() if start <= token.start < end)
    return next(inside, None) if token.end > token.start else None


class Hidden(NamedTuple):
    """A position that BERT has to predict."""

    position: int
    fate: Fate
    shown: str  # the token in BERT's input
    log_probability: float  # of the original token
    guess: Guess


@torch.inference_mode()
def corrupt(
    loaded: Loaded, text: str, text_pair: str | None, seed: int, top: int = 5
) -> tuple[tuple[Token, ...], list[Hidden]]:
    """A text as in BERT's training, by its masking procedure, and BERT's predictions."""
    check_task(loaded, "fill-mask")
    tokenizer = loaded.tokenizer
    assert tokenizer.mask_id is not None
    tokens = tokenize(loaded, text, text_pair)
    ids, chosen, fates = corrupted(
        np.array([token.id for token in tokens]),
        np.array([not token.special for token in tokens]),
        np.random.default_rng(seed),
        mask=tokenizer.mask_id,
        first=len(tokenizer.special_ids),
        vocab_size=tokenizer.vocab_size,
    )
    noisy = tuple(token._replace(id=int(i)) for token, i in zip(tokens, ids, strict=True))
    x = read(loaded, {"source": noisy})[0]
    logits = loaded.encoder.masked_words(x[chosen.tolist()])  # (chosen, V)
    hidden = []
    for position, fate, row in zip(chosen.tolist(), fates, logits, strict=True):
        log_p = row.float().log_softmax(-1)[tokens[position].id].item()
        shown = tokenizer.readable(int(ids[position]))
        hidden.append(Hidden(position, fate, shown, log_p, guess(loaded, row, top)))
    return tokens, hidden


NO_WORD = {
    "text": Message("no-words", "the first text has no word; type at least one"),
    "text_pair": Message("no-words", "the second text has no word; type at least one"),
}


@torch.inference_mode()
def next_sentence(loaded: Loaded, text: str, text_pair: str) -> float:
    """The probability that the second text follows the first (Devlin et al. 2019)."""
    check_task(loaded, "next-sentence")
    tokens = tokenize(loaded, text, text_pair)
    for segment, (which, none) in enumerate(NO_WORD.items()):
        if not any(token.segment == segment and not token.special for token in tokens):
            raise BadInput(which, none)
    x = read(loaded, {"source": tokens})
    return loaded.encoder.next_sentence(x).softmax(-1)[0, 0].item()
