"""A word in two runs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import torch
from attention_atlas.app import errors
from attention_atlas.app.api.common import PREFIX, Provenance, input_fields
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import (
    BANK,
    MONEY,
    Asked,
    Index,
    KindName,
    RunRequest,
    Word,
    from_json,
)
from attention_atlas.app.service import Service, refusing
from attention_atlas.app.wire import Answer
from attention_atlas.model import words
from attention_atlas.model.analysis.compare import (
    Divergence,
    Side,
    difference,
    divergence,
    pieces,
    side,
    similarity,
    word_states,
)
from attention_atlas.model.analysis.references import REFERENCES, SOURCE
from attention_atlas.model.record import Selection, axes
from attention_atlas.model.run import tokenize
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field
from torch import Tensor

router = APIRouter(prefix=PREFIX, tags=["API"])


def paired(value: object) -> object:
    """Pairs as text: "0-0,2-1" -> ((0, 0), (2, 1))."""
    if isinstance(value, str):
        if not re.fullmatch(r"([0-9]{1,4}-[0-9]{1,4}(,[0-9]{1,4}-[0-9]{1,4})*)?", value):
            raise ValueError("an alignment is pairs of word numbers: 0-0,2-1")
        return tuple(tuple(map(int, pair.split("-"))) for pair in value.split(",") if pair)
    return value


Pairs = Annotated[tuple[tuple[Index, Index], ...], Field(max_length=2000), BeforeValidator(paired)]


class CompareRequest(Asked):
    """Two run specs and a word; in a query string the specs are JSON."""

    a: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec", examples=[{"model": "bert", "text": BANK}]
    )
    b: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="another", examples=[{"model": "bert", "text": MONEY}]
    )
    word: Word = Field(description="the word looked at", examples=["bank"])
    word_b: Word | None = Field(None, description="in B, if it is another")
    occurrence_a: int = Field(0, ge=0, description="which one, if A has the word several times")
    occurrence_b: int = Field(0, ge=0, description="which one in B")
    kind: KindName | None = Field(None, description="each family's first if left out")
    layer: int | None = Field(None, ge=0, description="the head whose rows are given; else the")
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
    """The word in sentences where its sense is known; mean cosines, layer by layer."""

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
    a: str = Field(description="the word that A looks at most there, and how much")
    attn_a: float
    b: str
    attn_b: float


class CompareAnswer(BaseModel):
    a: SideOut
    b: SideOut
    alignment: list[tuple[int, int]] = Field(description="pairs of k_words of A and B")
    similarity: list[float] | None = Field(
        description="cosine of the word's hidden states, from the embedding on; null for two models"
    )
    references: References | None
    nearest_a: list[list[Near]] = Field(description="for each layer, the nearest words to A's")
    nearest_b: list[list[Near]]
    divergence: list[list[float]] = Field(
        description="(L, H): Jensen-Shannon, in nats, over all words; one without a partner counts"
    )
    divergence_aligned: list[list[float]] = Field(
        description="(L, H): over aligned words alone, their shares made to sum to 1"
    )
    unaligned_a: list[list[float]] = Field(description="(L, H): attention to words without partner")
    unaligned_b: list[list[float]]
    ranked: list[RankedHead] = Field(description="the heads that differ most first")
    layer: int
    head: int
    row_a: list[float] = Field(description="the word's attention to k_words of A, in that head")
    row_b: list[float]
    difference: list[list[float]] | None = Field(
        description="A minus B between aligned words, queries by keys; null across two sequences"
    )


TOP = 12  # heads named
NEAREST = 4  # words named in each layer


@resource(router, "/compare", CompareRequest, CompareAnswer)
def compare(service: Service, asked: CompareRequest) -> Answer:
    """A word in two runs: its hidden states by layer, the heads in which it looks elsewhere."""
    return Answer(compare_answer(service, asked).model_dump(), {})


def compare_answer(service: Service, asked: CompareRequest) -> CompareAnswer:
    """A word in two runs: what /compare answers."""
    a = _side(service, asked, "a")
    b = _side(service, asked, "b")
    _check(asked, a, b)
    found = divergence(a, b, asked.align)
    layer, head = _place(asked, found)
    own = a.record.kind != "cross" and b.record.kind != "cross"
    both = difference(a, b, found.pairs, layer, head) if own else None
    return CompareAnswer(
        a=_side_out(service, asked.a, a),
        b=_side_out(service, asked.b, b),
        alignment=found.pairs,
        **_states(service, asked, a, b),
        divergence=found.every.tolist(),
        divergence_aligned=found.aligned.tolist(),
        unaligned_a=found.unaligned_a.tolist(),
        unaligned_b=found.unaligned_b.tolist(),
        ranked=_ranked(found, a, b),
        layer=layer,
        head=head,
        row_a=found.row_a[layer, head].tolist(),
        row_b=found.row_b[layer, head].tolist(),
        difference=None if both is None else both.tolist(),
    )


def _side(service: Service, asked: CompareRequest, name: Literal["a", "b"]) -> Side:
    spec: RunRequest = getattr(asked, name)
    word = asked.word_b if name == "b" and asked.word_b else asked.word
    occurrence = asked.occurrence_a if name == "a" else asked.occurrence_b
    field = "word_b" if name == "b" and asked.word_b else "word"
    service.run(spec)
    run, record = service.record(spec, Selection(kind=asked.kind))
    with refusing():
        return side(run, record, word, occurrence, (field, f"occurrence_{name}"))


def _check(asked: CompareRequest, a: Side, b: Side) -> None:
    """The head and the pairs asked for are there."""
    L, H = (min(x.record.attn.size(axis) for x in (a, b)) for axis in (0, 1))
    for field, value, n in (("layer", asked.layer, L), ("head", asked.head, H)):
        if value is not None and value >= n:
            message = f"{field} {value} does not exist: both have {field}s 0 to {n - 1}"
            raise errors.Invalid(message, field)
    pairs = asked.align or ()
    for name, index, n in (("A", 0, len(a.k)), ("B", 1, len(b.k))):
        used = [pair[index] for pair in pairs]
        if any(i >= n for i in used):
            raise errors.Invalid(f"{name} has words 0 to {n - 1}", "align")
        if len(set(used)) < len(used):
            raise errors.Invalid(f"a word of {name} is in more than one pair", "align")


def _place(asked: CompareRequest, found: Divergence) -> tuple[int, int]:
    """The head asked for, else the one that differs most; of those of its layer, if that is."""
    scores = found.every.clone()
    if asked.layer is not None:
        scores[[i for i in range(scores.size(0)) if i != asked.layer]] = -1
    if asked.head is not None:
        scores[:, [i for i in range(scores.size(1)) if i != asked.head]] = -1
    best = int(scores.argmax())
    return best // scores.size(1), best % scores.size(1)


def _side_out(service: Service, spec: RunRequest, found: Side) -> SideOut:
    return SideOut(
        **input_fields(spec, service.run(spec)),
        kind=found.record.kind,
        q_words=[_word_out(word) for word in found.q],
        k_words=[_word_out(word) for word in found.k],
        word=found.word,
        occurrence=found.occurrence,
        n_occurrence=found.n_occurrence,
        provenance=service.provenance(spec.model),
    )


def _word_out(word: words.Word) -> WordOut:
    return WordOut(text=word.text, tokens=list(word.tokens), special=word.special)


def _ranked(found: Divergence, a: Side, b: Side) -> list[RankedHead]:
    H = found.every.size(1)
    order = found.every.flatten().argsort(descending=True)[:TOP].tolist()
    heads = []
    for layer, head in ((i // H, i % H) for i in order):
        row_a, row_b = found.row_a[layer, head], found.row_b[layer, head]
        heads.append(
            RankedHead(
                layer=layer,
                head=head,
                divergence=found.every[layer, head].item(),
                aligned=found.aligned[layer, head].item(),
                a=a.k[int(row_a.argmax())].text,
                attn_a=row_a.max().item(),
                b=b.k[int(row_b.argmax())].text,
                attn_b=row_b.max().item(),
            )
        )
    return heads


def _states(service: Service, asked: CompareRequest, a: Side, b: Side) -> dict[str, Any]:
    """Similarity, references and neighbours; two models' states are in two spaces."""
    nothing: dict[str, Any] = {"similarity": None, "references": None}
    nothing |= {"nearest_a": [], "nearest_b": []}
    if asked.a.model != asked.b.model:
        return nothing
    try:
        states = [_stream(service, asked.a, a), _stream(service, asked.b, b)]
    except Exception as error:
        if getattr(error, "field", "") != "model":
            raise
        return nothing  # the recurrent model has no layers
    both = [word_states(stream, pieces(x)) for stream, x in zip(states, (a, b), strict=True)]
    known = _known(service, asked, a)
    others = [
        *_others(service, asked.a, a, states[0]),
        *_others(service, asked.b, b, states[1]),
        *known,
    ]
    return {
        "similarity": similarity(*both).tolist(),
        "references": _references(both, known) if known else None,
        "nearest_a": _nearest(both[0], others),
        "nearest_b": _nearest(both[1], others),
    }


Known = tuple[str, str, str, Tensor]  # word, sentence, sense, states (L + 1, D)


def _stream(service: Service, spec: RunRequest, found: Side) -> Tensor:
    sequence = axes(found.record.kind, service.run(spec).sequences)[0]
    return service.hidden(spec, sequence)


def _others(service: Service, spec: RunRequest, found: Side, stream: Tensor) -> list[Known]:
    """The other words of a text."""
    run = service.run(spec)
    is_target = axes(found.record.kind, run.sequences)[0] == "target"
    text = run.target if is_target and run.target else run.text
    return [
        (word.text, text, "", word_states(stream, word.tokens))
        for i, word in enumerate(found.q)
        if i != found.word and word.number is not None and any(map(str.isalnum, word.text))
    ]


def _known(service: Service, asked: CompareRequest, a: Side) -> list[Known]:
    """The word in the reference sentences, if it has some, both texts have the same word, and the
    model reads English."""
    model = asked.a.model
    word, word_b = (words.folded(w or "") for w in (asked.word, asked.word_b))
    with service.lent(model) as loaded:
        english = loaded.family in ("encoder", "decoder")
    senses = REFERENCES.get(word, {}) if english and word_b in ("", word) else {}
    found = []
    for sense, sentences in senses.items():
        for text in sentences:
            spec = RunRequest(model=model, text=text)
            with service.lent(model) as loaded:
                read = words.words_of(tokenize(loaded, text), [text])
            for place in words.occurrences(read, word)[:1]:  # a slow tokenizer may lose its place
                states = word_states(service.hidden(spec), read[place].tokens)
                found.append((word, text, sense, states))
    known = {sense for _, _, sense, _ in found}
    return found if known == senses.keys() else []


def _references(both: list[Tensor], known: list[Known]) -> References:
    senses = list(dict.fromkeys(sense for _, _, sense, _ in known))
    of = {sense: torch.stack([x for _, _, name, x in known if name == sense]) for sense in senses}
    first, second = (of[sense] for sense in senses[:2])
    return References(
        source=SOURCE,
        n={sense: len(states) for sense, states in of.items()},
        within={sense: _within(states) for sense, states in of.items()},
        between=similarity(first[:, None], second[None]).mean((0, 1)).tolist(),
        a={sense: similarity(both[0], states).mean(0).tolist() for sense, states in of.items()},
        b={sense: similarity(both[1], states).mean(0).tolist() for sense, states in of.items()},
    )


def _within(states: Tensor) -> list[float]:
    """The mean cosine of two different sentences of one sense: (n, L + 1, D) -> L + 1 numbers."""
    cosines = similarity(states[:, None], states[None])  # (n, n, L + 1)
    n = len(states)
    mean: list[float] = ((cosines.sum((0, 1)) - n) / (n * (n - 1))).tolist()
    return mean


def _nearest(word: Tensor, others: list[Known]) -> list[list[Near]]:
    """For each layer the words whose hidden states are nearest."""
    if not others:
        return []
    cosines = similarity(word, torch.stack([x for *_, x in others]))  # (n, L + 1)
    best = cosines.topk(min(NEAREST, len(others)), 0).indices.T.tolist()
    return [
        [
            Near(
                text=others[i][0],
                sentence=others[i][1],
                sense=others[i][2],
                cosine=cosines[i, layer].item(),
            )
            for i in row
        ]
        for layer, row in enumerate(best)
    ]
