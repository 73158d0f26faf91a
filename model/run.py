"""run(loaded, spec, selection) -> Run: tokenize, run the model with a tape, label the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from attention_atlas.model import labels
from attention_atlas.model.generate import translate
from attention_atlas.model.languages import Frame
from attention_atlas.model.messages import Refused
from attention_atlas.model.protocol import Batch
from attention_atlas.model.record import (
    AttentionRecord,
    Run,
    Selection,
    Token,
    axes,
    collapsed,
)
from attention_atlas.model.spec import (
    BadInput,
    Sequences,
    Spec,
    beginning,
    check_ids,
    check_length,
    check_selection,
    check_spec,
    check_tokens,
    direction_of,
    frame,
    tokenize,
)
from attention_atlas.model.tape import Edit, Kind, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

TOP = 10  # candidates of a distribution
EVERYTHING = Selection()
NOTHING = Selection(layers=())  # only tokens and predictions

Forward = tuple[Sequences, dict[str, Any]]


@torch.inference_mode()
def run(loaded: Loaded, spec: Spec, selection: Selection = EVERYTHING) -> Run:
    """One forward pass with the selected attention. Raises BadInput, naming the limit."""
    check_selection(loaded, selection)
    tape = Tape(
        keep=(selection.quantity, "mask"),
        kinds=None if selection.kind is None else (selection.kind,),
        layers=selection.layers,
        heads=selection.heads,
        edits=spec.edits,
    )
    sequences, predictions = forward(loaded, spec, tape)
    kinds = [kind for kind in loaded.kinds if selection.kind in (None, kind)]
    kinds = [] if selection.layers == () else kinds
    records = {kind: _record(loaded, tape, kind, sequences, selection) for kind in kinds}
    return labelled(spec, sequences, predictions, records)


def labelled(
    spec: Spec,
    sequences: Sequences,
    predictions: dict[str, Any],
    records: dict[Kind, AttentionRecord],
) -> Run:
    """What a forward pass gave, as the run of its input."""
    target = predictions.get("translation")
    return Run(
        text=spec.text,
        text_pair=spec.text_pair,
        target=target,
        target_decoded=target is not None and spec.target is None and not spec.target_ids,
        sequences=sequences,
        records=records,
        predictions=predictions,
    )


def forward(loaded: Loaded, spec: Spec, tape: Tape) -> Forward:
    """The forward pass: its tokens and predictions. The tape records its attention."""
    sequences, text = prepared(loaded, spec)
    return sequences, predicted(loaded, spec, tape, sequences, text)


def prepared(loaded: Loaded, spec: Spec) -> tuple[Sequences, str | None]:
    """`sequences_of` an input that was checked."""
    check_spec(loaded, spec)
    with fitting():
        return sequences_of(loaded, spec)


def predicted(
    loaded: Loaded, spec: Spec, tape: Tape, sequences: Sequences, text: str | None
) -> dict[str, Any]:
    """The forward pass over tokens: its predictions, and `text`, the translation, if any."""
    with fitting():
        x = read(loaded, sequences, tape)
        predictions = PREDICTIONS[loaded.family](loaded, spec, sequences, x)
        predictions |= _labels(loaded, spec, sequences, x)
    for edit in spec.edits:
        check_tokens(loaded, edit, sequences)
    return ({} if text is None else {"translation": text}) | predictions


@contextmanager
def fitting() -> Iterator[None]:
    """Turn the refusal of an edit that does not fit the text into BadInput."""
    try:
        yield
    except Refused as error:
        raise BadInput("edits", error.message) from None


def sequences_of(loaded: Loaded, spec: Spec) -> tuple[Sequences, str | None]:
    """The tokens of each text that the model reads; the text of a translator's target."""
    direction = direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    source = tokenize(loaded, spec.text, spec.text_pair, direction)
    if loaded.model.sequences is not None:
        return dict(loaded.model.sequences), None
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
    check_length(loaded, "target", len(target))
    return {"source": source, "target": target}, text


def decoded(
    loaded: Loaded, source: Sequence[Token], framed: Frame, edits: Sequence[Edit] = ()
) -> list[int]:
    """The greedy translation of a source: ids without <s> and </s>."""
    [ids] = translate(
        loaded.translator,
        batch_of(loaded, source),
        framed,
        edits=edits,
        max_tokens=loaded.translator.usual_length(len(source)) + 1,
    )
    return ids


def read(loaded: Loaded, sequences: Sequences, tape: Tape | None = None, n: int = 1) -> Tensor:
    """The last hidden states of a batch of n equal rows: (n, T, D)."""
    source, target = sequences["source"], sequences.get("target")
    types = types_of(loaded, source)
    batch = Batch(
        batch_of(loaded, source).expand(n, -1),
        types=None if types is None else types.expand(n, -1),
        target=None if target is None else batch_of(loaded, target).expand(n, -1),
    )
    return loaded.model.read(batch, tape)


def _blanks(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """The candidates for each [MASK]; the probability that the second text follows the first."""
    mask_id = loaded.tokenizer.mask_id if "fill-mask" in loaded.tasks else None
    masked = [i for i, token in enumerate(sequences["source"]) if token.id == mask_id]
    masks = [
        {"position": i, "candidates": candidates(loaded, loaded.encoder.masked_words(x[0, i]))}
        for i in masked
    ]
    paired = spec.text_pair and "next-sentence" in loaded.tasks
    is_next = loaded.encoder.next_sentence(x).softmax(-1)[0, 0].item() if paired else None
    return {"masks": masks, "is_next": is_next}


def _next_token(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """The candidates for the next token."""
    if "next-token" not in loaded.tasks:
        return {}
    return {"next_token": candidates(loaded, loaded.model.logits(x[0, -1]))}


def _log_probability(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """The log-probability of a translator's target, its end included."""
    if "translate" not in loaded.tasks:
        return {}
    direction = direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    following = [token.id for token in sequences["target"][1:]]
    following.append(frame(loaded, direction).end)
    log_p = loaded.model.logits(x)[0].log_softmax(-1)  # (Tq, V)
    total = log_p.gather(-1, _batch(loaded, following).T).sum().item()
    return {"log_probability": total}


def _labels(loaded: Loaded, spec: Spec, sequences: Sequences, x: Tensor) -> dict[str, Any]:
    """What a head says that was fine-tuned to tell labels apart."""
    known, tokens = loaded.model.labels, sequences["source"]
    if known is None:
        return {}
    logits = loaded.model.label_logits(batch_of(loaded, tokens), x)
    return labels.predictions(known, logits, tokens, (spec.text, spec.text_pair or ""))


Predict = Callable[[Loaded, Spec, Sequences, Tensor], dict[str, Any]]
PREDICTIONS: dict[str, Predict] = {
    "encoder": _blanks,
    "decoder": _next_token,
    "encoder-decoder": _log_probability,
    "recurrent": _log_probability,
}


def candidates(loaded: Loaded, logits: Tensor, n: int = TOP) -> list[dict[str, Any]]:
    """The n most probable tokens of logits (V,), in descending order."""
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


def types_of(loaded: Loaded, tokens: Sequence[Token]) -> Tensor | None:
    """The token types as a batch, (1, T); None if the tokenizer has none."""
    types = [token.token_type for token in tokens if token.token_type is not None]
    return _batch(loaded, types) if len(types) == len(tokens) else None


def batch_of(loaded: Loaded, tokens: Sequence[Token]) -> Tensor:
    """Tokens as ids on the model's device: (1, T)."""
    return _batch(loaded, [token.id for token in tokens])


def _batch(loaded: Loaded, row: list[int]) -> Tensor:
    """One row as a batch: (1, T)."""
    return torch.tensor([row], device=loaded.device)


def _record(
    loaded: Loaded, tape: Tape, kind: Kind, sequences: Sequences, selection: Selection
) -> AttentionRecord:
    """The recorded layers of one kind, stacked, with their tokens, on the CPU."""
    by_layer = {step.layer: step for step in tape if step.kind == kind}
    steps = [by_layer[layer] for layer in selection.layers or sorted(by_layer)]
    q, k = axes(kind, sequences)
    return AttentionRecord(
        kind=kind,
        attn=torch.stack([step.kept[selection.quantity][0] for step in steps]).cpu(),
        mask=stacked_masks([step.mask[0] for step in steps]).cpu(),
        q_tokens=sequences[q],
        k_tokens=sequences[k],
        layers=tuple(step.layer for step in steps),
        heads=selection.heads or tuple(range(loaded.shape(kind)[1])),
        quantity=selection.quantity,
    )


def stacked_masks(masks: list[Tensor]) -> Tensor:
    """The layers' masks, each (1 or H, Tq, Tk) -> (1 or L, 1 or H, Tq, Tk)."""
    H = max(mask.size(0) for mask in masks)
    return collapsed(torch.stack([mask.expand(H, -1, -1) for mask in masks]))
