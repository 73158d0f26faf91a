"""The Arithmetic page: attention's steps, one by one, with numbers that move."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError

from app import arithmetic, errors
from app.pages import Choice, numbers, page, printable, some, validation_problem
from app.schemas import (
    ArithmeticPage,
    GradientsRequest,
    LayerRequest,
    ScalingRequest,
    TokenizeRequest,
)
from app.service import Service

router = APIRouter(tags=["pages"])
ELSEWHERE = "is not taken apart here, where layers are our own; its q, k and v are in Explore"
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
    bundled = [found for found in service.summaries() if found.source == "bundled"]
    models = some(
        [found for found in bundled if found.family != "recurrent"],
        "has queries, keys and values to take apart",
    )
    sent = {"model": model, "word": word, "layer": layer, "head": head}
    choice = Choice({**sent, "d_k": d_k, "depth": depth})
    name = choice.of_model(models, {found.name: ELSEWHERE for found in service.summaries()})
    chosen = next(found for found in models if found.name == name)
    asked: dict[str, Any] = {
        "model": name,
        "text": TEXT if text is None else text,
        "layer": int(choice.of("layer", numbers(chosen.n_layer))),
        "head": int(choice.of("head", numbers(chosen.n_head))),
        "d_k": int(choice.of("d_k", ["", *map(str, WIDTHS)]) or 256),
        "depth": int(choice.of("depth", ["", *map(str, DEPTHS)]) or 24),
        "word": 0,
    }
    shown: dict[str, Any] = {"models": models, "ignored": choice.ignored}
    try:
        found = await service.compute(lambda: _answers(service, asked))
        tokens = found["heads"]["tokens"]
        first = [str(i) for i, token in enumerate(tokens) if token["text"].strip() == WORD]
        asked["word"] = int(choice.of("word", [*first, *numbers(len(tokens))]))
        return ArithmeticPage.model_validate({**asked, **shown, **found})
    except ValidationError as error:
        problem = validation_problem(error)
    except errors.AppError as error:
        problem = errors.problem(error)
    asked["text"] = printable(asked["text"])
    return ArithmeticPage.model_validate({**asked, **shown, "problem": problem})


def _answers(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    spec = {"model": asked["model"], "text": asked["text"]}
    layer = LayerRequest.model_validate({**spec, "layer": asked["layer"]})
    depth = GradientsRequest(depth=asked["depth"])
    return {
        "scaling": arithmetic.scaling_answer(ScalingRequest(d_k=asked["d_k"])).fields,
        "heads": arithmetic.heads_answer(service, layer).fields,
        "blocks": arithmetic.blocks_answer(service, TokenizeRequest.model_validate(spec)).fields,
        "gradients": arithmetic.gradients_answer(depth).fields,
    }
