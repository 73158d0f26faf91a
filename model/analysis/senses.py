"""A word's hidden states beside those of other words: which are nearest, and in which sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from attention_atlas.model.analysis.compare import Side, similarity, word_states
from attention_atlas.model.analysis.references import REFERENCES, SOURCE
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import BadInput, Spec, tokenize
from attention_atlas.model.words import occurrences, words_of
from attention_atlas.model.zoo import Loaded
from torch import Tensor

NEAREST = 4  # words named in each layer


class WordState(NamedTuple):
    """A word where it stands, and its hidden states."""

    text: str
    sentence: str
    sense: str  # of a reference sentence; empty for a word of the texts that are compared
    states: Tensor  # (L + 1, D)


class Near(NamedTuple):
    """A word whose hidden state is near another's in some layer."""

    text: str
    sentence: str
    sense: str
    cosine: float


class Senses(NamedTuple):
    """The word of A and of B beside reference sentences of each sense: mean cosines by layer."""

    source: str
    n: dict[str, int]  # sentences of each sense
    within: dict[str, list[float]]  # between sentences of one sense
    between: list[float]  # between sentences of different senses
    a: dict[str, list[float]]
    b: dict[str, list[float]]


def other_words(side: Side, text: str, stream: Tensor) -> list[WordState]:
    """The other words of a text; `stream` is its residual stream, (L + 1, T, D)."""
    return [
        WordState(word.text, text, "", word_states(stream, word.tokens))
        for i, word in enumerate(side.q)
        if i != side.word and word.number is not None and any(map(str.isalnum, word.text))
    ]


Sentences = Mapping[str, Sequence[str]]  # of each sense


def shipped(loaded: Loaded, word: str) -> Sentences:
    """The word's reference sentences, if it has some and the model reads English."""
    reads_english = loaded.family in ("encoder", "decoder")
    return REFERENCES.get(word, {}) if reads_english else {}


def check_sentences(loaded: Loaded, word: str, senses: Sentences) -> None:
    """Every sentence has the word. Raises BadInput, with the sense as its field."""
    for sense, sentences in senses.items():
        for text in sentences:
            if not occurrences(words_of(tokenize(loaded, text), [text]), word):
                message = Message(
                    "no-such-word-in-reference",
                    "{word!r} is not a word of the sentence: {text}",
                    word=word[:40],
                    text=text[:100],
                )
                raise BadInput(sense, message)


def reference_words(
    loaded: Loaded, word: str, hidden: Callable[[Spec], Tensor], senses: Sentences
) -> list[WordState]:
    """The word in the sentences of each sense; `hidden` gives the residual stream of a spec.

    Nothing if a sense has no sentence in which the tokenizer says where the word is.
    """
    known = []
    for sense, sentences in senses.items():
        for text in sentences:
            words = words_of(tokenize(loaded, text), [text])
            for place in occurrences(words, word)[:1]:
                states = word_states(hidden(Spec(text)), words[place].tokens)
                known.append(WordState(word, text, sense, states))
    return known if {row.sense for row in known} == senses.keys() else []


def senses(a: Tensor, b: Tensor, known: Sequence[WordState], source: str = SOURCE) -> Senses:
    """Two words, each (L + 1, D), beside the reference sentences of each sense."""
    names = dict.fromkeys(row.sense for row in known)
    states = {
        name: torch.stack([row.states for row in known if row.sense == name]) for name in names
    }
    first, second = list(states.values())[:2]
    return Senses(
        source=source,
        n={name: len(each) for name, each in states.items()},
        within={name: _within(each) for name, each in states.items()},
        between=similarity(first[:, None], second[None]).mean((0, 1)).tolist(),
        a={name: similarity(a, each).mean(0).tolist() for name, each in states.items()},
        b={name: similarity(b, each).mean(0).tolist() for name, each in states.items()},
    )


class Nearer(NamedTuple):
    """The sense that a word is nearer to after the last layer, and since which hidden state."""

    sense: str
    since: int  # from this hidden state on, always this sense; 0 is the embedding
    margins: list[float]  # of the first sense over the second, by hidden state


def nearer(cosines: dict[str, list[float]]) -> Nearer:
    """Of two senses, by the word's mean cosines with the reference sentences of each."""
    (first, x), (second, y) = list(cosines.items())[:2]
    margins = [a - b for a, b in zip(x, y, strict=True)]
    is_first = margins[-1] > 0
    others = [i for i, margin in enumerate(margins) if (margin > 0) != is_first]
    return Nearer(first if is_first else second, max(others, default=-1) + 1, margins)


def _within(states: Tensor) -> list[float]:
    """The mean cosine of two different sentences of one sense: (n, L + 1, D) -> L + 1 numbers.

    0 if there is only one.
    """
    cosines = similarity(states[:, None], states[None])  # (n, n, L + 1)
    n = len(states)
    mean: list[float] = ((cosines.sum((0, 1)) - n) / max(1, n * (n - 1))).tolist()
    return mean


def nearest(word: Tensor, others: Sequence[WordState]) -> list[list[Near]]:
    """For each layer the words whose hidden states are nearest: (L + 1, D) -> L + 1 lists."""
    if not others:
        return []
    cosines = similarity(word, torch.stack([other.states for other in others]))  # (n, L + 1)
    best = cosines.topk(min(NEAREST, len(others)), 0).indices.T.tolist()
    return [
        [
            Near(others[i].text, others[i].sentence, others[i].sense, cosines[i, layer].item())
            for i in row
        ]
        for layer, row in enumerate(best)
    ]
