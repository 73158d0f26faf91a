"""What experiments share: a clean and a corrupted run, and how their prediction is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from attention_atlas.app.api.common import spec_of
from attention_atlas.app.api.spec import (
    BANK,
    ApiRequest,
    Closed,
    Index,
    JsonList,
    RunRequest,
    Text,
    WordText,
    from_json,
)
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.class_logit import ClassLogit, labels_of
from attention_atlas.model.analysis.lab import LogitDifference, Metric, ReadText
from attention_atlas.model.analysis.lab_metrics import (
    Cosine,
    MetricKind,
    Probability,
    metric_by_name,
)
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Kind
from attention_atlas.model.zoo import Loaded
from pydantic import BaseModel, BeforeValidator, Field

BLANK = BANK.replace("bank", "[MASK]")
MOST_READ = 400_000  # tokens that an experiment reads in all its batches
References = Annotated[tuple[Text, ...], JsonList(64)]


class MetricSpec(Closed):
    """How the prediction is measured; what is left out is chosen from the clean run."""

    kind: MetricKind | None = Field(
        None,
        description="left out, class_logit for a head that was fine-tuned to tell labels apart, "
        "else logit_difference. class_logit: of a label; with `other`, less that of another. "
        "cosine: of the mean hidden states of the run's text and of `beside`; loss: the mean of "
        "-log p of the text's tokens after the first",
    )
    position: Index | None = Field(
        None,
        description="of the predicting token; else the first [MASK], or the last token; of a token "
        "that has a label, else the first",
    )
    answer: Index | WordText | None = Field(
        None,
        description="a token id, or a word, whose first token is meant; a label, by its number or "
        "name; else the best guess",
    )
    other: Index | WordText | None = Field(
        None, description="likewise; else the most probable token beside it"
    )
    beside: Text | None = Field(None, description="cosine: the second text")


class PairRequest(ApiRequest):
    """A run, for some experiments a second one, and the metric of both."""

    clean: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec",
        examples=[{"model": "bert", "text": BLANK}],
    )
    corrupted: Annotated[RunRequest, BeforeValidator(from_json)] | None = Field(
        None,
        description="another; a target that is left out is the clean run's",
    )
    metric: Annotated[MetricSpec, BeforeValidator(from_json)] = Field(
        MetricSpec(), description="how the prediction is measured"
    )

    def models(self) -> tuple[str, ...]:
        return (self.clean.model,)


def two_models(request: PairRequest) -> Message | None:
    """The reason to refuse a pair of runs of two models."""
    if request.corrupted is not None and request.corrupted.model != request.clean.model:
        return Message("two-models", "both runs must be of one model")
    return None


class MetricTokenOut(BaseModel):
    id: int
    text: str


class MetricOut(BaseModel):
    """The metric and its value in each run."""

    kind: str
    position: int | None = Field(description="null for loss, cosine and the label of a text")
    answer: MetricTokenOut | None
    other: MetricTokenOut | None
    clean: float
    corrupted: float | None


def texts_of(loaded: Loaded, request: PairRequest) -> tuple[ReadText, ReadText | None]:
    """Both texts; a corrupted run without a target has that of the clean one."""
    clean = lab.text_of(loaded, spec_of(request.clean))
    if request.corrupted is None:
        return clean, None
    spec = spec_of(request.corrupted)
    if "target" in clean.sequences and spec.target is None and not spec.target_ids:
        spec = replace(spec, target_ids=tuple(t.id for t in clean.sequences["target"][1:]))
    return clean, lab.text_of(loaded, spec)


def metric_of(loaded: Loaded, text: ReadText, wanted: MetricSpec) -> Metric:
    """The metric that a request asks for. Raises BadInput."""
    beside = None
    if wanted.kind == "cosine" and wanted.beside is not None:
        beside = lab.text_of(loaded, Spec(wanted.beside))
    usual: MetricKind = "logit_difference" if loaded.model.labels is None else "class_logit"
    return metric_by_name(
        text,
        wanted.kind or usual,
        position=wanted.position,
        answer=wanted.answer,
        other=wanted.other,
        beside=beside,
    )


def metric_fields(loaded: Loaded, metric: Metric, values: Sequence[float]) -> dict[str, Any]:
    """The metric, and its values in the clean and the corrupted run."""
    position = answer = other = None
    kind: MetricKind = "cosine" if isinstance(metric, Cosine) else "loss"
    if isinstance(metric, ClassLogit) and (known := labels_of(loaded)) is not None:
        names = known.names
        kind, position = "class_logit", metric.position
        answer = {"id": metric.a, "text": names[metric.a]}
        other = None if metric.b is None else {"id": metric.b, "text": names[metric.b]}
    if isinstance(metric, LogitDifference | Probability):
        kind = "probability" if isinstance(metric, Probability) else "logit_difference"
        position, answer = metric.position, _token(loaded, metric.a)
    if isinstance(metric, LogitDifference):
        other = _token(loaded, metric.b)
    return {
        "kind": kind,
        "position": position,
        "answer": answer,
        "other": other,
        "clean": values[0],
        "corrupted": values[1] if len(values) > 1 else None,
    }


def _token(loaded: Loaded, i: int) -> dict[str, Any]:
    return {"id": i, "text": loaded.tokenizer.readable(i)}


def query_axis(text: ReadText, kind: Kind) -> tuple[Any, ...]:
    """The tokens of the query axis."""
    return text.sequences["source" if kind == "encoder" else lab.predicted(text)]


def check_read(n_run: int, n_token: int, limit: int = MOST_READ) -> None:
    """Limit the tokens that are read in all runs of an experiment."""
    if n_run * n_token > limit:
        raise BadInput(
            "text",
            Message(
                "too-many-runs",
                "{n_run} runs of {n} tokens read {value} tokens; at most {limit} are read: take a "
                "shorter text",
                n_run=n_run,
                n=n_token,
                value=n_run * n_token,
                limit=limit,
            ),
        )
