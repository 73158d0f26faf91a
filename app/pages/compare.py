"""The Compare page: two runs beside each other."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from attention_atlas.app import errors
from attention_atlas.app.api.compare import CompareAnswer, CompareRequest, compare
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.api.spec import LONGEST_WORD, KindName, texts_in
from attention_atlas.app.examples import catalogue
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    PageQuery,
    answered,
    examples_for,
    numbers,
    opened,
    page,
    placed,
)
from attention_atlas.app.pages.stand_in import SIDES
from attention_atlas.app.service import Service, refusing
from attention_atlas.model.analysis.function_words import FUNCTION_WORDS
from attention_atlas.model.messages import Message
from attention_atlas.model.words import folded, word_spans
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


Lock = int | Literal["none"] | None
LOCK = "the locked token, on the side it is of; left out, the compared word"


class ComparePage(Content):
    models: list[ModelSummary]
    model: str
    text: str
    model_b: str
    text_b: str
    word: str
    word_b: str | None
    chosen_word: bool = Field(False, description="no word was asked for: the page took one")
    first_sense: str = Field("", description="own sentences of one sense, one a line")
    second_sense: str = Field("", description="own sentences of another")
    off: str = Field(description="a head of B that is switched off: layer.head")
    content: str = Field("", description="1 where content words alone count; en, es: by that list")
    kind: str
    layer: int | None = Field(None, description="of the head shown")
    head: int | None = None
    query: Lock = Field(None, description=f"of A: {LOCK}")
    side: str = "query"
    query_b: Lock = Field(None, description=f"of B: {LOCK}")
    side_b: str = "query"
    comparison: CompareAnswer | None


KINDS: tuple[str, ...] = get_args(KindName)
ALIGN = re.compile(r"^[0-9]{1,4}-[0-9]{1,4}(?:,[0-9]{1,4}-[0-9]{1,4})*$")


class CompareQuery(PageQuery):
    text: str | None = None
    model_b: str = ""
    text_b: str | None = None
    word: str = ""
    word_b: str = ""
    first_sense: str = ""
    second_sense: str = ""
    off: str = ""
    content: str = ""
    kind: str = ""
    layer: str = ""
    head: str = ""
    occurrence_a: str = ""
    occurrence_b: str = ""
    align: str = ""
    query: str = ""
    side: str = ""
    query_b: str = ""
    side_b: str = ""


@page("/compare", "compare.html", ComparePage, router)
async def compare_page(request: Request, query: Annotated[CompareQuery, Query()]) -> ComparePage:
    """A word in two runs, layer by layer and head by head; missing fields are an example's."""
    service: Service = request.app.state.service
    ignored = await opened(service, query.model, query.model_b)
    models = summaries(service)
    examples = examples_for(models, "compare")
    query, example = placed(query, examples, ("text", "text_b", "word", "model_b"))
    choice = Choice(query, ignored)
    typed = _typed(query, catalogue.stored("compare")[0].inputs)
    chosen_word = not typed["word"]
    if chosen_word:
        typed.update(word_pair(typed["text"], typed["text_b"]))
    both = [model for model in models if model.name in (typed["model"], typed["model_b"])]
    chosen = _chosen(choice, both)
    heads = heads_of(model for model in both if model.name == typed["model_b"])
    typed["off"] = choice.among("off", ["", *heads])
    fields = {
        **typed,
        "chosen_word": chosen_word,
        "models": models,
        "examples": examples,
        "example": example,
        "kind": chosen["kind"],
        "content": chosen["content"],
        "ignored": choice.ignored,
        "comparison": None,
    }
    compared = service.compute(lambda: _compared(service, typed, chosen, choice))
    return await answered(ComparePage, fields, compared)


def _typed(query: CompareQuery, first: Mapping[str, str]) -> dict[str, Any]:
    """The two texts, models and words of the address; missing fields are an example's."""
    model = query.model or first["model"]
    return {
        "model": model,
        "model_b": query.model_b or model,
        "text": first["text"] if query.text is None else query.text,
        "text_b": first["text_b"] if query.text_b is None else query.text_b,
        "word": query.word or (first["word"] if query.text is None else ""),
        "word_b": query.word_b or None,
        "first_sense": query.first_sense,
        "second_sense": query.second_sense,
    }


def _words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


def _comparable(text: str) -> list[str]:
    words = [word for word in _words(text) if word[0].isalnum()]
    return [word for word in words if len(word) <= LONGEST_WORD]


def word_pair(text: str, text_b: str) -> dict[str, str | None]:
    """The longest word that both texts have; else the longest of each. Empty where none is."""
    a, b = _comparable(text), _comparable(text_b)
    b_folded = {folded(word) for word in b}
    shared = [word for word in a if folded(word) in b_folded]
    word = max(shared or a, key=len, default="")
    return {"word": word, "word_b": None if shared else max(b, key=len, default=None)}


def check_has_word(text: str, name: str) -> None:
    """Raises Invalid, which says why, for a text without a word that can be compared."""
    if _comparable(text):
        return
    longest = max((word for word in _words(text) if word[0].isalnum()), key=len, default="")
    if not longest:
        raise errors.Invalid(Message("no-word", "text {name} has no word to compare", name=name))
    raise errors.Invalid(
        Message(
            "too-long",
            "text {name} has no word to compare: “{word}…” has {n} characters, of at most {limit}",
            name=name,
            word=longest[:20],
            n=len(longest),
            limit=LONGEST_WORD,
        )
    )


def _chosen(choice: Choice, models: Sequence[ModelSummary]) -> dict[str, str]:
    """The head and the words that the address names, as far as these models have them."""
    n_layer = min((model.n_layer for model in models), default=0)
    n_head = min((model.n_head for model in models), default=0)
    kinds = [kind for kind in KINDS if all(kind in model.kinds for model in models)]
    return {
        "kind": choice.among("kind", ["", *kinds]),
        "layer": choice.among("layer", ["", *numbers(n_layer)]),
        "head": choice.among("head", ["", *numbers(n_head)]),
        "content": choice.among("content", ["", "1", *FUNCTION_WORDS]),
        "align": choice.among("align", ["", *ALIGN.findall(choice.sent("align"))]),
        "occurrence_a": choice.among("occurrence_a", ["", *numbers(1000)]),
        "occurrence_b": choice.among("occurrence_b", ["", *numbers(1000)]),
    }


def _compared(
    service: Service, typed: dict[str, Any], chosen: dict[str, str], choice: Choice
) -> dict[str, Any]:
    """The comparison; what of the address these texts do not have is ignored, and named."""
    if not choice.sent("word"):
        check_has_word(typed["text"], "A")
        check_has_word(typed["text_b"], "B")
    while True:
        request = CompareRequest.model_validate(request_of(typed, chosen))
        service.check_lengths(texts_in(request))
        models = [service.loaded(name) for name in request.models()]
        try:
            with refusing():
                fields = compare(service, request, *models).fields
            locks = _lock(choice, fields["a"], "query", "side")
            locks |= _lock(choice, fields["b"], "query_b", "side_b")
            kind = fields["a"]["kind"]
            head = {name: fields[name] for name in ("layer", "head")}
            shown = {**locks, **head, "comparison": fields, "kind": kind}
            return {**shown, "ignored": choice.ignored}
        except errors.Invalid as error:
            field = error.field or ""
            if not chosen.get(field):
                raise
            choice.ignore(field, chosen[field], error.message)
            chosen[field] = ""


def _lock(choice: Choice, run: dict[str, Any], query: str, side: str) -> dict[str, str | None]:
    """The token of a run that the address locks, if the text has it."""
    axis = choice.among(side, SIDES)
    words = run["q_words" if axis == "query" else "k_words"]
    n_token = 1 + max(i for word in words for i in word["tokens"])
    is_none = choice.sent(query) == "none"
    token = "none" if is_none else choice.among(query, ["", *numbers(n_token)]) or None
    return {query: token, side: axis}


def lines(text: str) -> list[str]:
    """One sentence a line, as in pages/compare.js."""
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def heads_of(models: Iterable[ModelSummary]) -> list[str]:
    """Every head of a model as an address has it: layer.head"""
    return [
        f"{layer}.{head}"
        for model in models
        for layer in range(model.n_layer)
        for head in range(model.n_head)
    ]


def request_of(typed: dict[str, Any], chosen: dict[str, str]) -> dict[str, Any]:
    """What the page's address asks /compare for."""
    b: dict[str, Any] = {"model": typed["model_b"], "text": typed["text_b"]}
    if typed["off"]:
        layer, head = map(int, typed["off"].split("."))
        b["edits"] = [{"op": "ablate", "layer": layer, "head": head}]
    return {
        "a": {"model": typed["model"], "text": typed["text"]},
        "b": b,
        "word": typed["word"],
        "word_b": typed["word_b"],
        "first_sense": lines(typed["first_sense"]),
        "second_sense": lines(typed["second_sense"]),
        "content_words": chosen["content"] != "",
        "function_word_list": chosen["content"] if chosen["content"] in FUNCTION_WORDS else None,
        "positional_last": True,
        **{name: value for name, value in chosen.items() if value and name != "content"},
    }
