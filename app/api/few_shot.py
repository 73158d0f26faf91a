"""A pattern's accuracy by the number of examples in the prompt."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from attention_atlas.app.api.common import PREFIX, Measured, Provenance
from attention_atlas.app.api.decoding import provenance
from attention_atlas.app.api.spec import Seed, Stepwise
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit, stepwise
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import few_shot
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


PatternName = Literal["pairs", "list", "copy", "signs"]


class FewShotRequest(Stepwise):
    """A pattern that a decoder picks up from examples, measured over many prompts."""

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
    answer: str = Field(description="what is to follow it")


class FewShotAnswer(BaseModel):
    model: str
    pattern: str
    definition: str
    n_prompt: int
    seed: int
    off: dict[str, list[HeadOut]] = Field(description="none, induction, previous_token, others")
    scores: dict[str, list[list[float]]] = Field(description="(L, H), on random tokens said twice")
    definitions: dict[str, str]
    shots: list[ShotOut]
    provenance: Provenance


@stepwise(router, "/few-shot", FewShotRequest, FewShotAnswer)
def measure_few_shot(service: Service, asked: FewShotRequest, emit: Emit) -> Answer:
    """A pattern's accuracy by the number of examples in the prompt, and the heads that carry it."""
    return few_shot_answer(service, asked, emit)


def few_shot_answer(service: Service, asked: FewShotRequest, emit: Emit) -> Answer:
    """Accuracy by number of examples, with all heads and without those that carry it."""
    with service.lent(asked.model) as loaded:
        few_shot.check(loaded)
        heads = few_shot.carriers(loaded, asked.seed)
        off = {
            name: [{"layer": layer, "head": head} for layer, head in found]
            for name, found in heads.off.items()
        }
        emit("start", {"off": off, "provenance": provenance(service, asked)})
        sizes = {"n_max": asked.n_max, "n_prompt": asked.n_prompt, "seed": asked.seed}
        shots = []
        for shot in few_shot.shots(loaded, asked.pattern, heads, **sizes):
            if isinstance(shot, few_shot.Doing):
                emit("progress", shot._asdict())
                continue
            accuracy = {name: asdict(measure) for name, measure in shot.accuracy.items()}
            prompt, answer = shot.example
            shots.append({"n": shot.n, "accuracy": accuracy, "prompt": prompt, "answer": answer})
            emit("shot", shots[-1])
    fields = {
        "model": asked.model,
        "pattern": asked.pattern,
        "definition": few_shot.definitions()[asked.pattern],
        "n_prompt": asked.n_prompt,
        "seed": asked.seed,
        "off": off,
        "scores": {
            "previous_token": heads.previous_token.tolist(),
            "induction": heads.induction.tolist(),
        },
        "definitions": few_shot.score_definitions(),
        "shots": shots,
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})
