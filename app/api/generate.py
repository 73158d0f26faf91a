"""Models at work as the API says it: each step as it is made, then the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from attention_atlas.app.api.common import kind_shape, labels, links
from attention_atlas.app.api.decoding import (
    CorruptionRequest,
    FewShotRequest,
    FillMaskRequest,
    GenerateRequest,
    NextSentenceRequest,
    NextTokenRequest,
    TranslateRequest,
)
from attention_atlas.app.api.spec import RunRequest
from attention_atlas.app.service import Service, edits_of
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import blanks, few_shot, translation
from attention_atlas.model.analysis import decoding as work
from attention_atlas.model.analysis.decoding import Said
from attention_atlas.model.analysis.translation import Grown, Node, Source
from attention_atlas.model.generate import Sampling, returned
from attention_atlas.model.record import Token
from torch import Tensor


def translate_answer(service: Service, asked: TranslateRequest, emit: Emit) -> Answer:
    """A translation, greedy or by beam, and a reference that was typed, read the same way."""

    def watch(step: Source | Said | Grown) -> None:
        if isinstance(step, Source):
            tokens = labels(step.tokens)
            emit("start", {"source": tokens, "provenance": provenance(service, asked)})
        elif isinstance(step, Said):
            emit("token", step_event(step, asked.head))
        else:
            nodes = [node_fields(node) for node in step.nodes]
            rows = rows_of(step.attn, asked.head)
            emit("token", {"text": step.text, "beams": nodes, "attn": rows})

    with service.lent(asked.model, text=asked.text, reference=asked.reference) as loaded:
        work.check_head(loaded, asked.head)
        steps = translation.translate(
            loaded,
            asked.text,
            n_beam=asked.num_beams,
            length_penalty=asked.length_penalty,
            max_new_tokens=asked.max_new_tokens,
            reference=asked.reference,
            edits=edits_of(asked.edits),
            top=asked.top,
        )
        found = returned(steps, watch)
    best = found.hypotheses[0]
    shapes = service.shapes(asked.model)
    kinds = [kind_shape(kind, found.sequences, *shape).model_dump() for kind, shape in shapes]
    spec = {"model": asked.model, "text": asked.text, "edits": asked.edits}
    is_a_runs = asked.num_beams == 1 and asked.max_new_tokens is None  # greedy, to the end
    given = {} if is_a_runs else {"target": best.text, "target_ids": best.ids}
    fields = {
        **spoken_fields(asked),
        "num_beams": asked.num_beams,
        "length_penalty": asked.length_penalty,
        "target": best.text,
        "finished": found.finished,
        **steps_fields(found.steps, found.tokens),
        "log_probability": sum(step.log_probability for step in found.steps),
        "hypotheses": [
            {"text": each.text, "score": each.score, "log_probability": each.log_probability}
            for each in found.hypotheses
        ],
        "tree": [node_fields(node) for node in found.tree],
        "reference": reference_fields(asked.reference, found.reference),
        "sequences": {name: labels(tokens) for name, tokens in found.sequences.items()},
        "kinds": kinds,
        "provenance": provenance(service, asked),
        "links": links(RunRequest.model_validate({**spec, **given})),
    }
    return Answer(fields, {})


def reference_fields(text: str | None, read: Sequence[Said]) -> dict[str, Any] | None:
    if not read:
        return None
    total = sum(said.log_probability for said in read)
    return {"text": text, "log_probability": total, "steps": [said_fields(each) for each in read]}


def node_fields(node: Node) -> dict[str, Any]:
    return {**node._asdict(), "token": node.token._asdict()}


def generate_answer(service: Service, asked: GenerateRequest, emit: Emit) -> Answer:
    """A continuation, token by token, with what each filter leaves of the distribution."""

    def watch(step: tuple[Token, ...] | Said) -> None:
        if isinstance(step, Said):
            emit("token", step_event(step, asked.head))
        else:
            prompt = labels(step)
            emit("start", {"prompt": prompt, "provenance": provenance(service, asked)})

    with service.lent(asked.model, text=asked.text) as loaded:
        work.check_head(loaded, asked.head)
        steps = work.generate(
            loaded,
            asked.text,
            sampling=Sampling(asked.temperature, asked.top_k, asked.top_p, asked.seed),
            max_new_tokens=asked.max_new_tokens,
            forced=asked.forced,
            edits=edits_of(asked.edits),
            top=asked.top,
        )
        found = returned(steps, watch)
    spec = {"model": asked.model, "text": asked.text + found.text, "edits": asked.edits}
    fields = {
        **spoken_fields(asked),
        "continuation": found.text,
        "finished": "end" if found.finished else "length",
        "prompt": labels(found.prompt),
        **steps_fields(found.steps, found.tokens),
        "provenance": provenance(service, asked),
        "links": links(RunRequest.model_validate(spec)),
    }
    return Answer(fields, {})


def next_token_answer(service: Service, asked: NextTokenRequest) -> Answer:
    """What comes after a text; and of each of its tokens, how it looked before it came."""
    with service.lent(asked.model, text=asked.text) as loaded:
        found = work.surprise(loaded, asked.text, edits_of(asked.edits), asked.top)
    fields = {
        **spoken_fields(asked),
        **found.following._asdict(),
        "tokens": labels(found.tokens),
        "log_probabilities": [None, *found.log_probabilities],
        "entropies": [None, *found.entropies],
        "ranks": [None, *found.ranks],
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})


def fill_mask_answer(service: Service, asked: FillMaskRequest) -> Answer:
    """What the model would write for each [MASK]."""
    with service.lent(asked.model, text=asked.text, text_pair=asked.text_pair) as loaded:
        found = blanks.fill(
            loaded,
            asked.text,
            asked.text_pair,
            words=(asked.words or (), asked.words_pair or ()),
            edits=edits_of(asked.edits),
            top=asked.top,
        )
    fields = {
        **spoken_fields(asked),
        "text_pair": asked.text_pair,
        "masked": found.texts[0],
        "masked_pair": found.texts[1],
        "tokens": labels(found.tokens),
        "words": found.words,
        "masks": [{"position": at, **guess._asdict()} for at, guess in found.masks.items()],
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})


def next_sentence_answer(service: Service, asked: NextSentenceRequest) -> Answer:
    """Whether the second text follows the first, and the first the second."""
    a, b = asked.text, asked.text_pair
    with service.lent(asked.model, text=a, text_pair=b) as loaded:
        is_next, swapped = (blanks.next_sentence(loaded, *pair) for pair in ((a, b), (b, a)))
    fields = {
        **spoken_fields(asked),
        "text_pair": b,
        "is_next": is_next,
        "swapped": swapped,
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})


def corruption_answer(service: Service, asked: CorruptionRequest) -> Answer:
    """A text as BERT sees it in training, and the loss there."""
    with service.lent(asked.model, text=asked.text, text_pair=asked.text_pair) as loaded:
        tokens, found = blanks.corrupt(loaded, asked.text, asked.text_pair, asked.seed, asked.top)
    chosen = [
        {
            "position": each.position,
            "fate": each.fate,
            "shown": each.shown,
            "probability": math.exp(each.log_probability),
            "loss": -each.log_probability,
            "candidates": each.guess.candidates,
        }
        for each in found
    ]
    fields = {
        **spoken_fields(asked),
        "text_pair": asked.text_pair,
        "seed": asked.seed,
        "tokens": labels(tokens),
        "chosen": chosen,
        "loss": -sum(each.log_probability for each in found) / len(found) if found else None,
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})


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


# What they share.


def provenance(service: Service, asked: Any) -> dict[str, Any]:
    return service.provenance(asked.model).model_dump()


def spoken_fields(asked: Any) -> dict[str, str]:
    return {"model": asked.model, "text": asked.text}


def said_fields(said: Said) -> dict[str, Any]:
    """One token as JSON says it; the text so far and where the model looked are for events."""
    return {
        "token": said.token._asdict(),
        "log_probability": said.log_probability,
        "probability": said.probability,
        "entropy": said.entropy,
        "rank": said.rank,
        "forced": said.forced,
        "n_kept": said.n_kept,
        "candidates": said.candidates,
    }


def step_event(said: Said, head: int | None) -> dict[str, Any]:
    """One token, the text so far, and where its query looked in each layer: (L, Tk)."""
    return {**said_fields(said), "text": said.text, "attn": rows_of(said.attn, head)}


def rows_of(attn: Tensor, head: int | None) -> list[list[float]]:
    """(L, H, Tk) -> (L, Tk): of one head, or the mean over heads."""
    found: list[list[float]] = (attn.mean(1) if head is None else attn[:, head]).tolist()
    return found


def steps_fields(steps: Sequence[Said], tokens: tuple[Token, ...]) -> dict[str, Any]:
    """What was said, with the tokens' spans in the whole text."""
    found = zip(steps, labels(tokens), strict=True)
    return {
        "tokens": labels(tokens),
        "log_probabilities": [step.log_probability for step in steps],
        "steps": [{**said_fields(step), "token": token} for step, token in found],
    }
