"""A word in two runs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from attention_atlas.app.api.common import PREFIX, Provenance, spec_of
from attention_atlas.app.api.halves import (
    Half,
    content_words,
    function_words,
    reference,
    states,
    usual_divergence,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.run import AnyPredictions
from attention_atlas.app.api.spec import (
    BANK,
    MONEY,
    PAIRS,
    ApiRequest,
    Index,
    JsonList,
    KindName,
    RunRequest,
    Text,
    WordText,
    at_most,
    from_json,
)
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.compare import (
    DifferingHead,
    Heads,
    check_comparable,
    difference,
    divergence,
    most_different,
    positional_heads,
    ranked,
    side,
)
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Selection
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field
from torch import Tensor

router = APIRouter(prefix=PREFIX, tags=["API"])


def paired(value: object) -> object:
    """Pairs as text: "0-0,2-1" -> ((0, 0), (2, 1))."""
    if isinstance(value, str):
        if not re.fullmatch(f"({PAIRS})?", value):
            raise ValueError(
                Message("not-an-alignment", "an alignment is pairs of word numbers: 0-0,2-1")
            )
        return tuple(tuple(map(int, pair.split("-"))) for pair in value.split(",") if pair)
    return value


Sentences = Annotated[tuple[Text, ...], JsonList(32)]
FewPairs = Annotated[tuple[tuple[Index, Index], ...], Field(max_length=2000)]
PairsText = Annotated[str, Field(pattern=f"^({PAIRS})?$")]
Pairs = Annotated[
    tuple[tuple[Index, Index], ...],
    Field(max_length=2000, fail_fast=True),
    at_most(2000),
    BeforeValidator(paired, json_schema_input_type=FewPairs | PairsText),
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

    first_sense: Sentences = Field(
        (), description="sentences with the word in one sense, in place of those that are shipped"
    )
    second_sense: Sentences = Field((), description="sentences with the word in another sense")

    content_words: bool = Field(
        False, description="whether only content words count: no function words, marks, specials"
    )
    function_word_list: Literal["en", "es"] | None = Field(
        None, description="whose function words those are; each model's own language if left out"
    )
    positional_last: bool = Field(
        False, description="whether heads that follow position are ranked after all others"
    )

    def models(self) -> tuple[str, ...]:
        return self.a.model, self.b.model

    @property
    def own_senses(self) -> dict[str, tuple[str, ...]]:
        """The sentences of the request, if it has some of both senses."""
        lists = {"first_sense": self.first_sense, "second_sense": self.second_sense}
        return lists if all(lists.values()) else {}


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
    predictions: AnyPredictions = Field(description="as /run answers them")
    provenance: Provenance


class Near(BaseModel):
    text: str
    sentence: str
    sense: str = Field(description="of a reference sentence; empty for a word of the two texts")
    cosine: float


class Verdict(BaseModel):
    """The sense whose reference sentences a word is nearer to."""

    sense: str = Field(description="nearer after the last layer")
    since: int = Field(description="from this one of `states` on, it is always this sense")
    margins: list[float] = Field(
        description="mean cosine with the first sense minus that with the second, by `states`"
    )


class References(BaseModel):
    """The word in sentences where its sense is known; mean cosines, one for each of `states`."""

    source: str
    n: dict[str, int] = Field(description="sentences of each sense")
    within: dict[str, list[float]] = Field(description="between sentences of one sense")
    between: list[float] = Field(description="between sentences of different senses")
    a: dict[str, list[float]] = Field(description="A's word with the sentences of each sense")
    b: dict[str, list[float]]
    verdict_a: Verdict
    verdict_b: Verdict


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
    positional: bool = Field(description="follows position, by the model's card or in both texts")
    baseline: float | None = Field(
        description="its mean divergence between two reference sentences of one sense"
    )


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
    positional: list[tuple[int, int]] = Field(description="layer and head of those that follow it")
    baseline: list[list[float]] | None = Field(
        description="(L, H): mean divergence between two reference sentences of one sense"
    )
    function_words: list[str] = Field(description="left out of the texts, with content_words")
    function_word_lists: list[str] = Field(
        description="their languages, en or es, with content_words. A model "
        "from elsewhere does not say its language: English is assumed"
    )
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
    counted = content_words(a, b) if request.content_words else None
    rows = divergence(*sides, request.align, counted)
    follow = positional_heads(loaded_a, a.side.record) & positional_heads(loaded_b, b.side.record)
    last = follow if request.positional_last else ()
    layer, head = most_different(rows, request.layer, request.head, last)
    known = reference(a, b, (request.word, request.word_b), request.own_senses)
    usual = usual_divergence(service, a, known, request.kind, request.content_words)
    is_self_attention = all(side.record.kind != "cross" for side in sides)
    both = difference(*sides, rows.pairs, layer, head) if is_self_attention else None
    fields = {
        "a": a.fields(),
        "b": b.fields(),
        "alignment": rows.pairs,
        **states(service, a, b, known),
        "divergence": rows.every.tolist(),
        "divergence_aligned": rows.aligned.tolist(),
        "unaligned_a": rows.unaligned_a.tolist(),
        "unaligned_b": rows.unaligned_b.tolist(),
        "ranked": [_ranked(head, follow, usual) for head in ranked(rows, *sides, last)],
        "positional": sorted(follow),
        "baseline": None if usual is None else usual.tolist(),
        "function_word_lists": sorted({a.language, b.language}) if request.content_words else [],
        "function_words": function_words(a, b) if request.content_words else [],
        "layer": layer,
        "head": head,
        "row_a": rows.row_a[layer, head].tolist(),
        "row_b": rows.row_b[layer, head].tolist(),
        "difference": None if both is None else both.tolist(),
    }
    return Answer(fields, {})


def _ranked(head: DifferingHead, follow: Heads, usual: Tensor | None) -> dict[str, Any]:
    place = head.layer, head.head
    return {
        **head._asdict(),
        "positional": place in follow,
        "baseline": None if usual is None else usual[place].item(),
    }


def _half(
    service: Service, request: CompareRequest, name: Literal["a", "b"], loaded: Loaded
) -> Half:
    spec = spec_of(getattr(request, name))
    field = "word_b" if name == "b" and request.word_b else "word"
    occurrence = request.occurrence_a if name == "a" else request.occurrence_b
    service.run(loaded, spec)  # with all attention: later requests for one head come from the cache
    run, record = service.record(loaded, spec, Selection(kind=request.kind))
    word = getattr(request, field)
    of_word = side(run, record, word, occurrence, (field, f"occurrence_{name}"))
    return Half(loaded, spec, run, of_word, request.function_word_list)
