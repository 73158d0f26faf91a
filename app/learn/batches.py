"""Numbers of masks: a padded batch, what a mask does to a row, what happens without one."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import torch
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.masks import MasksRequest, masks
from attention_atlas.app.language import in_words
from attention_atlas.app.learn.figures import Cell, Numbers, Panel
from attention_atlas.app.learn.heads import looked
from attention_atlas.app.learn.measures import ATTENTION, WORD
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.messages import Message

BESIDE = ("This is a new test", "This is it")  # in the batch with the reader's sentence
MODEL = "gpt"


def batch(service: Service, parameters: dict[str, object]) -> Answer:
    texts = json.loads(str(parameters["texts"]))
    with service.lent(str(parameters["model"]), text=texts[0]) as loaded:
        return masks(service, MasksRequest.model_validate(parameters), loaded)


def parameters_of(text: str, **more: object) -> dict[str, object]:
    return parameters_alone(text, *BESIDE, **more)


def parameters_alone(*texts: str, **more: object) -> dict[str, object]:
    """A batch of these texts and no others."""
    return {"model": MODEL, "texts": json.dumps(texts, ensure_ascii=False), **more}


def addresses(parameters: dict[str, object]) -> tuple[str, str]:
    """The API's and the page's address of a batch."""
    page = {**parameters, "texts": "\n".join(json.loads(str(parameters["texts"])))}
    return f"{PREFIX}/masks?{urlencode(parameters)}", f"/masks?{urlencode(page)}"


def _names(answer: Answer, row: int) -> list[str]:
    """The tokens of a text and the padding after them."""
    tokens = answer.fields["k_tokens"][row]
    names = [token["text"].strip() or token["raw"] for token in tokens]
    width = answer.tensors["ids"].shape[1]
    return [*names, *[answer.fields["pad"]] * (width - len(names))]


def padded(service: Service, text: str) -> Numbers:
    """Three texts as one rectangle of tokens."""
    parameters = parameters_of(text, model="bert")
    answer = batch(service, parameters)
    rows = tuple((str(i), *_names(answer, i)) for i in range(1 + len(BESIDE)))
    n_pad = int((~torch.tensor(answer.tensors["padding"])).sum())
    width = len(rows[0]) - 1
    columns = (Message("column", "text"), *map(str, range(width)))
    values = {"T": str(width), "n": str(n_pad), "pad": answer.fields["pad"]}
    options = {"padding": answer.fields["pad"]}
    return Numbers(columns, rows, *addresses(parameters), values, n_pad > 0, options)


def to_padding(service: Service, text: str) -> Numbers:
    """How much the shortest text of the batch gives to padding, with its mask and without."""
    kept, off = (
        parameters_of(text, model="bert", layer=0, head=0),
        parameters_of(text, model="bert", layer=0, head=0, off="padding"),
    )
    answers = [batch(service, parameters) for parameters in (kept, off)]
    shares = [answer.fields["pad_attention"] for answer in answers]
    rows = tuple(
        (text_of, with_mask, without)
        for text_of, with_mask, without in zip((text, *BESIDE), *shares, strict=True)
    )
    most = max(shares[1])
    columns = (
        Message("column", "text"),
        Message("column", "to padding, with the mask"),
        Message("column", "to padding, without"),
    )
    values = {"most": f"{most:.2f}", "kept": f"{max(shares[0]):.2f}"}
    return Numbers(columns, rows, *addresses(off), values, most > 0.01 and max(shares[0]) == 0)


def masked_row(service: Service, panel: Panel, text: str) -> Numbers:
    """One query's scores before and after the causal mask, and the attention: −∞ against 0."""
    look = looked(service, panel, text)
    kind, layer, head = look.head_place
    parameters = parameters_alone(text, kind=kind, layer=layer, head=head)
    answer = batch(service, parameters)
    scores = torch.tensor(answer.tensors["scores"])[0, look.query]
    allowed = torch.tensor(answer.tensors["combined"])[0, look.query].bool()
    attn = torch.tensor(answer.tensors["attn"])[0, look.query]
    zero = scores.masked_fill(~allowed, 0.0).softmax(-1)
    rows: list[tuple[Cell, ...]] = [
        (name, score, score if may else "−∞", share, leak)
        for name, score, may, share, leak in zip(
            _names(answer, 0),
            scores.tolist(),
            allowed.tolist(),
            attn.tolist(),
            zero.tolist(),
            strict=True,
        )
    ]
    columns = (
        WORD,
        Message("column", "score"),
        Message("column", "masked score"),
        ATTENTION,
        Message("column", "with 0 in place of −∞"),
    )
    leak = float(zero[~allowed].sum())
    values = {"query": look.word, "leak": f"{leak:.3f}", "sum": f"{attn.sum():.3f}"}
    choices = (
        (Message("choice", "less than a tenth"), float(leak < 0.1)),
        (Message("choice", "about half"), float(0.1 <= leak <= 0.9)),
        (Message("choice", "more than nine tenths"), float(leak > 0.9)),
    )
    options = {"bars": 2, "verdict": "right"}
    pair = addresses(parameters)
    return Numbers(columns, tuple(rows), *pair, values, leak > 0.01, options, choices)


def both_masks(service: Service, text: str) -> Numbers:
    """Padding and causal mask together, of the shortest text in the batch."""
    parameters = parameters_of(text)
    answer = batch(service, parameters)
    padding = torch.tensor(answer.tensors["padding"])
    row = int(padding.sum(-1).argmin())
    names = _names(answer, row)
    allowed = torch.tensor(answer.tensors["combined"])[row].bool().tolist()
    rows: list[tuple[Cell, ...]] = [
        (name, *[1.0 if may else None for may in line])
        for name, line in zip(names, allowed, strict=True)
    ]
    n_real, width = int(padding[row].sum()), padding.size(1)
    values = {"real": str(n_real), "T": str(width), "n": str(sum(map(sum, allowed)))}
    options = {"name": in_words(Message("legend", "allowed")), "range": {"scale": "flag"}}
    holds = n_real < width
    return Numbers(("", *names), tuple(rows), *addresses(parameters), values, holds, options)


def look_ahead(service: Service, text: str) -> Numbers:
    """The loss of the next word with the causal mask and without it."""
    parameters = parameters_alone(text, off="causal")
    answer = batch(service, parameters)
    losses = answer.fields["losses"]
    rows = (
        (Message("row", "with the causal mask"), losses["on"]),
        (Message("row", "without it"), losses["off"]),
    )
    columns = (Message("column", "model"), Message("column", "loss of the next word, nats"))
    values = {"on": f"{losses['on']:.2f}", "off": f"{losses['off']:.2f}"}
    return Numbers(columns, rows, *addresses(parameters), values, losses["off"] < losses["on"])
