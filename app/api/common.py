"""Parts of many answers: tokens, shapes, measures, provenance, links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import torch
from attention_atlas.app.api.spec import WITH, Edits, RunRequest
from attention_atlas.app.root import rooted
from attention_atlas.model.analysis.decoding import INCOMPLETE
from attention_atlas.model.record import Run, Token, axes
from attention_atlas.model.spec import Spec, direction_of
from attention_atlas.model.tape import Edit
from attention_atlas.model.zoo import Loaded
from pydantic import BaseModel, Field

from attention_atlas import __version__

PREFIX = "/api/v1"


class TokenOut(BaseModel):
    id: int
    raw: str = Field(description="as the vocabulary spells it")
    text: str = Field(description="readable; for an unknown token the text it stands for")
    start: int
    end: int
    special: bool
    unknown: bool
    word: int | None = Field(
        description="number of its word in its text, from 0, the same for all tokenizers; null for "
        "specials and spaces. Words are those of Unicode (UAX #29), by ICU"
    )
    segment: int = Field(description="0, or 1 in the second text")
    token_type: int | None = Field(
        None, description="token type id given to the model; null if it takes none"
    )


class Measured(BaseModel):
    """One measure of quality, on text that is not in the training data."""

    value: float
    low: float = Field(description="of the 95 % bootstrap interval")
    high: float
    n: int
    of: str = Field(description="what is counted by n")
    detail: str = Field(description="which head, which layer, a signature")
    compare: str = Field(description="the value of chance or of a simple baseline")
    by: dict[str, float] = Field(description="the same for each layer or set")


class Provenance(BaseModel):
    model: str
    sha256: str = Field(description="of the weights")
    revision: str = Field(description="sha256 of config, tokenizer and the like; none if bundled")
    version: str
    torch: str
    device: str
    dtype: str


class GuessOut(BaseModel):
    """A token that the model finds probable."""

    id: int
    token: str = Field(description="as the vocabulary spells it")
    text: str
    logit: float
    probability: float = Field(description="the model's own, before any filter")


class Languages(BaseModel):
    """The languages that an answer was computed with."""

    source_lang: str | None = Field(
        description="the text's language, chosen or the model's own; null where it has no choice"
    )
    target_lang: str | None = Field(
        description="the target's language, chosen, named in the text (>>fra<<) or the model's own"
    )


class KindShape(BaseModel):
    kind: str
    q: str = Field(description="the sequence of the query axis: source or target")
    k: str = Field(description="the sequence of the key axis")
    n_layer: int
    n_head: int
    shape: list[int]


def provenance(loaded: Loaded) -> Provenance:
    """Where the numbers of a model come from."""
    return Provenance(
        model=loaded.name,
        sha256=loaded.card.sha256,
        revision=loaded.card.revision,
        version=__version__,
        torch=torch.__version__,
        device=str(loaded.device),
        dtype=loaded.dtype,
    )


def spec_of(request: RunRequest) -> Spec:
    """The run spec of a request."""
    fields = {"text", "text_pair", "target", "target_ids", "source_lang", "target_lang"}
    return Spec(**request.model_dump(include=fields), edits=edits_of(request.edits))


def edits_of(specs: Edits) -> tuple[Edit, ...]:
    """A request's edits as edits of a forward pass."""
    return tuple(
        Edit(
            **spec.model_dump(exclude={"with_"}),
            value=spec.with_ or WITH.get(spec.op, ("zero",))[0],
        )
        for spec in specs
    )


def input_fields(loaded: Loaded, run: Run) -> dict[str, str | None]:
    """The input of a run, as fields of an answer."""
    return {
        "model": loaded.name,
        "text": run.text,
        "text_pair": run.text_pair,
        "target": run.target,
    }


def language_fields(loaded: Loaded, spec: Spec | RunRequest) -> dict[str, str | None]:
    """The languages of a run, as fields of an answer."""
    used = direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    return {"source_lang": used.source, "target_lang": used.target}


def labels(tokens: tuple[Token, ...]) -> list[dict[str, Any]]:
    """Tokens as JSON objects."""
    return [token._asdict() for token in tokens]


def sequences_fields(
    sequences: Mapping[str, tuple[Token, ...]],
) -> dict[str, list[dict[str, Any]]]:
    """A run's sequences as JSON objects; a model with one text has an empty target."""
    return {name: labels(sequences.get(name, ())) for name in ("source", "target")}


def links(request: RunRequest) -> dict[str, str]:
    """The addresses of a run's tensors and of its page."""
    fields = set(RunRequest.model_fields) - {"edits", "target_ids"}
    sent = request.model_dump(exclude_none=True, include=fields)
    is_typed = INCOMPLETE not in (request.target or "")  # else the page decodes for itself
    page = urlencode({k: value for k, value in sent.items() if is_typed or k != "target"})
    if request.target_ids:
        sent["target_ids"] = ",".join(map(str, request.target_ids))
    if request.edits:
        edits = ",".join(e.model_dump_json(by_alias=True, exclude_none=True) for e in request.edits)
        sent["edits"] = f"[{edits}]"
    query = urlencode(sent)
    return {
        "attention": rooted(f"{PREFIX}/attention?{query}"),
        "overview": rooted(f"{PREFIX}/attention/overview?{query}"),
        "explore": rooted(f"/explore?{page if request.target_ids else query}"),
    }


def kind_fields(loaded: Loaded, sequences: Mapping[str, tuple[Token, ...]]) -> list[dict[str, Any]]:
    """The shape of each kind of attention between a run's sequences."""
    shapes = []
    for kind in loaded.kinds:
        q, k = axes(kind, sequences)
        n_layer, n_head = loaded.shape(kind)
        shape = [n_layer, n_head, len(sequences[q]), len(sequences[k])]
        sizes = {"n_layer": n_layer, "n_head": n_head, "shape": shape}
        shapes.append({"kind": kind, "q": q, "k": k, **sizes})
    return shapes
