"""Numbers of heads and layers: roles, parts, what is lost without a head, norms, positions."""

from __future__ import annotations

import math
from urllib.parse import urlencode

import torch
from attention_atlas.app.api.arithmetic import (
    GradientsRequest,
    LayerRequest,
    blocks,
    gradients,
)
from attention_atlas.app.api.arithmetic import activations as activations_of
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.generate import NextTokenRequest, next_token
from attention_atlas.app.api.hidden_states import HiddenRequest, hidden
from attention_atlas.app.api.positions import (
    PermutationRequest,
    PositionsRequest,
    permutation,
    positions,
)
from attention_atlas.app.api.spec import EditSpec, TextRequest
from attention_atlas.app.language import in_words
from attention_atlas.app.learn.drawings import activation, concatenation, directions, gelu
from attention_atlas.app.learn.figures import Cell, Numbers, Panel, scientific
from attention_atlas.app.learn.heads import looked
from attention_atlas.app.learn.measures import WORD
from attention_atlas.app.learn.tasks import address_of, page_of
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.arithmetic import head_parts
from attention_atlas.model.messages import Message

KIND_NAMES = {
    "encoder": Message("row", "encoder attention"),
    "decoder": Message("row", "decoder attention"),
    "cross": Message("row", "cross-attention"),
}
LAYER = Message("column", "layer")
SHOWN = 16  # dimensions of a picture
DEPTH = 24
CLEARLY_LESS = 0.8  # of a probability


def parts_of_a_layer(service: Service, panel: Panel, text: str) -> Numbers:
    """What each head adds to one word, as lengths, and the error of their sum."""
    look = looked(service, panel, text)
    _, layer, _ = look.head_place
    parameters = {"model": panel.model, "text": text, "layer": layer}
    with service.lent(panel.model, text=text) as loaded:
        parts = head_parts(loaded, text, layer)
    H, _, d = parts.z.shape
    norms, output = parts.norms[:, look.query].tolist(), float(parts.output[look.query])
    rows = tuple((Message("row", "head {i}", i=i), norm) for i, norm in enumerate(norms))
    values = {
        "query": look.word,
        "layer": str(layer),
        "heads": str(H),
        "d": str(d),
        "D": str(H * d),
        "output": f"{output:.2f}",
        "lengths": f"{sum(norms):.2f}",
        "error": scientific(parts.error),
        "most": str(max(range(H), key=norms.__getitem__)),
    }
    columns = (Message("column", "head"), Message("column", "length of what it adds"))
    return Numbers(
        columns,
        rows,
        f"{PREFIX}/arithmetic/heads?{urlencode(parameters)}",
        f"/attention?{urlencode(parameters)}#heads",
        values,
        parts.error < 1e-3 and output < sum(norms),
        choices=tuple(rows),
        drawing=concatenation(look.word, parts.z[:, look.query].tolist(), norms, output),
    )


def without_a_head(service: Service, panel: Panel, text: str) -> Numbers:
    """The probability of the text's last token with all heads, and without some."""
    kind, layer, head = looked(service, panel, panel.text).head_place
    cases = (
        (Message("row", "all heads"), None),
        (Message("row", "without this head"), {"layer": layer, "head": head}),
        (Message("row", "without its layer's heads"), {"layer": layer}),
    )
    rows = []
    parameters: dict[str, object] = {"model": panel.model, "text": text}
    with service.lent(panel.model, text=text) as loaded:
        for name, ablated in cases:
            edits = () if ablated is None else (EditSpec(op="ablate", **ablated),)
            request = NextTokenRequest(model=panel.model, text=text, edits=edits)
            answer = next_token(service, request, loaded).fields
            rows.append((name, math.exp(answer["log_probabilities"][-1])))
        last = answer["tokens"][-1]["text"].strip()
    values = {"head": f"L{layer} H{head}", "last": last, "layer": str(layer)}
    names = ("all", "off", "layer_off")
    values |= {name: f"{p:.2f}" for name, (_, p) in zip(names, rows, strict=True)}
    columns = (
        Message("column", "which heads work"),
        Message("column", "probability of the last token"),
    )
    api = f"{PREFIX}/next-token?{urlencode(parameters)}"
    link = f"/generate?{urlencode(parameters)}"
    return Numbers(columns, tuple(rows), api, link, values, rows[1][1] < CLEARLY_LESS * rows[0][1])


def other_numbers_of_heads(service: Service, text: str) -> Numbers:
    """The same queries and keys cut into fewer and into more heads."""
    parameters = {"model": "bert", "text": text, "layer": 0}
    with service.lent("bert", text=text) as loaded:
        cuts = head_parts(loaded, text, 0).regrouped
    rows = tuple((c.n_head, c.d, c.n_number, c.entropy, c.apart) for c in cuts)
    columns = (
        Message("column", "heads"),
        Message("column", "width d of each"),
        Message("column", "attention weights"),
        Message("column", "entropy, nats"),
        Message("column", "difference between heads, nats"),
    )
    numbers = [cut.n_head for cut in cuts]
    values = {"most": str(max(numbers)), "few": str(min(numbers))}
    api = f"{PREFIX}/arithmetic/heads?{urlencode(parameters)}"
    several = cuts[1:]  # a single head has no others to differ from
    holds = several[-1].entropy > several[0].entropy and several[-1].apart < several[0].apart
    page, options = f"/attention?{urlencode(parameters)}#heads", {"bars": 2}
    return Numbers(columns, rows, api, page, values, holds, options)


def activations(service: Service, text: str) -> Numbers:
    """ReLU and GELU, and the values that enter BERT's GELU in its first layer."""
    parameters = {"model": "bert", "text": text, "layer": 0}
    with service.lent("bert", text=text) as loaded:
        answer = activations_of(service, LayerRequest.model_validate(parameters), loaded).fields
    edges, counts = answer["edges"], answer["counts"]
    rows: list[tuple[Cell, ...]] = [
        (f"{low:g} … {high:g}".replace("-", "−"), n, max(low, 0.0), round(gelu(low), 3))
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
    ]
    rows[0] = (f"< {edges[1]:g}".replace("-", "−"), counts[0], None, None)  # and all below
    rows[-1] = (f"≥ {edges[-2]:g}", *rows[-1][1:])
    n_token, d_ff, negative = len(answer["tokens"]), answer["d_ff"], answer["negative"]
    caption = Message(
        "drawing",
        "x W₁ + b₁ in layer 0 of BERT: {T} tokens × {F} values",
        T=n_token,
        F=d_ff,
    )
    values = {
        "gelu": f"{gelu(-1):.2f}".replace("-", "−"),
        "n": f"{n_token * d_ff:,}",
        "F": f"{d_ff:,}",
        "below": f"{100 * negative:.0f}",
    }
    columns = (
        Message("column", "values from … to"),
        Message("column", "how many"),
        Message("column", "ReLU of the lower end"),
        Message("column", "GELU of the lower end"),
    )
    return Numbers(
        columns,
        tuple(rows),
        address_of("arithmetic/activations", **parameters),
        page_of("attention", **parameters) + "#block",
        values,
        negative > 0.5,
        choices=(
            (Message("choice", "fewer than half"), 1 - negative),
            (Message("choice", "more than half"), negative),
        ),
        drawing=activation((edges, counts), caption),
    )


def states(service: Service, text: str) -> Numbers:
    """Some dimensions of every token's state: a row for layer norm, a column for batch norm."""
    parameters = {"model": "bert", "text": text}
    with service.lent("bert", text=text) as loaded:
        answer = hidden(service, HiddenRequest.model_validate(parameters), loaded)
    whole = torch.tensor(answer.tensors["hidden"])[1]  # (T, D), after layer 0
    by_token = torch.nn.functional.layer_norm(whole, whole.shape[-1:])
    by_dimension = (whole - whole.mean(0)) / (whole.var(0, correction=0) + 1e-5).sqrt()
    state = whole[:, :SHOWN]
    names = [t["text"].strip() or t["raw"] for t in answer.fields["tokens"]]
    rows: list[tuple[Cell, ...]] = [
        (name, *row) for name, row in zip(names, state.tolist(), strict=True)
    ]
    values = {"n": str(SHOWN), "D": str(whole.size(1))}
    for suffix, normed in (("", whole), ("_layer", by_token), ("_batch", by_dimension)):
        values["token" + suffix] = f"{_spread(normed, 1):.2f}"
        values["dimension" + suffix] = f"{_spread(normed, 0):.2f}"
    api = f"{PREFIX}/hidden-states?{urlencode(parameters)}"
    columns = ("", *map(str, range(SHOWN)))
    holds = abs(_spread(by_token, 1) - 1) < 0.1
    link = f"/attention?{urlencode(parameters)}#block"
    choices = (
        (Message("choice", "each token, over its dimensions"), _spread(by_token, 1)),
        (Message("choice", "each dimension, over the tokens"), _spread(by_token, 0)),
    )
    drawing = directions(names, state.tolist())
    return Numbers(columns, tuple(rows), api, link, values, holds, choices=choices, drawing=drawing)


def _spread(x: torch.Tensor, axis: int) -> float:
    return float(x.std(axis, correction=0).mean())


def lengths_by_layer(service: Service, text: str) -> Numbers:
    """The residual stream's length, and what attention and feed-forward add to it."""
    parameters = {"model": "gpt", "text": text}
    with service.lent("gpt", text=text) as loaded:
        layers = blocks(service, TextRequest.model_validate(parameters), loaded).fields["layers"]
    rows = tuple(
        (i, layer["residual"], layer["attention"], layer["feed_forward"])
        for i, layer in enumerate(layers)
    )
    columns = (
        LAYER,
        Message("column", "residual stream into the layer"),
        Message("column", "attention adds"),
        Message("column", "feed-forward adds"),
    )
    values = {"first": f"{rows[0][1]:.1f}", "last": f"{rows[-1][1]:.1f}"}
    api = f"{PREFIX}/arithmetic/blocks?{urlencode(parameters)}"
    options = {"y": in_words(Message("axis", "mean length"))}
    link = f"/attention?{urlencode(parameters)}#block"
    return Numbers(columns, rows, api, link, values, rows[-1][1] > rows[0][1], options)


def gradients_by_depth(service: Service, text: str) -> Numbers:
    """How long the gradient is at each layer of a deep stack, with residuals and norms or not."""
    stacks = gradients(service, GradientsRequest(depth=DEPTH)).fields["stacks"]
    order = ("residual_norm", "residual", "norm", "plain")
    rows = tuple((i, *[stacks[name][i] for name in order]) for i in range(DEPTH + 1))
    columns = (
        LAYER,
        Message("column", "residual and norm"),
        Message("column", "residual"),
        Message("column", "norm"),
        Message("column", "plain"),
    )
    plain, both = stacks["plain"][0], stacks["residual_norm"][0]
    values = {"depth": str(DEPTH), "plain": scientific(plain), "both": f"{both:.2g}"}
    options = {"y": in_words(Message("axis", "length of the gradient")), "logY": True}
    api = f"{PREFIX}/arithmetic/gradients?depth={DEPTH}"
    return Numbers(
        columns, rows, api, "/attention#block", values, plain < both / 100 and both < 10, options
    )


def another_order(service: Service, text: str) -> Numbers:
    """How much each token's state changes when the words are reversed."""
    parameters = {"model": "bert", "text": text}
    with service.lent("bert", text=text) as loaded:
        answer = permutation(service, PermutationRequest.model_validate(parameters), loaded).fields
    names = [t["text"].strip() or t["raw"] for t in answer["tokens_a"]]
    by_token = answer["by_token"]
    rows = tuple(zip(names, by_token["with"], by_token["without"], strict=True))
    columns = (
        WORD,
        Message("column", "change, with positions"),
        Message("column", "change, without positions"),
    )
    difference = answer["difference"]
    values = {
        "other": answer["text_b"],
        "with": f"{difference['with']:.2f}",
        "without": scientific(difference["without"]),
    }
    api = f"{PREFIX}/permutation?{urlencode(parameters)}"
    link = f"/positions?{urlencode(parameters)}"
    holds = difference["without"] < 1e-3 < difference["with"]
    choices = (
        (Message("choice", "with positions"), float(difference["with"])),
        (Message("choice", "without positions"), float(difference["without"])),
    )
    options = {"bars": 2}
    return Numbers(columns, rows, api, link, values, holds, options, choices)


def sines(service: Service, text: str) -> Numbers:
    """The paper's position vectors."""
    answer = positions(service, PositionsRequest(n_positions=32, d_model=32))
    rows = tuple((str(i), *row) for i, row in enumerate(answer.tensors["encoding"].tolist()))
    axes = [in_words(Message("axis", "position")), in_words(Message("axis", "dimension"))]
    options = {
        "name": "PE",
        "axes": axes,
        "range": {"scale": "signed", "low": -1, "high": 1},
    }
    waves = answer.tensors["wavelengths"]
    values = {"short": f"{waves[0]:.2f}", "long": f"{waves[-1]:,.0f}", "D": "32"}
    api = f"{PREFIX}/positions?n_positions=32&d_model=32"
    link = "/positions?n_positions=32&d_model=32"
    return Numbers(("", *map(str, range(32))), rows, api, link, values, options=options)


def learned_positions(service: Service, text: str) -> Numbers:
    """The similarity of every two positions that BERT learned."""
    n = 48
    with service.lent("bert") as loaded:
        answer = positions(service, PositionsRequest(model="bert", n_positions=n), loaded)
    similarity = torch.tensor(answer.tensors["similarity"])
    rows = tuple((str(i), *row) for i, row in enumerate(similarity.tolist()))
    near, far = (answer.tensors["by_distance"][i] for i in (1, n - 1))
    axes = [in_words(Message("axis", "position")), in_words(Message("axis", "position"))]
    options = {
        "name": in_words(Message("legend", "cosine")),
        "axes": axes,
        "range": {"scale": "signed", "low": -1, "high": 1},
    }
    values = {"near": f"{near:.2f}", "far": f"{far:.2f}".replace("-", "−"), "n": str(n)}
    api = f"{PREFIX}/positions?model=bert&n_positions={n}"
    columns = ("", *map(str, range(n)))
    return Numbers(columns, rows, api, "/positions?model=bert", values, bool(near > far), options)


def whole_model(service: Service, text: str) -> Numbers:
    """The model drawn as a whole, and its sizes."""
    with service.lent("translator") as loaded:
        n_layer, n_head = loaded.shape("encoder")
        shapes = {kind: loaded.shape(kind) for kind in loaded.kinds}
        V, D, d_ff = (getattr(loaded.config, x) for x in ("vocab_size", "d_model", "d_ff"))
    rows = (
        (Message("row", "words"), f"{V:,} × {D}"),
        *((KIND_NAMES[kind], f"{L} × {H}") for kind, (L, H) in shapes.items()),
        (Message("row", "feed-forward"), f"{D} → {d_ff} → {D}"),
    )
    columns = (Message("column", "part"), Message("column", "size; of attention, layers × heads"))
    values = {
        "layers": str(n_layer),
        "heads": str(n_head),
        "parameters": f"{loaded.n_parameters:,}",
    }
    return Numbers(columns, rows, f"{PREFIX}/models/translator", "/models/translator", values)
