"""The Masks page: several texts in one batch, and what masks do to a head."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from attention_atlas.app import errors
from attention_atlas.app.api.common import TokenOut
from attention_atlas.app.api.masks import FillsOut, MasksRequest, masks_answer
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    numbers,
    opened,
    page,
    printable,
    some,
    validation_problem,
)
from attention_atlas.app.service import Service
from fastapi import APIRouter, Request
from pydantic import Field, ValidationError

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
MASKS_AROUND = ("", "padding")  # of attention that may look ahead
FILLS = ("", "-1", "-5", "-10", "-100", "-10000")


@page("/masks", "masks.html", MasksPage, router)
async def masks_page(
    request: Request,
    model: str = "",
    texts: str | None = None,
    kind: str = "",
    layer: str = "",
    head: str = "",
    row: str = "",
    off: str = "",
    fill: str = "",
    precision: str = "",
) -> MasksPage:
    """Texts in one batch, one a line: ids, masks, scores before, attention after."""
    service: Service = request.app.state.service
    unopened = await opened(service, model)
    models = some(
        [m for m in summaries(service) if m.family != "recurrent" and not m.lacks], "has masks"
    )
    sent = {"model": model, "kind": kind, "layer": layer, "head": head, "row": row}
    choice = Choice({**sent, "off": off, "fill": fill, "precision": precision})
    batch = TEXTS if texts is None else lines(texts)
    why = {found.name: found.why or "has no masks" for found in summaries(service)}
    name = choice.of_model(models, why)
    chosen = next(found for found in models if found.name == name)
    shown_kind = choice.of("kind", chosen.kinds)
    n_layer, n_head = chosen.shapes[shown_kind]
    asked: dict[str, Any] = {
        "model": name,
        "texts": list(batch),
        "kind": shown_kind,
        "layer": int(choice.of("layer", numbers(n_layer))),
        "head": int(choice.of("head", numbers(n_head))),
        "precision": choice.of("precision", ["float32", "float16", "bfloat16"]),
    }
    there = MASKS if asked["kind"] == "decoder" else MASKS_AROUND
    asked["off"] = [part for part in choice.of("off", there).split(",") if part]
    filled = choice.of("fill", FILLS)
    asked["fill"] = float(filled) if filled else None
    shown: dict[str, Any] = {"models": models, "ignored": [*unopened, *choice.ignored]}
    shown["row"] = int(choice.of("row", numbers(max(1, len(batch)))))
    try:
        spec = MasksRequest.model_validate(asked)
        found = await service.compute(lambda: masks_answer(service, spec))
        fields, tensors = found.fields, found.tensors
        shown |= {key: fields[key] for key in ("fills", "leak", "losses", "pad", "q_tokens")}
        sums = tensors["row_sums"][shown["row"]].tolist()
        shown |= {"rows": tensors["ids"].tolist(), "row_sums": sums}
        return MasksPage.model_validate({**asked, **shown})
    except ValidationError as error:
        problem = validation_problem(error)
    except errors.AppError as error:
        problem = errors.problem(error)
    asked["texts"] = [printable(each) for each in batch]
    return MasksPage.model_validate({**asked, **shown, "problem": problem})


def lines(texts: str) -> list[str]:
    """One text a line, as in static/js/masks.js: other separators than a new line are text."""
    return [line for line in texts.replace("\r\n", "\n").split("\n") if line.strip()]
