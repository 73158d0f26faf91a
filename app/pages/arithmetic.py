"""The Arithmetic page: attention's steps, one by one, with numbers that move."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from attention_atlas.app import errors
from attention_atlas.app.api.arithmetic import (
    BlocksAnswer,
    GradientsAnswer,
    GradientsRequest,
    HeadPartsAnswer,
    LayerRequest,
    ScalingAnswer,
    ScalingRequest,
    blocks_answer,
    gradients_answer,
    heads_answer,
    scaling_answer,
)
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.api.spec import TextRequest
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
from attention_atlas.model.record import Token
from attention_atlas.model.run import tokenize
from fastapi import APIRouter, Request
from pydantic import Field, ValidationError

router = APIRouter(tags=["pages"])


class ArithmeticPage(Content):
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


TEXT, WORD = "Bob cashed a check at the bank", "check"
WIDTHS, DEPTHS = range(1, 4097), range(1, 65)  # of ScalingRequest, GradientsRequest


@page("/arithmetic", "arithmetic.html", ArithmeticPage, router)
async def arithmetic_page(
    request: Request,
    model: str = "",
    text: str | None = None,
    word: str = "",
    layer: str = "",
    head: str = "",
    d_k: str = "",
    depth: str = "",
) -> ArithmeticPage:
    """Scores, query and key and value, the scale, heads, the block, and what it all costs."""
    service: Service = request.app.state.service
    unopened = await opened(service, model)
    models = some(
        [m for m in summaries(service) if m.family != "recurrent" and not m.lacks],
        "has queries, keys and values to take apart",
    )
    sent = {"model": model, "word": word, "layer": layer, "head": head}
    choice = Choice({**sent, "d_k": d_k, "depth": depth})
    why = {found.name: found.why or "has no dot products" for found in summaries(service)}
    name = choice.of_model(models, why)
    chosen = next(found for found in models if found.name == name)
    n_layer, n_head = chosen.shapes[chosen.kinds[0]]
    asked: dict[str, Any] = {
        "model": name,
        "text": TEXT if text is None else text,
        "layer": int(choice.of("layer", numbers(n_layer))),
        "head": int(choice.of("head", numbers(n_head))),
        "d_k": int(choice.of("d_k", ["", *map(str, WIDTHS)]) or 256),
        "depth": int(choice.of("depth", ["", *map(str, DEPTHS)]) or 24),
        "word": 0,
    }
    shown: dict[str, Any] = {"models": models, "ignored": [*unopened, *choice.ignored]}
    try:
        own = chosen.source == "bundled"
        tokens, found = await service.compute(lambda: _answers(service, asked, own))
        first = [str(i) for i, token in enumerate(tokens) if token.text.strip() == WORD]
        asked["word"] = int(choice.of("word", [*first, *numbers(len(tokens))]))
        return ArithmeticPage.model_validate({**asked, **shown, **found})
    except ValidationError as error:
        problem = validation_problem(error)
    except errors.AppError as error:
        problem = errors.problem(error)
    asked["text"] = printable(asked["text"])
    return ArithmeticPage.model_validate({**asked, **shown, "problem": problem})


def _answers(
    service: Service, asked: dict[str, Any], own: bool
) -> tuple[tuple[Token, ...], dict[str, Any]]:
    """The text's tokens, and what is taken apart: of a layer, where it is one of ours."""
    spec = TextRequest.model_validate({"model": asked["model"], "text": asked["text"]})
    depth = GradientsRequest(depth=asked["depth"])
    found: dict[str, Any] = {
        "scaling": scaling_answer(ScalingRequest(d_k=asked["d_k"])).fields,
        "gradients": gradients_answer(depth).fields,
    }
    if own:
        layer = LayerRequest(model=spec.model, text=spec.text, layer=asked["layer"])
        found["heads"] = heads_answer(service, layer).fields
        found["blocks"] = blocks_answer(service, spec).fields
    with service.lent(spec.model, text=spec.text) as loaded:
        return tokenize(loaded, spec.text), found
