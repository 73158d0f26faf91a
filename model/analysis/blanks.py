"""Filling in the blank: BERT's guesses, the noise of its training, the sentence that follows."""

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
from attention_atlas.model.record import Token
from attention_atlas.model.run import read
from attention_atlas.model.spec import BadInput, tokenize
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.words import words_of
from attention_atlas.model.zoo import Loaded


class Filled(NamedTuple):
    texts: tuple[str, str | None]  # with a [MASK] in place of each word that was to be hidden
    tokens: tuple[Token, ...]
    words: list[int | None]  # of each token, the word of the text as it was typed
    masks: dict[int, Guess]  # by their position


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
    """What the model would write for each [MASK], and for each of the words to be hidden."""
    check_task(loaded, "fill-mask")
    tokenizer = loaded.tokenizer
    assert tokenizer.mask_id is not None
    first, spans = masked(loaded, text, words[0], "words")
    second, spans_pair = (
        (None, {}) if text_pair is None else masked(loaded, text_pair, words[1], "words_pair")
    )
    tokens = tokenize(loaded, first, second)
    check_edits(loaded, edits, {"source": len(tokens)})
    places = [i for i, token in enumerate(tokens) if token.id == tokenizer.mask_id]
    if not places:
        mask = tokenizer.raw(tokenizer.mask_id)
        message = f"the text has no {mask}; write {mask} where a word is to be filled in"
        raise BadInput("text", message)
    with edits_that_fit():
        x = read(loaded, {"source": tokens}, Tape(layers=(), edits=edits))[0]
    logits = loaded.encoder.masked_words(x[places])  # (masks, V)
    guesses = [guess(loaded, row, top) for row in logits]
    own = [_word_at((spans, spans_pair)[token.segment], token) for token in tokens]
    return Filled((first, second), tokens, own, dict(zip(places, guesses, strict=True)))


Spans = dict[int, tuple[int, int]]  # where each word is, in characters


def masked(loaded: Loaded, text: str, words: Sequence[int], field: str) -> tuple[str, Spans]:
    """The text with [MASK] in place of some words, numbered as its tokens have them, and where
    each word then is."""
    mask_id = loaded.tokenizer.mask_id
    assert mask_id is not None
    mask, read = loaded.tokenizer.raw(mask_id), words_of(tokenize(loaded, text), [text])
    spans = {word.number: word.span for word in read if word.number is not None}
    for word in words:
        if word not in spans:
            message = f"word {word} does not exist: the text has words 0 to {max(spans, default=0)}"
            raise BadInput(field, message)
    found, moved, at = "", {}, 0
    for word, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        found += text[at:start]
        shown = mask if word in words else text[start:end]
        moved[word] = (len(found), len(found) + len(shown))
        found, at = found + shown, end
    return found + text[at:], moved


def _word_at(spans: Spans, token: Token) -> int | None:
    """The word that a token is of; none if it stands for no text."""
    inside = (word for word, (start, end) in spans.items() if start <= token.start < end)
    return next(inside, None) if token.end > token.start else None


class Hidden(NamedTuple):
    """A place that BERT has to predict."""

    position: int
    fate: Fate
    shown: str  # what it reads there
    log_probability: float  # of the right token
    guess: Guess


@torch.inference_mode()
def corrupt(
    loaded: Loaded, text: str, text_pair: str | None, seed: int, top: int = 5
) -> tuple[tuple[Token, ...], list[Hidden]]:
    """A text as BERT sees it in training, and what it makes of it."""
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
    found = []
    for place, fate, row in zip(chosen.tolist(), fates, logits, strict=True):
        log_p = row.float().log_softmax(-1)[tokens[place].id].item()
        shown = tokenizer.readable(int(ids[place]))
        found.append(Hidden(place, fate, shown, log_p, guess(loaded, row, top)))
    return tokens, found


@torch.inference_mode()
def next_sentence(loaded: Loaded, text: str, text_pair: str) -> float:
    """The probability that the second text follows the first (Devlin et al. 2019)."""
    check_task(loaded, "next-sentence")
    tokens = tokenize(loaded, text, text_pair)
    for segment, which in enumerate(("text", "text_pair")):
        if not any(token.segment == segment and not token.special for token in tokens):
            order = ("first", "second")[segment]
            raise BadInput(which, f"the {order} text has no word; type at least one")
    x = read(loaded, {"source": tokens})
    return loaded.encoder.next_sentence(x).softmax(-1)[0, 0].item()
