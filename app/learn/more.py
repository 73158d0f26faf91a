"""Numbers of whole models and of the mathematics: widths, shapes, costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import urlencode

import torch
from attention_atlas.app.api.arithmetic import ScalingRequest, scaling
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.learn.figures import Cell, Numbers
from attention_atlas.app.learn.squares import Sizes
from attention_atlas.app.learn.squares import shapes as drawn_shapes
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import tokenize
from torch.nn import functional

X, Y = (1.0, 2.0, -1.0, 0.5), (2.0, 1.0, 0.0, 1.0)  # where the reader's hand begins
SCORES, TEMPERATURES = (2.0, 1.0, 0.0, -1.0), (0.5, 1, 2)
WIDTH = 256  # the largest head of the scaling measurement


def length_of(service: Service, model: str, text: str) -> int:
    """The number of tokens of a text, special tokens included."""
    with service.lent(model, text=text) as loaded:
        return len(tokenize(loaded, text))


def variance_by_width(service: Service, text: str) -> Numbers:
    """The variance of q·k of random vectors, and what it does to the softmax, by width."""
    answer = scaling(service, ScalingRequest(d_k=WIDTH)).fields
    widths, n_key = answer["widths"], answer["n_key"]
    rows = tuple(
        (
            row["d_k"],
            row["entropy"]["plain"],
            row["entropy"]["scaled"],
            row["variance"] / row["d_k"],
        )
        for row in widths
    )
    last = widths[-1]
    values = {
        "d": str(last["d_k"]),
        "variance": f"{last['variance']:.0f}",
        "spread": f"{last['variance'] ** 0.5:.1f}",
        "n": str(n_key),
        "even": f"{math.log(n_key):.2f}",
        "plain": f"{last['entropy']['plain']:.2f}",
        "scaled": f"{last['entropy']['scaled']:.2f}",
    }
    holds = all(0.7 < row["variance"] / row["d_k"] < 1.3 for row in widths)
    holds &= last["entropy"]["plain"] < last["entropy"]["scaled"] / 2
    columns = (
        "d",
        Message("column", "entropy, softmax of q·k"),
        Message("column", "entropy, softmax of q·k/√d"),
        Message("column", "variance of q·k, divided by d"),
    )
    api = f"{PREFIX}/arithmetic/scaling?d_k={WIDTH}"
    options = {"y": "", "log": True, "verdict": "right"}
    choices = tuple(
        (f"d = {w['d_k']}", 1 - w["entropy"]["plain"] / math.log(n_key))
        for w in (widths[0], widths[len(widths) // 2], last)
    )
    return Numbers(columns, rows, api, "/attention#scale", values, holds, options, choices)


def shapes(service: Service, text: str) -> Numbers:
    """The shapes of one token's computation, of all tokens', and of a batch's."""
    with service.lent("bert", text=text) as loaded:
        T, config = len(tokenize(loaded, text)), loaded.config
    D, H = config.d_model, config.n_head
    d = D // H
    rows: tuple[tuple[Cell, ...], ...] = (
        ("x", f"1 × {D}", f"{T} × {D}", f"N × {T} × {D}"),
        ("W_Q, W_K, W_V", f"{D} × {d}", f"{D} × {d}", f"{D} × {d}"),
        ("q, k, v", f"1 × {d}", f"{T} × {d}", f"N × {T} × {d}"),
        (Message("row", "scores, attention"), f"1 × {T}", f"{T} × {T}", f"N × {T} × {T}"),
        (Message("row", "z, a head's output"), f"1 × {d}", f"{T} × {d}", f"N × {T} × {d}"),
    )
    columns = (
        "",
        Message("column", "one token"),
        Message("column", "all tokens at once"),
        Message("column", "a batch of N texts"),
    )
    values = {"T": str(T), "D": str(D), "d": str(d), "square": str(T * T)}
    link = f"/attention?{urlencode({'model': 'bert', 'text': text})}"
    api = f"{PREFIX}/tokenize?{urlencode({'model': 'bert', 'text': text})}"
    drawing = drawn_shapes(Sizes(T, D, d))
    return Numbers(columns, rows, api, link, values, drawing=drawing)


def recurrent_or_not(service: Service, text: str) -> Numbers:
    """Work, waiting and distance in a recurrent and in a self-attention layer on a text."""
    with service.lent("bert", text=text) as loaded:
        T, D = len(tokenize(loaded, text)), loaded.config.d_model
    rows: tuple[tuple[Cell, ...], ...] = (
        (Message("row", "multiplications, about"), float(T * D * D), float(T * T * D)),
        (Message("row", "steps that wait for the one before"), T, 1),
        (Message("row", "longest way between two tokens"), T, 1),
        (Message("row", "attention weights"), 0, T * T),
    )
    columns = ("", Message("column", "recurrent layer"), Message("column", "self-attention layer"))
    values = {"T": str(T), "D": str(D), "square": str(T * T), "double": str(4 * T * T)}
    choices = (
        (Message("choice", "it doubles"), 2.0),
        (Message("choice", "it becomes four times as large"), 4.0 if T > 1 else 0.0),
        (Message("choice", "it stays the same"), 1.0),
    )
    options = {"verdict": "right"}
    link = "/attention#cost"
    api = f"{PREFIX}/tokenize?{urlencode({'model': 'bert', 'text': text})}"
    return Numbers(columns, rows, api, link, values, options=options, choices=choices)


def vectors(service: Service, text: str) -> Numbers:
    """Two vectors under the reader's hand."""
    x, y = torch.tensor(X), torch.tensor(Y)
    dot = float(x @ y)
    rows = (
        (Message("row", "dot product"), dot),
        (Message("row", "dot product / √d"), dot / len(X) ** 0.5),
        (Message("row", "cosine"), float(functional.cosine_similarity(x, y, dim=0))),
        (Message("row", "Pearson's r"), float(torch.corrcoef(torch.stack([x, y]))[0, 1])),
    )
    columns = (f"x = ({_listed(X, ', ')}), y = ({_listed(Y, ', ')})", Message("column", "value"))
    options = {"hand": "vectors", "x": _listed(X), "y": _listed(Y)}
    return Numbers(columns, rows, "", "/attention#scores", options=options)


def temperature(service: Service, text: str) -> Numbers:
    """Scores and a temperature under the reader's hand."""
    shares = [(torch.tensor(SCORES) / t).softmax(-1).tolist() for t in TEMPERATURES]
    rows = tuple(zip(SCORES, *shares, strict=True))
    columns = (
        Message("column", "score"),
        *(Message("column", "share at temperature {t}", t=t) for t in TEMPERATURES),
    )
    options = {"hand": "softmax", "scores": _listed(SCORES), "temperature": 1}
    return Numbers(columns, rows, "", "/attention#scores", options=options)


def _listed(values: Sequence[float], between: str = ",") -> str:
    return between.join(f"{value:g}" for value in values)
