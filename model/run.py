"""run(loaded, spec, part) -> Run: tokenizer, model with a tape, records. The one door for app/."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from attention_atlas.model.generate import translate
from attention_atlas.model.languages import Direction, Frame
from attention_atlas.model.metrics import measured_heads
from attention_atlas.model.protocol import Batch
from attention_atlas.model.record import (
    AttentionRecord,
    Run,
    Selection,
    Sketch,
    Token,
    axes,
    collapsed,
)
from attention_atlas.model.reductions import block_of, blocks
from attention_atlas.model.tape import Edit, Kind, Quantity, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

INVISIBLE = ("Zs", "Zl", "Zp", "Cc", "Cf")  # categories of Unicode
TOP = 10  # candidates shown of a distribution
EVERYTHING = Selection()
NOTHING = Selection(layers=())  # tokens and predictions alone


Sequences = dict[str, tuple[Token, ...]]
Forward = tuple[Sequences, dict[str, Any]]


class BadInput(Exception):
    """Something in a run spec that this model cannot take; `field` says which part."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Spec:
    """What to run: a text, and where they apply BERT's second sentence, a target, edits."""

    text: str
    text_pair: str | None = None
    target: str | None = None  # None: decoded greedily
    target_ids: tuple[int, ...] = ()  # the target as a model said it, cut as its text may not be
    source_lang: str | None = None  # of a tokenizer that has languages; None: its default
    target_lang: str | None = None
    edits: tuple[Edit, ...] = ()


@torch.inference_mode()
def run(loaded: Loaded, spec: Spec, part: Selection = EVERYTHING) -> Run:
    """One forward pass, recorded. Raises BadInput, naming the limit."""
    check_part(loaded, part.kind, part.layers or (), part.heads or ())
    check_has(loaded, part.quantity, "quantity")
    tape = Tape(
        keep=(part.quantity, "mask"),
        kinds=None if part.kind is None else (part.kind,),
        layers=part.layers,
        heads=part.heads,
        edits=spec.edits,
    )
    sequences, predictions = forward(loaded, spec, tape)
    kinds = [kind for kind in loaded.kinds if part.kind in (None, kind) and part.layers != ()]
    target = predictions.get("translation")
    return Run(
        text=spec.text,
        text_pair=spec.text_pair,
        target=target,
        target_decoded=target is not None and spec.target is None and not spec.target_ids,
        sequences=sequences,
        records={kind: _record(loaded, tape, kind, sequences, part) for kind in kinds},
        predictions=predictions,
    )


@torch.inference_mode()
def sketch(loaded: Loaded, spec: Spec, kind: Kind, size: int, sequences: Sequences) -> Sketch:
    """Every head of one kind at most `size` cells a side, and its metrics; `sequences` are the
    run's. On the device one head at a time is whole, so long texts take little memory."""
    check_part(loaded, kind, (), ())
    q_tokens, k_tokens = (sequences[name] for name in axes(kind, sequences))
    block = block_of(len(q_tokens), len(k_tokens), size)
    names: list[str] = []

    def digest(kept: dict[Quantity, Tensor]) -> dict[Quantity, Tensor]:
        attn = kept["attn"]
        found = measured_heads(attn, kind, k_tokens)
        names[:] = found
        numbers = torch.stack(list(found.values()), -1)  # (B, h, metrics)
        return {
            "attn": blocks(attn, block).cpu(),
            "mask": blocks(kept["mask"], block).cpu(),
            "metrics": numbers.cpu(),
        }

    tape = Tape(keep=("attn", "mask"), kinds=(kind,), edits=spec.edits, digest=digest)
    forward(loaded, spec, tape)
    steps = sorted(tape, key=lambda step: step.layer)
    numbers = torch.stack([step.kept["metrics"][0] for step in steps])  # (L, H, metrics)
    return Sketch(
        kind=kind,
        attn=torch.stack([step.attn[0] for step in steps]),
        mask=_mask([step.mask[0] for step in steps]),
        metrics={name: numbers[..., i] for i, name in enumerate(names)},
        size=size,
        block=block,
        q_tokens=q_tokens,
        k_tokens=k_tokens,
        layers=tuple(step.layer for step in steps),
        heads=tuple(range(loaded.shape(kind)[1])),
    )


def forward(loaded: Loaded, spec: Spec, tape: Tape) -> Forward:
    """The forward pass itself: tokens and predictions; what was looked at is on the tape."""
    check_spec(loaded, spec)
    try:
        sequences, text = _sequences(loaded, spec)
        x = read(loaded, sequences, tape)
        predictions = PREDICTIONS[loaded.family](loaded, spec, sequences, x)
    except ValueError as error:  # an edit that does not fit the text
        raise BadInput("edits", str(error)) from None
    for edit in spec.edits:
        check_tokens(loaded, edit, sequences)
    translation = {} if text is None else {"translation": text}
    return sequences, translation | predictions


def tokenize(
    loaded: Loaded, text: str, text_pair: str | None = None, direction: Direction | None = None
) -> tuple[Token, ...]:
    """The text as the model sees it, framed by its special tokens. Raises BadInput if too long."""
    _check_texts(loaded, text, text_pair)
    tokens = loaded.tokenizer.encode(text, text_pair, direction)
    if all(token.special and token.start == token.end for token in tokens):
        raise BadInput("text", "the text has no tokens: only spaces or invisible characters")
    fits(loaded, "text", len(tokens))
    beyond = next((t for t in tokens if t.id >= loaded.config.vocab_size), None)
    if beyond is not None:
        raise BadInput("text", f"{loaded.name} has no vector for its token {beyond.raw}")
    return tokens


def _check_texts(loaded: Loaded, text: str, text_pair: str | None) -> None:
    """Something to read in each text; to a decoder that goes on, spaces are something."""
    if not text:
        raise BadInput("text", "the text is empty; type at least one word")
    if text_pair is not None and not loaded.takes_pair:
        raise BadInput("text_pair", f"{loaded.name} takes one text, not a pair")
    if "translate" in loaded.tasks and is_blank(text):
        raise BadInput("text", "the text has no words: only spaces or invisible characters")
    if text_pair is not None and is_blank(text_pair):
        message = "the second text has no words; type at least one, or leave it out"
        raise BadInput("text_pair", message)


def is_blank(text: str) -> bool:
    """Only spaces, control and format characters."""
    return all(unicodedata.category(character) in INVISIBLE for character in text)


def check(loaded: Loaded, spec: Spec, part: Selection) -> None:
    """Everything that can be refused before any computing."""
    check_spec(loaded, spec)
    check_part(loaded, part.kind, part.layers or (), part.heads or ())
    check_has(loaded, part.quantity, "quantity")


def check_has(loaded: Loaded, what: str, field: str) -> None:
    """A model that has this of itself to show; `field` is to blame."""
    if what in loaded.lacks:
        raise BadInput(field, f"{loaded.name} has no {what} to show: {loaded.why}")


def check_spec(loaded: Loaded, spec: Spec) -> None:
    """Languages and a target for a model that has them, and edits that it can take."""
    direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    given = spec.target is not None or bool(spec.target_ids)
    if given and "translate" not in loaded.tasks:
        raise BadInput("target", f"{loaded.name} has no target; that is for the encoder-decoder")
    if spec.edits:
        check_has(loaded, "edits", "edits")
    for edit in spec.edits:
        _check_positions(loaded, edit)
        decoding = "translate" in loaded.tasks and not given
        grows = "decoder" in loaded.kinds and edit.kind in (None, "decoder")
        if edit.op == "set" and grows and decoding:
            message = "set on decoder attention needs a target: while decoding, the row grows"
            raise BadInput("edits", message)
        check_part(loaded, edit.kind, _listed(edit.layer), _listed(edit.head), field="edits")


def check_part(
    loaded: Loaded,
    kind: Kind | None,
    layers: Sequence[int],
    heads: Sequence[int],
    *,
    field: str = "",
) -> None:
    """A kind, layers and heads that this model has; `field` is to blame, else each by its name."""
    if kind is not None and kind not in loaded.kinds:
        have = ", ".join(loaded.kinds)
        raise BadInput(field or "kind", f"{loaded.name} has {have} attention, not {kind}")
    n_layer, n_head = loaded.shape(kind)
    _in_range(loaded, field or "layer", "layer", layers, n_layer)
    _in_range(loaded, field or "head", "head", heads, n_head)


def _check_positions(loaded: Loaded, edit: Edit) -> None:
    """Only position vectors that are added to the input can be left out or shuffled."""
    if edit.op == "positions":
        check_position_vectors(loaded, "edits")


def check_position_vectors(loaded: Loaded, field: str) -> None:
    """A model that adds position vectors to its input; `field` is to blame."""
    if loaded.model.position_vectors() is not None:
        return
    if not loaded.has_self_attention:
        raise BadInput(field, f"{loaded.name} has no position encoding: it reads word by word")
    how = f"its positions are {loaded.model.positions}, inside attention"
    raise BadInput(field, f"{loaded.name} adds no position vectors to its input: {how}")


def check_tokens(loaded: Loaded, edit: Edit, sequences: Sequences) -> None:
    """An edit's query and key are tokens of some kind that it applies to."""
    kinds = [kind for kind in loaded.kinds if edit.kind in (None, kind)]
    for axis, index in enumerate((edit.query, edit.key)):
        n = max(len(sequences[axes(kind, sequences)[axis]]) for kind in kinds)
        if index is not None and index >= n:
            name = ("query", "key")[axis]
            raise BadInput(
                "edits", f"{name} {index} does not exist: the text has {n} {name} tokens"
            )


def _listed(index: int | None) -> tuple[int, ...]:
    return () if index is None else (index,)


def _in_range(loaded: Loaded, field: str, name: str, indices: Sequence[int], n: int) -> None:
    for index in indices:
        if not 0 <= index < n:
            there = f"{loaded.name} has {name}s 0 to {n - 1}"
            raise BadInput(field, f"{name} {index} does not exist: {there}")


def fits(loaded: Loaded, field: str, n: int) -> None:
    n_ctx = loaded.config.n_ctx
    if n > n_ctx:
        raise BadInput(
            field,
            f"{n} tokens is too long: {loaded.name} takes {n_ctx}. Remove {n - n_ctx} or more.",
        )


def _sequences(loaded: Loaded, spec: Spec) -> tuple[Sequences, str | None]:
    """The tokens of each text that the model reads; a translator's target, as a text too."""
    direction = direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    source = tokenize(loaded, spec.text, spec.text_pair, direction)
    if "cross" not in loaded.kinds:
        return {"source": source}, None
    framed, tokenizer = frame(loaded, direction), loaded.tokenizer
    if spec.target is not None and not spec.target_ids:
        tokens, text = tokenizer.encode_target(spec.target, direction), spec.target
    else:
        check_ids(loaded, spec.target_ids, "target_ids")
        given = [i for i in spec.target_ids if i != framed.end]
        ids = given if spec.target_ids else decoded(loaded, source, framed, spec.edits)
        tokens, text = tokenizer.label(ids), tokenizer.decode(ids)
    target = (beginning(loaded, framed), *tokens)
    fits(loaded, "target", len(target))
    return {"source": source, "target": target}, text


def decoded(
    loaded: Loaded, source: Sequence[Token], framed: Frame, edits: Sequence[Edit] = ()
) -> list[int]:
    """A source's translation, greedily: ids without <s> and </s>."""
    [ids] = translate(
        loaded.translator,
        batch_of(loaded, source),
        framed,
        edits=edits,
        max_tokens=loaded.translator.usual_length(len(source)) + 1,
    )
    return ids


def read(loaded: Loaded, sequences: Sequences, tape: Tape | None = None) -> Tensor:
    """The last hidden states of texts, as one batch: (1, T, D)."""
    source, target = sequences["source"], sequences.get("target")
    batch = Batch(
        batch_of(loaded, source),
        types=types_of(loaded, source),
        target=None if target is None else batch_of(loaded, target),
    )
    return loaded.model.read(batch, tape)


def _blanks(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """An encoder's words for each [MASK], and whether the second text follows the first."""
    mask_id = loaded.tokenizer.mask_id if "fill-mask" in loaded.tasks else None
    masked = [i for i, token in enumerate(sequences["source"]) if token.id == mask_id]
    model = loaded.encoder
    masks = [
        {"position": i, "candidates": candidates(loaded, model.masked_words(x[0, i]))}
        for i in masked
    ]
    paired = spec.text_pair and "next-sentence" in loaded.tasks
    is_next = model.next_sentence(x).softmax(-1)[0, 0].item() if paired else None
    return {"masks": masks, "is_next": is_next}


def _next_token(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """A decoder's next token."""
    if "next-token" not in loaded.tasks:
        return {}
    return {"next_token": candidates(loaded, loaded.model.logits(x[0, -1]))}


def _log_probability(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """How probable a translator finds the target, its end included."""
    direction = direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    following = [token.id for token in sequences["target"][1:]]
    following.append(frame(loaded, direction).end)
    log_p = loaded.model.logits(x)[0].log_softmax(-1)  # (Tq, V)
    total = log_p.gather(-1, _batch(loaded, following).T).sum().item()
    return {"log_probability": total}


Predict = Callable[[Loaded, Spec, Sequences, Tensor], dict[str, Any]]
PREDICTIONS: dict[str, Predict] = {
    "encoder": _blanks,
    "decoder": _next_token,
    "encoder-decoder": _log_probability,
    "recurrent": _log_probability,
}


def frame(loaded: Loaded, direction: Direction | None = None) -> Frame:
    """What a translation into a language begins with, must say first, and ends with."""
    known = loaded.tokenizer.frame(direction)
    assert known is not None  # a translator is opened only with both
    return known


def beginning(loaded: Loaded, framed: Frame) -> Token:
    """The token that a decoder begins with."""
    raw = loaded.tokenizer.raw(framed.begin)
    return Token(framed.begin, raw, raw, special=True)


def direction_of(
    loaded: Loaded, text: str, source_lang: str | None, target_lang: str | None
) -> Direction:
    """The languages chosen, and the tokenizer's own where none is. Raises BadInput."""
    languages = loaded.tokenizer.languages
    for field, code, codes in (
        ("source_lang", source_lang, languages.source),
        ("target_lang", target_lang, languages.target),
    ):
        if code is not None and not codes:
            raise BadInput(field, f"{loaded.name} has no {field.replace('_lang', '')} languages")
        if code is not None and code not in codes:
            message = f"{loaded.name} has no language {code[:40]}; it has {', '.join(codes)}"
            raise BadInput(field, message)
    marked = languages.mark(text)
    if marked is not None and target_lang not in (None, marked):
        message = f"the text itself begins with {languages.tokens[marked]}; remove one of the two"
        raise BadInput("target_lang", message)
    return languages.direction(source_lang, marked or target_lang)


def candidates(loaded: Loaded, logits: Tensor, n: int = TOP) -> list[dict[str, Any]]:
    """The most probable tokens: logits (V,) -> the first n, best first."""
    probability = logits.float().softmax(-1)
    best = probability.topk(min(n, len(logits))).indices.tolist()
    return [
        {
            "id": i,
            "token": loaded.tokenizer.raw(i),
            "text": loaded.tokenizer.readable(i),
            "logit": logits[i].item(),
            "probability": probability[i].item(),
        }
        for i in best
    ]


def check_ids(loaded: Loaded, ids: Sequence[int], field: str) -> None:
    """Ids that the model's vocabulary has."""
    n = loaded.config.vocab_size
    for i in ids:
        if not 0 <= i < n:
            raise BadInput(
                field, f"token {i} does not exist: {loaded.name} has tokens 0 to {n - 1}"
            )


def types_of(loaded: Loaded, tokens: Sequence[Token]) -> Tensor | None:
    """What the tokenizer gives as token types, as a batch: (1, T); None if it gives none."""
    types = [token.token_type for token in tokens if token.token_type is not None]
    return _batch(loaded, types) if len(types) == len(tokens) else None


def batch_of(loaded: Loaded, tokens: Sequence[Token]) -> Tensor:
    """Tokens as ids on the model's device: (1, T)."""
    return _batch(loaded, [token.id for token in tokens])


def _batch(loaded: Loaded, row: list[int]) -> Tensor:
    """One row as a batch: (1, T)."""
    return torch.tensor([row], device=loaded.device)


def _record(
    loaded: Loaded, tape: Tape, kind: Kind, sequences: Sequences, part: Selection
) -> AttentionRecord:
    """The tape's layers of one kind, stacked and labelled, on the CPU."""
    by_layer = {step.layer: step for step in tape if step.kind == kind}
    steps = [by_layer[layer] for layer in part.layers or sorted(by_layer)]
    q, k = axes(kind, sequences)
    return AttentionRecord(
        kind=kind,
        attn=torch.stack([step.kept[part.quantity][0] for step in steps]).cpu(),
        mask=_mask([step.mask[0] for step in steps]).cpu(),
        q_tokens=sequences[q],
        k_tokens=sequences[k],
        layers=tuple(step.layer for step in steps),
        heads=part.heads or tuple(range(loaded.shape(kind)[1])),
        quantity=part.quantity,
    )


def _mask(masks: list[Tensor]) -> Tensor:
    """The layers' masks, each (1 or H, Tq, Tk) -> (1 or L, 1 or H, Tq, Tk)."""
    H = max(mask.size(0) for mask in masks)
    return collapsed(torch.stack([mask.expand(H, -1, -1) for mask in masks]))
