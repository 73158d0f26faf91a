"""Runs and records as what our JSON says of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from app.schemas import KindShape, RunAnswer, RunRequest, TokenOut
from app.service import Service
from model.record import AttentionRecord, Run, Token, axes

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
        sequences={
            name: [TokenOut.model_validate(label) for label in labels(run.sequences.get(name, ()))]
            for name in ("source", "target")
        },
        kinds=[_kind_shape(run, record) for record in run.records.values()],
        predictions=run.predictions,
        provenance=service.provenance(asked.model),
        links=links(asked),
    )


def attention_fields(
    service: Service, asked: RunRequest, run: Run, record: AttentionRecord
) -> dict[str, Any]:
    """The labels that travel with a record's tensors."""
    return {
        "model": asked.model,
        "text": run.text,
        "text_pair": run.text_pair,
        "target": run.target,
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head", "query", "key"],
        "shape": list(record.attn.shape),
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        "provenance": service.provenance(asked.model).model_dump(),
    }


def labels(tokens: tuple[Token, ...]) -> list[dict[str, Any]]:
    """Tokens as JSON objects."""
    return [token._asdict() for token in tokens]


def links(asked: RunRequest) -> dict[str, str]:
    """The addresses of a run's tensors and of its page."""
    fields = set(RunRequest.model_fields) - {"edits"}
    sent = asked.model_dump(exclude_none=True, include=fields)
    if asked.edits:
        edits = ",".join(e.model_dump_json(by_alias=True, exclude_none=True) for e in asked.edits)
        sent["edits"] = f"[{edits}]"
    query = urlencode(sent)
    return {
        "attention": f"{PREFIX}/attention?{query}",
        "overview": f"{PREFIX}/attention/overview?{query}",
        "explore": f"/explore?{query}",
    }


def _kind_shape(run: Run, record: AttentionRecord) -> KindShape:
    q, k = axes(record.kind, run.sequences)
    shape = list(record.attn.shape)
    return KindShape(kind=record.kind, q=q, k=k, n_layer=shape[0], n_head=shape[1], shape=shape)
