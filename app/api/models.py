"""The models: what they are, their cards."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from attention_atlas.app.api.common import PREFIX, Measured
from attention_atlas.app.language import in_words
from attention_atlas.app.language_names import language_names
from attention_atlas.app.service import Service
from attention_atlas.model import zoo
from attention_atlas.model.analysis.class_logit import Classes, classes_of
from attention_atlas.model.analysis.roles import aligners
from attention_atlas.model.messages import Message
from attention_atlas.model.zoo import NOT_FOR, Loaded
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class LanguagesOut(BaseModel):
    """What a translator's tokenizer has languages for, by its codes."""

    source: list[str] = Field(description="empty if the source's is not a choice")
    target: list[str]
    default: dict[str, str | None] = Field(description="source, target: where none is chosen")
    names: dict[str, dict[str, str]] = Field(description="code -> its name in English and Chinese")


class Remark(BaseModel):
    """A sentence, and what it is made of: the template is in the catalogue of translations."""

    message: str = Field(description="in the language of the request")
    template: str
    values: dict[str, str]


class AlignerOut(BaseModel):
    """What aligns words best by one reading of cross-attention, on hand-made links."""

    reading: str = Field(description="input or output: the row of the step that has the word as it")
    layer: int
    head: int | None = Field(description="null is the mean of the layer's heads")
    score: float = Field(description="F1 of the links, 1 - alignment error rate")
    low: float
    high: float
    n: int = Field(description="pairs of sentences")


class ClassesOut(BaseModel):
    """What a head tells apart."""

    unit: Literal["text", "value", "pair", "token", "answer", "choice"] = Field(
        description="text: one label or several; value: a number; pair: whether the second text "
        "follows; token: a label of each; answer: where it stands; choice: which of some texts"
    )
    names: list[str] = Field(description="as config.json names them")
    several: bool = Field(description="whether a text may have several labels, or none")


class SnapshotOut(BaseModel):
    """A bundled model at a step of its training; opened when requested by its name."""

    name: str = Field(description="the model's and the tokens: gpt@2000000")
    tokens: int = Field(description="of training until then")
    steps: int
    held_out_loss: float = Field(description="nats a token")
    induction: float = Field(description="the highest induction score of a head; 0 if it has none")


class ModelSummary(BaseModel):
    name: str
    architecture: str = Field(description="the class name")
    family: str
    kinds: list[str]
    n_layer: int
    n_head: int
    n_kv_head: int = Field(description="heads of keys and values; fewer where queries share them")
    d_model: int
    d_head: int
    d_ff: int
    vocab_size: int
    n_ctx: int
    trained_length: int | None = Field(
        description="tokens of the longest text in its training, special tokens included; null if "
        "that is not known"
    )
    shapes: dict[str, tuple[int, int]] = Field(description="kind -> its layers and heads")
    positions: str
    n_parameters: int
    tasks: list[str]
    classes: ClassesOut | None = Field(description="what its head tells apart; null if it does not")
    mask: str | None = Field(description="how a blank is written, if it has a token for one")
    takes_pair: bool = Field(description="whether a second text may follow the first")
    languages: LanguagesOut | None = Field(description="to choose from; null if there are none")
    position_table: bool = Field(description="whether it adds position vectors to its input")
    lacks: list[str] = Field(description="of q, k, v, scores, edits: not available for this model")
    why: str = Field(description="why they are not available, in the language of the request")
    why_code: str = Field(description="the same as a word that stays; empty if nothing is missing")
    why_values: dict[str, str] = Field(description="the values in it")
    notes: list[Remark] = Field(description="what else there is to know of it")
    base: str | None = Field(description="the model that its adapter was merged into, to open")
    source: str = Field(description="bundled, hub, path, memory or record")
    device: str
    dtype: str = Field(description="the precision it is computed in")
    sha256: str
    snapshots: list[SnapshotOut] = Field(
        description="of this model in training, or of the one that it is a snapshot of"
    )
    metrics: dict[str, Measured]
    aligners: list[AlignerOut] = Field(
        description="best head by each reading of cross-attention that the card has measured"
    )


class ModelCard(ModelSummary):
    data: list[dict[str, str]] = Field(description="what it was trained on, with licences")
    not_for: str = Field(description="what it must not be used for")
    training: dict[str, Any]
    curve: list[dict[str, float]] = Field(description="loss by step and tokens")
    heads: list[dict[str, Any]] = Field(
        description="step, tokens, and by kind and metric each head's score then, (L, H)"
    )
    samples: list[dict[str, str]] = Field(
        description="what it writes after fixed prompts: prompt, greedy, sampled; unchosen"
    )
    parameter_shapes: dict[str, list[int]]


class Models(BaseModel):
    models: list[ModelSummary]
    ready_to_open: list[str] = Field(description="opened when requested by name")


@router.get("/models")
def models(request: Request) -> Models:
    """All models in memory, and those that are ready to open."""
    service: Service = request.app.state.service
    return Models(models=summaries(service), ready_to_open=service.library.ready_to_open)


NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {"description": "no model of that name"},
    422: {"description": "the name cannot be taken"},
    503: {"description": "it could not be loaded, or others are being opened"},
}


@router.get("/models/{model:path}", responses=NO_MODEL)
async def model_card(request: Request, model: str) -> ModelCard:
    """One model, and its card: data, licences, training curve, evaluation, parameter shapes."""
    service: Service = request.app.state.service
    await service.ready(model)
    with service.lent(model) as loaded:
        return card(loaded)


def summaries(service: Service) -> list[ModelSummary]:
    """The models in memory."""
    return [summary(loaded) for loaded in service.models.values()]


def summary(loaded: Loaded) -> ModelSummary:
    return ModelSummary.model_validate(_fields(loaded))


def card(loaded: Loaded) -> ModelCard:
    known = loaded.card
    return ModelCard(
        **_fields(loaded),
        data=known.data,
        training=known.training,
        not_for=NOT_FOR,
        curve=known.curve,
        heads=known.heads,
        samples=known.samples,
        parameter_shapes=loaded.parameter_shapes,
    )


def _fields(loaded: Loaded) -> dict[str, Any]:
    config = loaded.config
    return {
        "name": loaded.name,
        "architecture": loaded.card.architecture,
        "family": loaded.family,
        "kinds": list(loaded.kinds),
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_kv_head": loaded.n_kv_head,
        "d_model": config.d_model,
        "d_head": config.d_head,
        "d_ff": config.d_ff,
        "vocab_size": config.vocab_size,
        "n_ctx": config.n_ctx,
        "trained_length": loaded.card.trained_length,
        "shapes": {kind: loaded.shape(kind) for kind in loaded.kinds},
        "positions": loaded.model.positions,
        "n_parameters": loaded.n_parameters,
        "tasks": list(loaded.tasks),
        "classes": classes_fields(classes_of(loaded)),
        "mask": loaded.mask,
        "takes_pair": loaded.takes_pair,
        "languages": _languages(loaded),
        "position_table": loaded.position_table,
        "lacks": list(loaded.lacks),
        **_why(loaded.why),
        "notes": [
            Remark(
                message=in_words(Message("note", note.template, **note.values)),
                template=note.template,
                values=dict(note.values),
            )
            for note in loaded.notes
        ],
        "base": None if loaded.base is None else loaded.base[0],
        "source": loaded.source,
        "device": str(loaded.device),
        "dtype": loaded.dtype,
        "sha256": loaded.card.sha256,
        "snapshots": _snapshots(loaded),
        "metrics": loaded.card.metrics,
        "aligners": [asdict(each) for each in aligners(loaded.card.metrics, loaded.family)],
    }


def classes_fields(classes: Classes | None) -> dict[str, Any] | None:
    """A ClassesOut."""
    return None if classes is None else {**classes._asdict(), "names": list(classes.names)}


def _snapshots(loaded: Loaded) -> list[SnapshotOut]:
    if loaded.source != "bundled":
        return []
    return [
        SnapshotOut(
            name=name,
            tokens=kept.tokens,
            steps=kept.steps,
            held_out_loss=kept.held_out_loss["stored"],
            induction=kept.induction["stored"],
        )
        for name, kept in zoo.snapshots(loaded.name.partition("@")[0]).items()
    ]


def _why(why: str) -> dict[str, Any]:
    """Why parts of a model are not available: words, code and values."""
    code, values = (why.code, why.values) if isinstance(why, Message) else ("", {})
    shown = {name: str(value) for name, value in values.items()}
    return {"why": in_words(why), "why_code": code, "why_values": shown}


def _languages(loaded: Loaded) -> dict[str, Any] | None:
    languages = loaded.tokenizer.languages
    if not languages.target:
        return None
    codes = sorted({*languages.source, *languages.target})
    return {
        "source": list(languages.source),
        "target": list(languages.target),
        "default": languages.default._asdict(),
        "names": language_names(codes),
    }
