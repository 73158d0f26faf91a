"""Experiments: a stack of interventions in a run, each alone and all at once."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from attention_atlas.app.api.common import (
    PREFIX,
    GuessOut,
    Provenance,
    TokenOut,
    labels,
    links,
    provenance,
)
from attention_atlas.app.api.experiment import (
    MetricOut,
    PairRequest,
    References,
    check_read,
    metric_fields,
    metric_of,
    texts_of,
    two_models,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import LONGEST_ROW, Closed, Index, JsonList, KindName, at_most
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import interventions as lab
from attention_atlas.model.analysis.interventions import (
    Bench,
    Intervention,
    InterventionHow,
    Outcome,
)
from attention_atlas.model.analysis.lab import Metric, Part, ReadText, text_of, value_of
from attention_atlas.model.analysis.lab_metrics import top_candidates
from attention_atlas.model.spec import Spec
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field, Strict, model_validator

router = APIRouter(prefix=PREFIX, tags=["API"])
MOST_INTERVENTIONS = 32
MOST_READ = 40_000  # tokens in all runs
MOST_HEADS = 16  # whose ablations are compared
SAME_METRIC = 1e-6  # between the runs: then there is no way whose share an effect is


class InterventionSpec(Closed):
    """What is done to a head; `kind`, `layer`, `head`, `query` left out mean all."""

    how: InterventionHow = Field(
        description="what takes the place of a head's output z, or of an MLP's: zero, mean (over "
        "the reference texts), mean_positions (over the text's own), resample and noise (the "
        "corrupted run's), denoise (in the corrupted run, the clean run's); block, set, scale "
        "change a head's attention"
    )
    kind: KindName | None = None
    layer: Index | None = None
    head: Index | None = None
    query: Index | None = Field(None, description="position of the query token")
    key: Index | None = Field(
        None, description="block: position of the key token; set: the key that gets all attention"
    )
    row: Annotated[
        tuple[Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)], ...],
        Field(max_length=LONGEST_ROW, fail_fast=True),
        at_most(LONGEST_ROW),
    ] = Field(
        (),
        description="set: the query's new attention, normalised; without it and without key, "
        "the same for every key",
    )
    part: Part = Field("heads", description="mlp: what the layer's MLP adds, in place of heads")
    by: float = Field(1.0, allow_inf_nan=False, description="scale: what scores are multiplied by")


class HeadPlace(Closed):
    """A head."""

    kind: KindName | None = Field(None, description="the model's first if left out")
    layer: Index
    head: Index


Interventions = Annotated[tuple[InterventionSpec, ...], JsonList(MOST_INTERVENTIONS)]
HeadPlaces = Annotated[tuple[HeadPlace, ...], JsonList(MOST_HEADS)]


class EffectsRequest(PairRequest):
    """A run, for patches a second one, and a stack of interventions."""

    interventions: Interventions = Field((), description="in their order")
    ablations: HeadPlaces = Field(
        (), description="heads whose ablations to zero, to a mean and by resampling are compared"
    )
    reference: References = Field(
        (), description="for mean: the texts over whose positions the mean is taken"
    )

    @model_validator(mode="after")
    def _of_one_model(self) -> EffectsRequest:
        if (wrong := two_models(self)) is not None:
            raise ValueError(wrong)
        return self


class EffectOut(BaseModel):
    """The metric after an intervention."""

    value: float
    change: float = Field(description="from the metric of the run that was changed")
    share: float | None = Field(
        description="of the way to the other run's metric; null without one, or if both are equal"
    )


class InterventionOut(EffectOut):
    how: str
    kind: str | None
    layer: int | None
    head: int | None
    query: int | None
    key: int | None
    part: str


class AblationsOut(BaseModel):
    """Changes of the clean run's metric by a head's ablations."""

    kind: str
    layer: int
    head: int
    zero: float
    mean: float | None = Field(description="over the reference texts; null without any")
    mean_positions: float
    resample: float | None = Field(description="null without a corrupted run")
    disagree: bool = Field(
        description="zero, mean (without reference texts mean_positions) and resample differ in "
        "sign, or in size by more than a factor of three"
    )


class PartnersOut(BaseModel):
    """Which tokens of the two runs correspond."""

    sequence: str
    pairs: list[tuple[int, int]] = Field(description="positions in the clean and corrupted run")
    alone: list[int] = Field(description="positions of the clean run without a partner")
    corrupted_alone: list[int]


class CandidatesOut(BaseModel):
    """The most probable tokens where the metric is taken; none without a prediction."""

    clean: list[GuessOut]
    corrupted: list[GuessOut]
    joint: list[GuessOut] = Field(description="after all interventions")


class EffectsAnswer(BaseModel):
    """What interventions do to the metric, each alone and all at once."""

    model: str
    run: str = Field(description="clean or corrupted: the one that was changed")
    metric: MetricOut
    sequences: dict[str, list[TokenOut]] = Field(description="of the clean run")
    corrupted_sequences: dict[str, list[TokenOut]]
    partners: list[PartnersOut]
    interventions: list[InterventionOut]
    joint: EffectOut
    sum: float = Field(description="of the changes of the single interventions")
    candidates: CandidatesOut
    ablations: list[AblationsOut]
    n_reference: int = Field(description="tokens of the reference texts; else 0")
    provenance: Provenance
    links: dict[str, str]


class Experiment(NamedTuple):
    """The runs, the metric and its values."""

    bench: Bench
    metric: Metric
    values: list[float]  # in the clean run, and in the corrupted one
    into_corrupted: bool
    n_reference: int

    @property
    def text(self) -> ReadText:
        """The run that is changed."""
        corrupted = self.bench.corrupted
        return corrupted if self.into_corrupted and corrupted is not None else self.bench.clean

    def after(self, stack: list[Intervention]) -> Outcome:
        edits = [edit for it in stack for edit in lab.edits_of(self.bench, it, self.text)]
        return lab.outcome(self.text, self.metric, edits)

    def fields(self, value: float) -> dict[str, float | None]:
        """An EffectOut."""
        start, *rest = reversed(self.values) if self.into_corrupted else self.values
        way = rest[0] - start if rest else 0.0
        change = value - start
        return {
            "value": value,
            "change": change,
            "share": change / way if abs(way) >= SAME_METRIC else None,
        }


@resource(router, "/lab/effects", EffectsRequest, EffectsAnswer)
def effects(service: Service, request: EffectsRequest, loaded: Loaded) -> Answer:
    """Change a run by a stack of interventions, each alone and all at once: the prediction."""
    stack = [Intervention(**spec.model_dump()) for spec in request.interventions]
    it = prepared(loaded, request, stack)
    single = [it.fields(it.after([one]).value) for one in stack]
    joint = it.after(stack)
    clean, corrupted = it.bench.clean, it.bench.corrupted
    fields = {
        "model": loaded.name,
        "run": "corrupted" if it.into_corrupted else "clean",
        "metric": metric_fields(loaded, it.metric, it.values),
        "sequences": _sequences(clean),
        "corrupted_sequences": _sequences(corrupted),
        "partners": partners(it.bench),
        "interventions": [
            spec.model_dump(exclude={"row", "by"}) | effect
            for spec, effect in zip(request.interventions, single, strict=True)
        ],
        "joint": it.fields(joint.value),
        "sum": sum(effect["change"] or 0.0 for effect in single),
        "candidates": {
            "clean": top_candidates(loaded, clean.x, it.metric),
            "corrupted": top_candidates(loaded, corrupted.x, it.metric) if corrupted else [],
            "joint": top_candidates(loaded, joint.x, it.metric),
        },
        "ablations": [ablations(loaded, it, place) for place in request.ablations],
        "n_reference": it.n_reference,
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})


def prepared(loaded: Loaded, request: EffectsRequest, stack: list[Intervention]) -> Experiment:
    """The texts as read, and the metric. Raises BadInput."""
    into_corrupted = lab.is_into_corrupted(stack)
    clean, corrupted = texts_of(loaded, request)
    n_run = len(stack) + 1 + 4 * len(request.ablations)
    check_read(n_run, max(clean.n_token, corrupted.n_token if corrupted else 0), MOST_READ)
    metric = metric_of(loaded, clean, request.metric)
    references = [text_of(loaded, Spec(text)) for text in request.reference]
    bench = lab.bench_of(clean, corrupted, references)
    texts = [text for text in (clean, corrupted) if text is not None]
    values = [value_of(text, metric) for text in texts]
    n_reference = sum(text.n_token for text in references)
    it = Experiment(bench, metric, values, into_corrupted, n_reference)
    for one in stack:
        lab.check(bench, one, it.text)
    return it


def ablations(loaded: Loaded, it: Experiment, place: HeadPlace) -> dict[str, Any]:
    """A head's ablations in the clean run, side by side."""
    it = it._replace(into_corrupted=False)
    kind = place.kind or loaded.kinds[0]
    changes: dict[str, float | None] = {}
    hows: dict[str, tuple[InterventionHow, bool]] = {
        "zero": ("zero", True),
        "mean": ("mean", bool(it.bench.means)),
        "mean_positions": ("mean_positions", True),
        "resample": ("resample", it.bench.corrupted is not None),
    }
    for name, (how, possible) in hows.items():
        one = Intervention(how, kind, place.layer, place.head)
        if possible:
            lab.check(it.bench, one, it.text)
        changes[name] = it.after([one]).value - it.values[0] if possible else None
    mean = "mean" if it.bench.means else "mean_positions"
    compared = [changes[name] for name in ("zero", mean, "resample")]
    disagree = lab.disagree([change for change in compared if change is not None])
    return {**place.model_dump(), "kind": kind, **changes, "disagree": disagree}


def partners(bench: Bench) -> list[dict[str, Any]]:
    """Which tokens correspond, of each sequence; nothing without a corrupted run."""
    if bench.corrupted is None:
        return []
    rows = []
    for name, pairs in bench.pairs.items():
        sides = [{pair[side] for pair in pairs} for side in (0, 1)]
        sizes = [len(text.sequences[name]) for text in (bench.clean, bench.corrupted)]
        alone, corrupted_alone = (
            [i for i in range(n) if i not in paired] for n, paired in zip(sizes, sides, strict=True)
        )
        row = {"sequence": name, "pairs": pairs}
        rows.append(row | {"alone": alone, "corrupted_alone": corrupted_alone})
    return rows


def _sequences(text: ReadText | None) -> dict[str, Any]:
    return {} if text is None else {k: labels(tokens) for k, tokens in text.sequences.items()}
