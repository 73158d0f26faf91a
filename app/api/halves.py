"""One of two runs that are compared, and what is computed from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from attention_atlas.app.api.common import input_fields, provenance
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.compare import (
    Counted,
    Side,
    baseline,
    pieces,
    side,
    similarity,
    word_states,
)
from attention_atlas.model.analysis.function_words import content, language_of
from attention_atlas.model.analysis.references import SOURCE
from attention_atlas.model.analysis.senses import (
    WordState,
    check_sentences,
    nearer,
    nearest,
    other_words,
    reference_words,
    senses,
    shipped,
)
from attention_atlas.model.record import Run, Selection, axes, state_names
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Kind
from attention_atlas.model.words import Word, folded
from attention_atlas.model.zoo import Loaded
from torch import Tensor

OwnSenses = Mapping[str, Sequence[str]]  # sentences of the request, for each of two senses


class Half(NamedTuple):
    """One of the two runs: model, spec, run and words."""

    loaded: Loaded
    spec: Spec
    run: Run
    side: Side
    word_list: str | None = None  # the language of function words, where one is asked for

    @property
    def sequence(self) -> str:
        """The sequence of the query axis."""
        return axes(self.side.record.kind, self.run.sequences)[0]

    @property
    def language(self) -> str:
        """The language whose function words are no content words: that of the key words."""
        keys = axes(self.side.record.kind, self.run.sequences)[1]
        return self.word_list or language_of(self.loaded, keys)

    @property
    def text(self) -> str:
        """The text of that sequence."""
        target = self.run.target if self.sequence == "target" else None
        return target or self.run.text

    def fields(self) -> dict[str, Any]:
        return {
            **input_fields(self.loaded, self.run),
            "kind": self.side.record.kind,
            "q_words": [word_fields(word) for word in self.side.q],
            "k_words": [word_fields(word) for word in self.side.k],
            "word": self.side.word,
            "occurrence": self.side.occurrence,
            "n_occurrence": self.side.n_occurrence,
            "predictions": self.run.predictions,
            "provenance": provenance(self.loaded).model_dump(),
        }


def word_fields(word: Word) -> dict[str, Any]:
    return {"text": word.text, "tokens": list(word.tokens), "special": word.special}


def content_words(a: Half, b: Half) -> Counted:
    """Which key words of A and of B are content words."""
    return content(a.side.k, a.language), content(b.side.k, b.language)


def function_words(a: Half, b: Half) -> list[str]:
    """The words of both texts that are none, special tokens apart."""
    pairs = zip(
        (*a.side.k, *b.side.k), (x for each in content_words(a, b) for x in each), strict=True
    )
    left = [folded(word.text) for word, counts in pairs if not counts and not word.special]
    return list(dict.fromkeys(left))


class Reference(NamedTuple):
    """A word in sentences whose sense is known: those of the request, else those shipped."""

    word: str
    sentences: Mapping[str, Sequence[str]]
    source: str


def reference(
    a: Half, b: Half, words: tuple[str, str | None], senses_of_request: OwnSenses
) -> Reference | None:
    """None for two models or two words, and for a word without sentences.

    Raises BadInput for a sentence of the request that lacks the word.
    """
    word, word_b = (folded(each or "") for each in words)
    if a.loaded is not b.loaded or word_b not in ("", word):
        return None
    check_sentences(a.loaded, word, senses_of_request)
    sentences = senses_of_request or shipped(a.loaded, word)
    return (
        Reference(word, sentences, "of the request" if senses_of_request else SOURCE)
        if sentences
        else None
    )


def usual_divergence(
    service: Service, a: Half, known: Reference | None, kind: Kind | None, of_content: bool
) -> Tensor | None:
    """(L, H): divergence between two sentences of one sense; None where there are none."""
    if known is None:
        return None
    sides = []
    for sentences in known.sentences.values():
        records = (service.record(a.loaded, Spec(x), Selection(kind=kind)) for x in sentences)
        sides.append([side(run, record, known.word) for run, record in records])
    return baseline(sides, a.language if of_content else None)


def states(service: Service, a: Half, b: Half, known: Reference | None) -> dict[str, Any]:
    """Similarity, references and neighbours. Two models' states are not comparable: none."""
    nothing: dict[str, Any] = {
        "states": [],
        "similarity": None,
        "references": None,
        "nearest_a": [],
        "nearest_b": [],
    }
    if a.loaded is not b.loaded:
        return nothing
    try:
        streams = [service.hidden(x.loaded, x.spec, x.sequence) for x in (a, b)]
    except BadInput as error:
        if error.field != "model":
            raise
        return nothing  # the recurrent model has no layers
    words = [word_states(stream, pieces(x.side)) for stream, x in zip(streams, (a, b), strict=True)]
    rows = _rows(service, a.loaded, known)
    others = [
        *other_words(a.side, a.text, streams[0]),
        *other_words(b.side, b.text, streams[1]),
        *rows,
    ]
    return {
        "states": state_names(len(words[0]) - 1),
        "similarity": similarity(*words).tolist(),
        "references": _senses(words[0], words[1], rows, known) if known and rows else None,
        "nearest_a": [[word._asdict() for word in row] for row in nearest(words[0], others)],
        "nearest_b": [[word._asdict() for word in row] for row in nearest(words[1], others)],
    }


def _rows(service: Service, loaded: Loaded, known: Reference | None) -> list[WordState]:
    if known is None:
        return []
    hidden = partial(service.hidden, loaded)
    return reference_words(loaded, known.word, hidden, known.sentences)


def _senses(a: Tensor, b: Tensor, rows: list[WordState], known: Reference) -> dict[str, Any]:
    """The two words beside the reference sentences, and which sense each is nearer to."""
    nearness = senses(a, b, rows, known.source)
    verdicts = {"verdict_a": nearer(nearness.a), "verdict_b": nearer(nearness.b)}
    return {
        **nearness._asdict(),
        **{name: verdict._asdict() for name, verdict in verdicts.items()},
    }
