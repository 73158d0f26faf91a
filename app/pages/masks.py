"""The Masks page: several texts in one batch, and what masks do to a head."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app.api.common import TokenOut
from attention_atlas.app.api.masks import FillsOut, MasksRequest, masks
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.pages.engine import Content, PageQuery, answered, page
from attention_atlas.app.pages.start import Audience, started
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class MasksPage(Content):
    models: list[ModelSummary] = Field(description="those that have masks")
    model: str
    texts: list[str]
    kind: str
    layer: int
    head: int
    row: int = Field(description="which of the texts is drawn")
    off: list[str]
    fill: float | None
    precision: str
    fills: FillsOut | None = None
    leak: float | None = None
    losses: dict[str, float] = {}
    pad: str = ""
    q_tokens: list[list[TokenOut]] = []
    rows: list[list[int]] = Field([], description="the ids, padding included")
    row_sums: list[float] = Field([], description="of the text that is drawn")


TEXTS = ("This is a test", "This is a new test", "This is it")
MASKS = ("", "causal", "padding", "causal,padding")  # of a decoder
MASKS_AROUND = ("", "padding")  # of attention without a causal mask
FILLS = ("", "-1", "-5", "-10", "-100", "-10000")
AUDIENCE = Audience(
    "masks",
    suits=lambda model: model.family != "recurrent" and not model.lacks,
    none=Message("no-suitable-model", "no loaded model has masks; /models lists the models"),
    why_not=lambda model: model.why or Message("not-available", "has no masks"),
)


class MasksQuery(PageQuery):
    texts: str | None = None
    kind: str = ""
    layer: str = ""
    head: str = ""
    row: str = ""
    off: str = ""
    fill: str = ""
    precision: str = ""


@page("/masks", "masks.html", MasksPage, router)
async def masks_page(request: Request, query: Annotated[MasksQuery, Query()]) -> MasksPage:
    """Texts in one batch, one a line: ids, masks, scores before, attention after."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE)
    query, choice, model = start.query, start.choice, start.model
    kind = choice.among("kind", model.kinds)
    n_layer, n_head = model.shapes[kind]
    texts = list(TEXTS) if query.texts is None else lines(query.texts)
    fill = choice.among("fill", FILLS)
    spec: dict[str, Any] = {
        "model": model.name,
        "texts": texts,
        "kind": kind,
        "layer": choice.number("layer", n_layer),
        "head": choice.number("head", n_head),
        "precision": choice.among("precision", ["float32", "float16", "bfloat16"]),
        "off": parts(choice.among("off", MASKS if kind == "decoder" else MASKS_AROUND)),
        "fill": float(fill) if fill else None,
    }
    row = choice.number("row", max(1, len(texts)))
    fields = {**start.fields, **spec, "row": row}
    return await answered(MasksPage, fields, service.compute(lambda: _answers(service, spec, row)))


def _answers(service: Service, spec: dict[str, Any], row: int) -> dict[str, Any]:
    request = MasksRequest.model_validate(spec)
    with service.lent(request.model, texts=max(request.texts, key=len)) as loaded:
        fields, tensors, _ = masks(service, request, loaded)
    return {
        **{name: fields[name] for name in ("fills", "leak", "losses", "pad", "q_tokens")},
        "rows": tensors["ids"].tolist(),
        "row_sums": tensors["row_sums"][row].tolist(),
    }


def parts(value: str) -> list[str]:
    return [part for part in value.split(",") if part]


def lines(texts: str) -> list[str]:
    """One text a line, as in pages/masks.js: other separators than a new line are text."""
    return [line for line in texts.replace("\r\n", "\n").split("\n") if line.strip()]
