"""Numbers of one head, taken apart: with and without the scale, weights and values."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import torch
from attention_atlas.app.api.anatomy import AnatomyRequest, head_anatomy
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.learn.figures import Numbers, Panel, scientific
from attention_atlas.app.learn.heads import Look, looked
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.messages import Message
from torch import Tensor

WORD = Message("column", "word")
ATTENTION = Message("column", "attention")
ALMOST_ALL = 0.75  # of the attention of a row
NOTED = 0.05  # attention that is worth a look
Row = tuple[str | float | None, ...]


def apart(service: Service, panel: Panel, text: str) -> tuple[Look, Answer, dict[str, object]]:
    """A head's query word step by step, and the request that gives the same."""
    look = looked(service, panel, text)
    kind, layer, head = look.head_place
    row = {"kind": kind, "layer": layer, "head": head, "query": look.query}
    parameters: dict[str, object] = {"model": panel.model, "text": text, **row}
    request = AnatomyRequest.model_validate(parameters)
    with service.lent(panel.model, text=text) as loaded:
        return look, head_anatomy(service, request, loaded), parameters


def tokens_of(answer: Answer) -> list[str]:
    return [token["text"].strip() or token["raw"] for token in answer.fields["k_tokens"]]


def steps_link(parameters: dict[str, object]) -> str:
    return f"/explore?{urlencode({**parameters, 'view': 'anatomy'})}"


def entropy(attn: Tensor) -> float:
    return float(-(attn * attn.clamp_min(1e-12).log()).sum())


def with_and_without_scale(service: Service, panel: Panel, text: str) -> Numbers:
    """The softmax of one query's scores, divided by the root of d and not."""
    look, answer, parameters = apart(service, panel, text)
    dots = torch.tensor(answer.tensors["dots"])
    mask = torch.tensor(answer.tensors["mask"]).bool()
    scale = float(answer.fields["scale"])
    plain = dots.masked_fill(~mask, -torch.inf).softmax(-1)
    scaled = (dots * scale).masked_fill(~mask, -torch.inf).softmax(-1)
    rows = tuple(
        zip(tokens_of(answer), dots.tolist(), plain.tolist(), scaled.tolist(), strict=True)
    )
    d = len(answer.tensors["q"])
    values = {
        "query": look.word,
        "d": str(d),
        "root": f"{d**0.5:.2f}",
        "plain": f"{entropy(plain):.2f}",
        "scaled": f"{entropy(scaled):.2f}",
        "most_plain": f"{plain.max():.2f}",
        "most_scaled": f"{scaled.max():.2f}",
    }
    columns = (
        WORD,
        "q·k",
        Message("column", "softmax of q·k"),
        Message("column", "softmax of q·k/√d"),
    )
    api = f"{PREFIX}/anatomy?{urlencode(parameters)}"
    holds = entropy(scaled) > entropy(plain) and float(plain.max()) > ALMOST_ALL
    choices = (
        (Message("choice", "without the division"), float(plain.max())),
        (Message("choice", "with the division"), float(scaled.max())),
    )
    return Numbers(columns, rows, api, steps_link(parameters), values, holds, {"bars": 2}, choices)


def weights_and_values(service: Service, panel: Panel, text: str) -> Numbers:
    """What each word adds to the head's output: its weight, its value's length, the product."""
    look, answer, parameters = apart(service, panel, text)
    attn = torch.tensor(answer.tensors["attn"])
    length = torch.tensor(answer.tensors["v"]).norm(dim=-1)
    adds = attn * length
    z = torch.tensor(answer.tensors["z"])
    error = float((attn @ torch.tensor(answer.tensors["v"]) - z).abs().max())
    words = tokens_of(answer)
    rows = tuple(zip(words, attn.tolist(), length.tolist(), adds.tolist(), strict=True))
    values = {
        "query": look.word,
        "most": words[int(adds.argmax())],
        "adds": f"{adds.max():.2f}",
        "z": f"{z.norm():.2f}",
        "error": scientific(error),
    }
    columns = (
        WORD,
        Message("column", "attention A"),
        Message("column", "length of v"),
        Message("column", "A × length of v"),
    )
    api = f"{PREFIX}/anatomy?{urlencode(parameters)}"
    short, is_short = _short_value(attn, length)
    values |= {
        "short": words[short],
        "share": f"{attn[short]:.2f}",
        "length": f"{length[short]:.2f}",
        "little": f"{adds[short]:.2f}",
    }
    holds = error < 1e-4 and is_short
    return Numbers(columns, rows, api, steps_link(parameters), values, holds)


def _short_value(attn: Tensor, length: Tensor) -> tuple[int, bool]:
    """The token with the shortest value among those with attention, and whether it is short.

    It is where its part of all that is added is less than its attention by a quarter or more.
    """
    adds = attn * length
    short = int(length.masked_fill(attn < NOTED, torch.inf).argmin())
    return short, bool(adds[short] / adds.sum() < attn[short] * 0.75)


def softmax_of_row(service: Service, panel: Panel, text: str) -> Numbers:
    """Scores, their exponentials, and the shares that these are of their sum."""
    look, answer, parameters = apart(service, panel, text)
    scores = torch.tensor([s if s is not None else -torch.inf for s in answer.tensors["scores"]])
    exponentials = scores.exp()
    shares = exponentials / exponentials.sum()
    attn = torch.tensor(answer.tensors["attn"])
    words = tokens_of(answer)
    finite = [float(s) if s > -torch.inf else None for s in scores]
    rows: Sequence[Row] = list(
        zip(words, finite, exponentials.tolist(), shares.tolist(), strict=True)
    )
    values = {
        "query": look.word,
        "total": f"{exponentials.sum():.2f}",
        "sum": f"{shares.sum():.3f}",
        "top": words[int(shares.argmax())],
        "attn": f"{shares.max():.2f}",
    }
    columns = (WORD, Message("column", "score s"), Message("column", "exp s"), ATTENTION)
    api = f"{PREFIX}/anatomy?{urlencode(parameters)}"
    holds = bool((shares - attn).abs().max() < 1e-4)
    return Numbers(columns, tuple(rows), api, steps_link(parameters), values, holds)
