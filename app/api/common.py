"""Runs and records as what our JSON says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attention_atlas.app import errors
from attention_atlas.app.api.spec import (
    AttentionRequest,
    KindShape,
    RunAnswer,
    RunRequest,
    TokenOut,
)
from attention_atlas.app.service import Service
from attention_atlas.model import reductions
from attention_atlas.model.record import AttentionRecord, Part, Run, Sketch, Token, axes
from attention_atlas.model.tape import Kind

PREFIX = "/api/v1"


def run_answer(service: Service, asked: RunRequest) -> RunAnswer:
    """One forward pass: what /run answers and the page embeds."""
    run = service.run(asked)
    return RunAnswer(
        model=asked.model,
        text=run.text,
        text_pair=run.text_pair,
        target=run.target,
        target_decoded=run.target_decoded,
        sequences=sequences_out(run.sequences),
        kinds=[
            kind_shape(kind, run.sequences, *shape) for kind, shape in service.shapes(asked.model)
        ],
        predictions=run.predictions,
        provenance=service.provenance(asked.model),
        links=links(asked),
    )


def attention_record(service: Service, asked: AttentionRequest) -> tuple[Run, AttentionRecord]:
    """The attention asked for: chosen, reduced, in words or pieces, with its specials or without.

    Words come before a reduction over heads, for the largest of sums is not a sum of the largest;
    rollout multiplies layers token by token, so it comes before words.
    """
    if asked.quantity == "scores":
        _refuse_scores(asked)
    part = Part(asked.quantity, asked.kind, asked.layer, asked.head)
    run, record = service.record(asked, part)
    if asked.merge == "words" and asked.reduce != "rollout":
        record = reductions.words(record)
    if asked.reduce != "none":
        try:
            record = reductions.reduced(record, asked.reduce)
        except ValueError as error:
            raise errors.Invalid(str(error), "reduce") from None
    if asked.merge == "words" and asked.reduce == "rollout":
        record = reductions.words(record)
    if asked.special != "keep":
        record = reductions.without_special(record, renormalise=asked.special == "renormalise")
    return run, record


def attention_fields(
    service: Service, asked: RunRequest, run: Run, record: AttentionRecord | Sketch
) -> dict[str, Any]:
    """The labels that travel with a record's tensors."""
    return {
        **input_fields(asked, run),
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head", "query", "key"],
        "shape": list(record.attn.shape),
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        "provenance": service.provenance(asked.model).model_dump(),
    }


def input_fields(asked: RunRequest, run: Run) -> dict[str, str | None]:
    """What was run, in an answer's words."""
    return {
        "model": asked.model,
        "text": run.text,
        "text_pair": run.text_pair,
        "target": run.target,
    }


def labels(tokens: tuple[Token, ...]) -> list[dict[str, Any]]:
    """Tokens as JSON objects."""
    return [token._asdict() for token in tokens]


def sequences_out(sequences: Mapping[str, tuple[Token, ...]]) -> dict[str, list[TokenOut]]:
    """A run's sequences as JSON objects; a model with one text has an empty target."""
    return {
        name: [TokenOut.model_validate(label) for label in labels(sequences.get(name, ()))]
        for name in ("source", "target")
    }


def links(asked: RunRequest) -> dict[str, str]:
    """The addresses of a run's tensors and of its page."""
    fields = set(RunRequest.model_fields) - {"edits", "target_ids"}
    sent = asked.model_dump(exclude_none=True, include=fields)
    page = urlencode(sent)
    if asked.target_ids:
        sent["target_ids"] = ",".join(map(str, asked.target_ids))
    if asked.edits:
        edits = ",".join(e.model_dump_json(by_alias=True, exclude_none=True) for e in asked.edits)
        sent["edits"] = f"[{edits}]"
    query = urlencode(sent)
    return {
        "attention": f"{PREFIX}/attention?{query}",
        "overview": f"{PREFIX}/attention/overview?{query}",
        "explore": f"/explore?{page if asked.target_ids else query}",
    }


def kind_shape(
    kind: Kind, sequences: Mapping[str, tuple[Token, ...]], n_layer: int, n_head: int
) -> KindShape:
    """The shape of one kind of attention between a run's sequences."""
    q, k = axes(kind, sequences)
    shape = [n_layer, n_head, len(sequences[q]), len(sequences[k])]
    return KindShape(kind=kind, q=q, k=k, n_layer=n_layer, n_head=n_head, shape=shape)


def _refuse_scores(asked: AttentionRequest) -> None:
    """Scores are not shares of a whole: they are not summed, averaged or made into pictures."""
    clashes = {
        "reduce": asked.reduce != "none",
        "merge": asked.merge != "none",
        "special": asked.special == "renormalise",
        "dtype": asked.dtype == "uint8",
    }
    for field, clash in clashes.items():
        if clash:
            raise errors.Invalid(f"{field}={getattr(asked, field)} is for attn, not scores", field)
