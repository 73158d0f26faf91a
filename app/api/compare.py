"""A word in two runs."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from attention_atlas.app.api.common import PREFIX, Provenance, input_fields, provenance, spec_of
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import (
    BANK,
    MONEY,
    ApiRequest,
    Index,
    KindName,
    RunRequest,
    WordText,
    at_most,
    from_json,
)
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.compare import (
    Side,
    check_comparable,
    difference,
    divergence,
    most_different,
    pieces,
    ranked,
    side,
    similarity,
    word_states,
)
from attention_atlas.model.analysis.senses import (
    WordState,
    nearest,
    other_words,
    reference_words,
    senses,
)
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Run, Selection, axes, state_names
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.words import Word, folded
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


def paired(value: object) -> object:
    """Pairs as text: "0-0,2-1" -> ((0, 0), (2, 1))."""
    if isinstance(value, str):
        if not re.fullmatch(r"([0-9]{1,4}-[0-9]{1,4}(,[0-9]{1,4}-[0-9]{1,4})*)?", value):
            raise ValueError(
                Message("not-an-alignment", "an alignment is pairs of word numbers: 0-0,2-1")
            )
        return tuple(tuple(map(int, pair.split("-"))) for pair in value.split(",") if pair)
    return value


Pairs = Annotated[
    tuple[tuple[Index, Index], ...],
    Field(max_length=2000, fail_fast=True),
    at_most(2000),
    BeforeValidator(paired),
]


class CompareRequest(ApiRequest):
    """Two run specs and a word; in a query string the specs are JSON."""

    a: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec", examples=[{"model": "bert", "text": BANK}]
    )
    b: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="another", examples=[{"model": "bert", "text": MONEY}]
    )
    word: WordText = Field(
        description="the word to compare, in any case, NFC or NFD", examples=["bank"]
    )
    word_b: WordText | None = Field(None, description="the word in B, if it differs")
    occurrence_a: int = Field(0, ge=0, description="which one, if A has the word several times")
    occurrence_b: int = Field(0, ge=0, description="which one in B")
    kind: KindName | None = Field(None, description="each family's first if left out")
    layer: int | None = Field(None, ge=0, description="the head whose rows are returned; else the")
    head: int | None = Field(None, ge=0, description="one that differs most")
    align: Pairs | None = Field(
        None, description="pairs of key words of A and B; else equal words in order"
    )

    def models(self) -> tuple[str, ...]:
        return self.a.model, self.b.model


class WordOut(BaseModel):
    text: str = Field(description="a word of the text, or a token without one")
    tokens: list[int] = Field(description="the tokens it is made of")
    special: bool


class SideOut(BaseModel):
    """One of the two runs."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    q_words: list[WordOut]
    k_words: list[WordOut]
    word: int = Field(description="which of q_words is looked at")
    occurrence: int
    n_occurrence: int
    provenance: Provenance


class Near(BaseModel):
    text: str
    sentence: str
    sense: str = Field(description="of a reference sentence; empty for a word of the two texts")
    cosine: float


class References(BaseModel):
    """The word in sentences where its sense is known; mean cosines, one for each of `states`."""

    source: str
    n: dict[str, int] = Field(description="sentences of each sense")
    within: dict[str, list[float]] = Field(description="between sentences of one sense")
    between: list[float] = Field(description="between sentences of different senses")
    a: dict[str, list[float]] = Field(description="A's word with the sentences of each sense")
    b: dict[str, list[float]]


class RankedHead(BaseModel):
    layer: int
    head: int
    divergence: float
    aligned: float
    a: str = Field(
        description="the word of A with the most attention in this head; attn_a is how much"
    )
    attn_a: float
    b: str
    attn_b: float


class CompareAnswer(BaseModel):
    a: SideOut
    b: SideOut
    alignment: list[tuple[int, int]] = Field(description="pairs of k_words of A and B")
    states: list[str] = Field(
        description="the hidden states compared: embedding, then layer 0 … layer L - 1, each after "
        "that layer; empty where there are none to compare",
        examples=[["embedding", "layer 0", "layer 1"]],
    )
    similarity: list[float] | None = Field(
        description="cosine of the word's hidden states, one of `states` each; null for two models"
    )
    references: References | None
    nearest_a: list[list[Near]] = Field(
        description="for each of `states`, the words nearest to A's"
    )
    nearest_b: list[list[Near]]
    divergence: list[list[float]] = Field(
        description="(L, H): Jensen-Shannon, in nats, over all words; one without a partner counts"
    )
    divergence_aligned: list[list[float]] = Field(
        description="(L, H): over aligned words alone, their shares made to sum to 1"
    )
    unaligned_a: list[list[float]] = Field(description="(L, H): attention to words without partner")
    unaligned_b: list[list[float]]
    ranked: list[RankedHead] = Field(description="heads by divergence, the largest first")
    layer: int
    head: int
    row_a: list[float] = Field(description="the word's attention to k_words of A, in that head")
    row_b: list[float]
    difference: list[list[float]] | None = Field(
        description="A minus B between aligned words, queries by keys; null across two sequences"
    )


@resource(router, "/compare", CompareRequest, CompareAnswer)
def compare(
    service: Service, request: CompareRequest, loaded_a: Loaded, loaded_b: Loaded
) -> Answer:
    """A word in two runs: its hidden states by layer, the heads whose attention differs most."""
    a = _half(service, request, "a", loaded_a)
    b = _half(service, request, "b", loaded_b)
    sides = a.side, b.side
    check_comparable(*sides, request.layer, request.head, request.align or ())
    rows = divergence(*sides, request.align)
    layer, head = most_different(rows, request.layer, request.head)
    is_self_attention = all(side.record.kind != "cross" for side in sides)
    both = difference(*sides, rows.pairs, layer, head) if is_self_attention else None
    fields = {
        "a": a.fields(),
        "b": b.fields(),
        "alignment": rows.pairs,
        **_states(service, request, a, b),
        "divergence": rows.every.tolist(),
        "divergence_aligned": rows.aligned.tolist(),
        "unaligned_a": rows.unaligned_a.tolist(),
        "unaligned_b": rows.unaligned_b.tolist(),
        "ranked": [head._asdict() for head in ranked(rows, *sides)],
        "layer": layer,
        "head": head,
        "row_a": rows.row_a[layer, head].tolist(),
        "row_b": rows.row_b[layer, head].tolist(),
        "difference": None if both is None else both.tolist(),
    }
    return Answer(fields, {})


class Half(NamedTuple):
    """One of the two runs: model, spec, run and words."""

    loaded: Loaded
    spec: Spec
    run: Run
    side: Side

    @property
    def sequence(self) -> str:
        """The sequence of the query axis."""
        return axes(self.side.record.kind, self.run.sequences)[0]

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
            "provenance": provenance(self.loaded).model_dump(),
        }


def word_fields(word: Word) -> dict[str, Any]:
    return {"text": word.text, "tokens": list(word.tokens), "special": word.special}


def _half(
    service: Service, request: CompareRequest, name: Literal["a", "b"], loaded: Loaded
) -> Half:
    spec = spec_of(getattr(request, name))
    field = "word_b" if name == "b" and request.word_b else "word"
    occurrence = request.occurrence_a if name == "a" else request.occurrence_b
    service.run(loaded, spec)  # with all attention: later requests for one head come from the cache
    run, record = service.record(loaded, spec, Selection(kind=request.kind))
    word = getattr(request, field)
    return Half(
        loaded, spec, run, side(run, record, word, occurrence, (field, f"occurrence_{name}"))
    )


def _states(service: Service, request: CompareRequest, a: Half, b: Half) -> dict[str, Any]:
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
    known = _references(service, request, a.loaded)
    others = [
        *other_words(a.side, a.text, streams[0]),
        *other_words(b.side, b.text, streams[1]),
        *known,
    ]
    return {
        "states": state_names(len(words[0]) - 1),
        "similarity": similarity(*words).tolist(),
        "references": senses(words[0], words[1], known)._asdict() if known else None,
        "nearest_a": [[word._asdict() for word in row] for row in nearest(words[0], others)],
        "nearest_b": [[word._asdict() for word in row] for row in nearest(words[1], others)],
    }


def _references(service: Service, request: CompareRequest, loaded: Loaded) -> list[WordState]:
    """The word in its reference sentences, if both texts are asked for the same word."""
    word, word_b = (folded(w or "") for w in (request.word, request.word_b))
    if word_b not in ("", word):
        return []
    return reference_words(loaded, word, partial(service.hidden, loaded))
