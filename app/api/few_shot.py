"""A pattern's accuracy by the number of examples in the prompt."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from attention_atlas.app.api.common import PREFIX, Measured, Provenance, provenance
from attention_atlas.app.api.resource import stepwise
from attention_atlas.app.api.spec import ModelRequest, Seed, StreamRequest
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import few_shot
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


PatternName = Literal["pairs", "list", "copy", "signs"]


class FewShotRequest(ModelRequest, StreamRequest):
    """A pattern in few-shot prompts, measured over many random prompts."""

    pattern: PatternName = "pairs"
    n_max: int = Field(4, ge=0, le=8, description="most examples")
    n_prompt: int = Field(32, ge=2, le=128, description="random prompts for each number of them")
    seed: Seed = 0


class HeadOut(BaseModel):
    layer: int
    head: int


class ShotOut(BaseModel):
    """Accuracy with n examples in the prompt, by which heads are switched off."""

    n: int
    accuracy: dict[str, Measured]
    prompt: str = Field(description="one of the prompts")
    answer: str = Field(description="the right continuation")


class FewShotAnswer(BaseModel):
    model: str
    pattern: str
    definition: str
    n_prompt: int
    seed: int
    off: dict[str, list[HeadOut]] = Field(description="none, induction, previous_token, others")
    scores: dict[str, list[list[float]]] = Field(
        description="(L, H), on a random sequence repeated twice"
    )
    definitions: dict[str, str]
    shots: list[ShotOut]
    provenance: Provenance


class FewShotStart(BaseModel):
    off: dict[str, list[HeadOut]] = Field(description="none, induction, previous_token, others")
    provenance: Provenance


class Progress(BaseModel):
    """Prompts of n examples measured so far, with one set of heads switched off."""

    n: int
    off: str
    done: int
    n_prompt: int


@stepwise(
    router,
    "/few-shot",
    FewShotRequest,
    FewShotAnswer,
    start=FewShotStart,
    progress=Progress,
    shot=ShotOut,
)
def measure_few_shot(
    service: Service, request: FewShotRequest, loaded: Loaded, emit: Emit
) -> Answer:
    """A pattern's accuracy by the number of examples in the prompt, with heads on and off."""
    few_shot.check(loaded)
    heads = few_shot.carriers(loaded, request.seed)
    off = {
        name: [{"layer": layer, "head": head} for layer, head in places]
        for name, places in heads.off.items()
    }
    emit("start", {"off": off, "provenance": provenance(loaded).model_dump()})
    sizes = {"n_max": request.n_max, "n_prompt": request.n_prompt, "seed": request.seed}
    shots = []
    for shot in few_shot.shots(loaded, request.pattern, heads, **sizes):
        if isinstance(shot, few_shot.Doing):
            emit("progress", shot._asdict())
            continue
        shots.append(shot_fields(shot))
        emit("shot", shots[-1])
    scores = {"previous_token": heads.previous_token, "induction": heads.induction}
    fields = {
        "model": request.model,
        "pattern": request.pattern,
        "definition": few_shot.definitions()[request.pattern],
        "n_prompt": request.n_prompt,
        "seed": request.seed,
        "off": off,
        "scores": {name: by_head.tolist() for name, by_head in scores.items()},
        "definitions": few_shot.score_definitions(),
        "shots": shots,
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {})


def shot_fields(shot: few_shot.Shot) -> dict[str, Any]:
    prompt, answer = shot.example
    accuracy = {name: asdict(measure) for name, measure in shot.accuracy.items()}
    return {"n": shot.n, "accuracy": accuracy, "prompt": prompt, "answer": answer}
