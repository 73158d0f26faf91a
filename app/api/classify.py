"""What a head that tells classes apart says of a text, and the attention that it reads."""

from __future__ import annotations

from typing import Annotated, Any

from attention_atlas.app.api.common import (
    PREFIX,
    KindShape,
    Provenance,
    TokenOut,
    edits_of,
    kind_fields,
    labels,
    links,
    provenance,
)
from attention_atlas.app.api.models import ClassesOut, classes_fields
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.run import AnswerSpan, LabelOut, TokenLabels
from attention_atlas.app.api.spec import Edits, JsonList, RunRequest, Text, TextRequest, WordText
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.classify import Classified, classify, row_read
from attention_atlas.model.record import Selection
from attention_atlas.model.spec import Spec, check_heads
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])
MOST_CHOICES = 16
Choices = Annotated[tuple[Text, ...], JsonList(MOST_CHOICES)]


class ClassifyRequest(TextRequest):
    """A text, and the head of attention that is shown with its classes."""

    text_pair: Text | None = Field(
        None, description="the second text: BERT's next sentence, the passage of a question"
    )
    choices: Choices = Field((), description="multiple choice: the second texts to choose from")
    edits: Edits = Field((), description="changes inside the forward pass; JSON in a query string")
    label: WordText | None = Field(
        None, description="the label whose reading is shown, by its name; else the most probable"
    )
    position: int | None = Field(
        None, ge=0, description="of the token whose label that is, where each token has one"
    )
    layer: int | None = Field(None, ge=0, description="the last if left out")
    head: int | None = Field(None, ge=0, description="the mean of the layer's heads if left out")


class ClassifyAnswer(BaseModel):
    """Of labels, token_labels and answer the one that the head has."""

    model: str
    text: str
    text_pair: str | None = Field(description="of several choices the best")
    choices: list[str]
    choice: int | None = Field(description="the number of the best")
    classes: ClassesOut
    labels: list[LabelOut] = Field(description="of the text, the most probable first")
    token_labels: list[TokenLabels] = Field(description="of each token that is not special")
    answer: AnswerSpan | None
    tokens: list[TokenOut]
    label: str = Field(description="whose reading is shown; empty for an answer")
    position: int | None = Field(description="of the token whose label that is")
    logit: float = Field(description="of that label; of an answer its first and last token's sum")
    reads: list[int] = Field(description="tokens whose last hidden states that logit is read from")
    kind: str
    layer: int
    head: int | None
    attention: list[float] = Field(
        description="of each token, from those that are read: their mean, in that head"
    )
    kinds: list[KindShape]
    provenance: Provenance
    links: dict[str, str]


@resource(router, "/classify", ClassifyRequest, ClassifyAnswer)
def classes(service: Service, request: ClassifyRequest, loaded: Loaded) -> Answer:
    """Labels with their probabilities, and the attention of the tokens that the head reads."""
    spec = Spec(request.text, request.text_pair, edits=edits_of(request.edits))
    result = classify(loaded, spec, request.choices, label=request.label, position=request.position)
    kind = loaded.kinds[0]
    layer = loaded.shape(kind)[0] - 1 if request.layer is None else request.layer
    heads = None if request.head is None else (request.head,)
    check_heads(loaded, kind, (layer,), heads or ())
    _, record = service.record(
        loaded, result.spec, Selection(kind=kind, layers=(layer,), heads=heads)
    )
    run = {"model": loaded.name, "text": result.spec.text, "text_pair": result.spec.text_pair}
    fields = {
        **run,
        "choices": list(request.choices),
        "choice": result.choice,
        **_classes(result),
        "tokens": labels(result.tokens),
        "position": result.metric.position,
        "logit": result.logit,
        "reads": list(result.reads),
        "kind": kind,
        "layer": layer,
        "head": request.head,
        "attention": row_read(record.attn, result.reads).tolist(),
        "kinds": kind_fields(loaded, {"source": result.tokens}),
        "provenance": provenance(loaded).model_dump(),
        "links": links(RunRequest.model_validate({**run, "edits": request.edits})),
    }
    return Answer(fields, {})


def _classes(result: Classified) -> dict[str, Any]:
    """What the head says, as fields."""
    is_answer = result.classes.unit == "answer"
    return {
        "classes": classes_fields(result.classes),
        **{"labels": [], "token_labels": [], "answer": None, **result.predictions},
        "label": "" if is_answer else result.classes.names[result.metric.a],
    }
