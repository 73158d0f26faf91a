"""The page that computes attention step by step, with numbers that move."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app.api.arithmetic import (
    BlocksAnswer,
    GradientsAnswer,
    GradientsRequest,
    HeadPartsAnswer,
    LayerRequest,
    ScalingAnswer,
    ScalingRequest,
    blocks,
    gradients,
    head_parts,
    scaling,
)
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.api.spec import TextRequest
from attention_atlas.app.examples import catalogue
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    PageQuery,
    answered,
    numbers,
    page,
)
from attention_atlas.app.pages.start import Audience, started
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import tokenize
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class AttentionPage(Content):
    models: list[ModelSummary]
    model: str
    text: str
    word: int = Field(description="the query: index of its token")
    layer: int
    head: int
    d_k: int
    depth: int
    scaling: ScalingAnswer | None = None
    heads: HeadPartsAnswer | None = None
    blocks: BlocksAnswer | None = None
    gradients: GradientsAnswer | None = None


WORD = "check"  # the query, where no other is chosen and the text has it
WIDTHS, DEPTHS = range(1, 4097), range(1, 65)  # of ScalingRequest, GradientsRequest
AUDIENCE = Audience(
    "attention",
    suits=lambda model: model.family != "recurrent" and not model.lacks,
    none=Message(
        "no-suitable-model",
        "no loaded model has queries, keys and values; /models lists the models",
    ),
    why_not=lambda model: model.why or Message("not-available", "has no dot products"),
)


class AttentionQuery(PageQuery):
    text: str | None = None
    word: str = ""
    layer: str = ""
    head: str = ""
    d_k: str = ""
    depth: str = ""


@page("/attention", "attention.html", AttentionPage, router)
async def attention_page(
    request: Request, query: Annotated[AttentionQuery, Query()]
) -> AttentionPage:
    """Scores, q, k and v, the scale, heads, a layer's block, and the cost of it all."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE)
    query, choice, model = start.query, start.choice, start.model
    n_layer, n_head = model.shapes[model.kinds[0]]
    fields: dict[str, Any] = {
        **start.fields,
        "text": catalogue.first_text("attention") if query.text is None else query.text,
        "layer": choice.number("layer", n_layer),
        "head": choice.number("head", n_head),
        "d_k": int(choice.among("d_k", ["", *map(str, WIDTHS)]) or 256),
        "depth": int(choice.among("depth", ["", *map(str, DEPTHS)]) or 24),
        "word": 0,
    }
    answers = service.compute(lambda: _answers(service, fields, choice))
    return await answered(AttentionPage, fields, answers)


def _answers(service: Service, fields: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """What the page measures; and the parts of a layer, for a bundled model."""
    spec = TextRequest.model_validate({name: fields[name] for name in ("model", "text")})
    widths, depth = ScalingRequest(d_k=fields["d_k"]), GradientsRequest(depth=fields["depth"])
    answers = {
        "scaling": scaling(service, widths).fields,
        "gradients": gradients(service, depth).fields,
    }
    with service.lent(spec.model, text=spec.text) as loaded:
        if loaded.source == "bundled":
            layer = LayerRequest(model=spec.model, text=spec.text, layer=fields["layer"])
            answers["heads"] = head_parts(service, layer, loaded).fields
            answers["blocks"] = blocks(service, spec, loaded).fields
        tokens = tokenize(loaded, spec.text)
    first = [str(i) for i, token in enumerate(tokens) if token.text.strip() == WORD]
    word = int(choice.among("word", [*first, *numbers(len(tokens))]))
    return {**answers, "word": word, "ignored": choice.ignored}
