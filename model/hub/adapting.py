"""A model of transformers with the methods of ours, of whatever family it is.

What the lens records of a few tokens is compared with the model's own eager attention; a model for
which the two differ, or that never calls the lens, keeps its eager attention and lacks the rest. No
family is known by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, Literal

import torch
from attention_atlas.model.hub.adapters import (
    HubDecoder,
    HubEncoder,
    HubEncoderDecoder,
    HubModel,
)
from attention_atlas.model.hub.findings import LONGEST, Calls, Findings, Stack
from attention_atlas.model.hub.head import Head, labelled, predicted
from attention_atlas.model.hub.lens import NAME, Place, Seen
from attention_atlas.model.hub.mlps import mlps_of
from attention_atlas.model.hub.probes import (
    input_parts,
    last_layers,
    position_tables,
    positions_of,
    sizes_of,
)
from attention_atlas.model.hub.stacks import base_of, decoder_of, projected
from attention_atlas.model.hub.trial import Attention, Trial, begun, in_float32
from attention_atlas.model.messages import Message
from attention_atlas.model.protocol import Labels
from attention_atlas.model.tape import Kind, Quantity, Tape
from torch import Tensor

LACKING = ("q", "k", "v", "scores", "edits")  # where only output_attentions is to be had
LONGEST_NAME = 200  # characters of a label
Plans = Mapping[Stack, tuple[Place, ...]]


@torch.inference_mode()
def adapted(
    model: Any,
    new_cache: Callable[[], Any],
    *,
    n_ctx: int = LONGEST,
    without: Collection[str] = (),
    token_type: int | None = None,
) -> HubModel:
    """A model of transformers, of any family, as one of ours, for at most `n_ctx` tokens and
    without some tasks; `new_cache` makes its empty KV cache, and `token_type` is what its tokenizer
    gives for a text. Raises BadModel."""
    model.eval()
    with in_float32(model):
        trial, own = begun(model)
        findings = found_out(trial, own, new_cache)
    findings = replace(
        findings,
        sizes=replace(findings.sizes, n_ctx=min(n_ctx, findings.sizes.n_ctx)),
        tasks=tuple(task for task in findings.tasks if task not in without),
        token_type=token_type,
    )
    adapter = _class(trial)(model, findings)
    adapter.read(trial.batch, Tape())  # in its own precision, too, it must pass
    return adapter


def found_out(trial: Trial, expected: Attention, new_cache: Callable[[], Any]) -> Findings:
    """Everything about a model that its adapter needs to know."""
    model = trial.model
    tables = position_tables(trial)
    sizes = sizes_of(model, expected, tables)
    positions = positions_of(model, tables)
    parts, layers = input_parts(trial, tables), last_layers(trial)
    calls = _through_the_lens(trial, expected, is_rotary=positions == "rotary")
    if calls.why:
        model.set_attn_implementation("eager")
    head = Head(model, has_target=trial.target is not None)
    tasks = _tasks(trial)
    labels = labels_of(model)
    works = _says_the_same(head, trial, is_label=labels is not None) if tasks or labels else True
    return Findings(
        sizes=replace(sizes, n_kv_head=calls.n_kv_head or sizes.n_kv_head),
        shapes={kind: (len(layers), layers[0].size(1)) for kind, layers in expected.items()},
        tasks=tasks if works else (),
        labels=labels if works else None,
        lacks=(LACKING if calls.why else ()) + (() if works else ("predictions",)),
        positions=positions,
        tables=tables,
        input_parts=parts,
        last_layers=layers,
        calls=calls,
        head=head,
        mlps={} if calls.why else mlps_of(trial, calls.plans),
        new_cache=new_cache if _remembers(trial, new_cache) else None,
        token_type=None,
    )


def _class(trial: Trial) -> type[HubModel]:
    if trial.target is not None:
        return HubEncoderDecoder
    return HubDecoder if trial.reads == "decoder" else HubEncoder


def _tasks(trial: Trial) -> tuple[str, ...]:
    """What the model's head is for, by its class in transformers."""
    name = type(trial.model).__name__
    has_head = trial.model.get_output_embeddings() is not None
    if trial.target is not None:
        return ("translate",)
    if trial.reads == "decoder":
        return ("generate", "next-token") if has_head else ()
    words = has_head and name.endswith(("ForMaskedLM", "ForPreTraining"))
    return (("fill-mask",) if words else ()) + (
        ("next-sentence",) if name == "BertForPreTraining" else ()
    )


UNITS: dict[str, Literal["text", "token", "answer", "choice"]] = {
    "ForSequenceClassification": "text",
    "ForTokenClassification": "token",
    "ForQuestionAnswering": "answer",
    "ForMultipleChoice": "choice",
}


def labels_of(model: Any) -> Labels | None:
    """What the head of a fine-tuned model tells apart, by its class in transformers."""
    name, config = type(model).__name__, model.config
    unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), None)
    if unit is None or getattr(config, "is_encoder_decoder", False):
        return None
    if unit == "answer":
        return Labels(("first token", "last token"), unit)
    if unit == "choice":
        return Labels(("fit",), unit, is_value=True)
    names = tuple(str(config.id2label.get(i, i))[:LONGEST_NAME] for i in range(config.num_labels))
    kind = getattr(config, "problem_type", None)
    is_value = unit == "text" and kind in (None, "regression") and config.num_labels == 1
    return Labels(names, unit, kind == "multi_label_classification", is_value)


def _through_the_lens(trial: Trial, expected: Attention, *, is_rotary: bool) -> Calls:
    """How the attention layers call the lens, if it then records the model's own attention."""
    name = trial.model.config.model_type
    try:
        trial.model.set_attn_implementation(NAME)
        seen = {stack: found.seen for stack, found in trial.run().items()}
    except Exception as error:  # a family that looks its attention up in a table of its own
        return Calls(
            Message(
                "no-other-attention",
                "{family} does not accept another attention function ({error})",
                family=name,
                error=type(error).__name__,
            )
        )
    if reason := _not_the_lens(name, seen):
        return Calls(reason)
    every = [call for calls in seen.values() for call in calls]
    plans = {stack: _places(trial, stack, calls) for stack, calls in seen.items()}
    apart = _apart(_recorded(trial, plans), expected)
    if apart > trial.tolerance:
        return Calls(
            Message(
                "attention-differs",
                "the attention recorded of {family} differs from its own by {difference:.1e}",
                family=name,
                difference=apart,
            )
        )
    called = [*zip([place for plan in plans.values() for place in plan], every, strict=True)]
    return Calls(
        plans=plans,
        scales={place: call.scale for place, call in called},
        softcaps={place: call.softcap for place, call in called if call.softcap is not None},
        n_kv_head=max(call.n_kv_head for call in every),
        rotated=_rotated(trial, plans) if is_rotary else frozenset(),
    )


def _not_the_lens(name: str, seen: Mapping[Stack, Sequence[Seen]]) -> Message | None:
    """Why the lens does not compute a family's attention, by how it was called."""
    if not all(seen.values()):
        return Message(
            "no-attention-interface",
            "{family} does not use the attention interface of transformers",
            family=name,
        )
    beyond = {name for calls in seen.values() for call in calls for name in call.beyond}
    if not beyond:
        return None
    return Message(
        "attention-has-more-terms",
        "{family} passes arguments to attention that are not computed here: {names}",
        family=name,
        names=", ".join(sorted(beyond)),
    )


def _places(trial: Trial, stack: Stack, calls: Sequence[Seen]) -> tuple[Place, ...]:
    """The kind and layer of each call: cross-attention has as many keys as the source tokens."""
    n, kinds = trial.source.size(1), list[Kind]()
    for call in calls:
        is_cross = trial.target is not None and stack == "decoder" and call.n_key == n
        kinds.append("cross" if is_cross else stack)
    return tuple(Place(kind, kinds[:i].count(kind)) for i, kind in enumerate(kinds))


def _recorded(trial: Trial, plans: Plans) -> Attention:
    """The trial's attention as the lens writes it down."""
    tape = Tape()
    trial.run(tape, plans)
    return {kind: [step.attn for step in tape if step.kind == kind] for kind in trial.kinds}


def _rotated(trial: Trial, plans: Plans) -> frozenset[Place]:
    """The layers whose queries turn when all positions are moved on: some layers turn none."""
    takes = signature(type(base_of(trial.model)).forward).parameters
    if trial.target is not None or "position_ids" not in takes:
        places = [place for plan in plans.values() for place in plan]
        return frozenset(place for place in places if place.kind != "cross")
    queries: list[dict[Place, Tensor]] = []
    keep: tuple[Quantity, ...] = ("q",)
    for first in (0, 5):
        tape = Tape(keep=keep)
        positions = torch.arange(first, first + trial.source.size(1), device=trial.source.device)
        trial.run(tape, plans, position_ids=positions[None])
        queries.append({Place(step.kind, step.layer): step.q.float() for step in tape})
    unmoved, moved = queries
    far = {place: (q - moved[place]).abs().max() / q.abs().max() for place, q in unmoved.items()}
    return frozenset(place for place, share in far.items() if share > trial.tolerance)


def _says_the_same(head: Head, trial: Trial, *, is_label: bool) -> bool:
    """Whether the head, run by itself on hidden states, says what the whole model says."""
    inputs = {"input_ids": head.whole(trial.source)}
    if trial.target is not None:
        inputs["decoder_input_ids"] = trial.target
    output = trial.model(**inputs)
    [*_, last] = trial.run().values()
    x = last.output.last_hidden_state
    logits = labelled(output) if is_label else predicted(output).float()
    apart = head.label_logits(trial.source, x) if is_label else head.logits(x)
    return torch.allclose(apart, logits, rtol=1e-3, atol=1e-3)


def _remembers(trial: Trial, new_cache: Callable[[], Any]) -> bool:
    """Whether tokens in two parts, with a KV cache between, give what they give at once."""
    if trial.kinds == ("encoder",):
        return False
    module, ids, inputs = base_of(trial.model), trial.source, dict[str, Any]()
    if trial.target is not None:
        module, ids = decoder_of(trial.model), _begun(trial.model, trial.target)
        [encoded, _] = trial.run().values()
        memory = projected(trial.model, encoded.output.last_hidden_state)
        inputs = {"encoder_hidden_states": memory}
    whole = module(input_ids=ids, use_cache=False, **inputs).last_hidden_state
    try:
        inputs |= {"use_cache": True, "past_key_values": new_cache()}
        parts = [
            module(input_ids=part, **inputs).last_hidden_state for part in (ids[:, :3], ids[:, 3:])
        ]
    except Exception:  # each family without a cache has its own way to fail
        return False
    return torch.allclose(torch.cat(parts, dim=1), whole, rtol=1e-3, atol=1e-3)


def _begun(model: Any, target: Tensor) -> Tensor:
    """A target after the token that targets of the model begin with, which may be its padding."""
    begin = getattr(model.config, "decoder_start_token_id", None)
    return target if begin is None else torch.cat([target.new_tensor([[begin]]), target], dim=1)


def _apart(recorded: Attention, expected: Attention) -> float:
    """The largest difference; infinite where there are other layers or shapes."""
    pairs = [(recorded[kind], expected[kind]) for kind in expected]
    if any([a.shape for a in x] != [a.shape for a in y] for x, y in pairs):
        return torch.inf
    return max(
        (a - b.float()).abs().max().item() for x, y in pairs for a, b in zip(x, y, strict=True)
    )
