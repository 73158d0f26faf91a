"""A few tokens through a model of transformers, and what its own eager attention says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, NamedTuple

import torch
from attention_atlas.model.hub.findings import Stack
from attention_atlas.model.hub.folder import Limits, check_memory
from attention_atlas.model.hub.lens import Call, Place, Seen, calling
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.hub.stacks import (
    attentions,
    base_of,
    decoder_of,
    encoder_of,
    projected,
)
from attention_atlas.model.protocol import Batch
from attention_atlas.model.tape import Kind, Tape
from torch import Tensor, nn

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
HALF = 3e-2  # of float16 and bfloat16, where no memory is left for float32
Attention = dict[Kind, list[Tensor]]  # of each kind layer by layer


class Pass(NamedTuple):
    """What a stack made of the trial's tokens, and what its attention layers did."""

    output: Any
    seen: Sequence[Seen]


@dataclass(frozen=True)
class Trial:
    """A few tokens for a model: 7 of a text, or of a source with 4 of its target."""

    model: Any
    source: Tensor  # (1, 7)
    target: Tensor | None  # (1, 4)
    reads: Stack = "encoder"  # the stack that reads the source: a decoder, if that is all there is

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (self.reads,) if self.target is None else ("encoder", "decoder", "cross")

    @property
    def batch(self) -> Batch:
        return Batch(self.source, target=self.target)

    @property
    def tolerance(self) -> float:
        """How far two ways of computing the same may be apart."""
        return TOLERANCE.get(self.model.dtype, HALF)

    def run(
        self,
        tape: Tape | None = None,
        plans: Mapping[Stack, tuple[Place, ...]] | None = None,
        **options: Any,
    ) -> dict[Stack, Pass]:
        """The tokens through each stack."""

        def through(stack: Stack, module: Any, **inputs: Any) -> Pass:
            with calling(Call(tape, (plans or {}).get(stack, ()))) as call:
                return Pass(module(**inputs, **options), call.seen)

        if self.target is None:
            return {self.reads: through(self.reads, base_of(self.model), input_ids=self.source)}
        encoded = through("encoder", encoder_of(self.model), input_ids=self.source)
        memory = projected(self.model, encoded.output.last_hidden_state)
        inputs = {"input_ids": self.target, "encoder_hidden_states": memory, "use_cache": False}
        return {"encoder": encoded, "decoder": through("decoder", decoder_of(self.model), **inputs)}


def begun(model: Any) -> tuple[Trial, Attention]:
    """A trial, and what the model's eager attention says of its tokens. Raises BadModel."""
    model.set_attn_implementation("eager")
    middle = model.config.get_text_config().vocab_size // 2
    source = torch.arange(middle, middle + 7, device=model.device)[None]
    takes_target = "decoder_input_ids" in signature(type(model).forward).parameters
    trial = Trial(model, source, source[:, :4] if takes_target else None)
    passes = trial.run(output_attentions=True)
    expected: Attention = {
        kind: list(attentions(passes["encoder" if kind == "encoder" else "decoder"].output, kind))
        for kind in trial.kinds
    }
    if not takes_target and all(not attn.triu(1).any() for attn in expected["encoder"]):
        trial, expected = replace(trial, reads="decoder"), {"decoder": expected["encoder"]}
    for kind, layers in expected.items():
        _check_attention(trial, kind, layers)
    return trial, expected


def _check_attention(trial: Trial, kind: Kind, layers: list[Tensor]) -> None:
    """All of one kind's layers have attention, of every query to every key, in numbers."""
    name = trial.model.config.model_type
    target = trial.source if trial.target is None else trial.target
    n_query = (trial.source if kind == "encoder" else target).size(1)
    n_key = (target if kind == "decoder" else trial.source).size(1)
    if not layers:
        text = "a {name} model has no attention to show: none of its layers gives any"
        raise BadModel("unsupported", text, name=name)
    for attn in layers:
        if tuple(attn.shape[-2:]) != (n_query, n_key):
            raise BadModel(
                "unsupported",
                "a {name} model gives attention of shape {given}, where one of {wanted} is shown: "
                "a weight for every query and key",
                name=name,
                given=" × ".join(map(str, attn.shape[-2:])),
                wanted=f"{n_query} × {n_key}",
            )
        if not attn.isfinite().all():
            text = "its attention is not a number (NaN): some of its weights are NaN or infinite"
            raise BadModel("damaged", text)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """The model's half-precision weights in float32 for a while, so that what is compared differs
    by what is computed and not by rounding. As they are, where memory does not allow it."""
    tensors = (*model.parameters(), *model.buffers())
    half = [(x, x.dtype) for x in tensors if x.dtype in (torch.float16, torch.bfloat16)]
    try:
        n_byte = 2 * sum(x.numel() for x, _ in half)  # more than there are now
        check_memory(n_byte, Limits(device=next(model.parameters()).device))
    except BadModel:
        half = []
    with torch.inference_mode(False):  # the weights stay such that gradients may be had
        for x, _ in half:
            x.data = x.data.float()
    try:
        yield
    finally:
        with torch.inference_mode(False):
            for x, dtype in half:
                x.data = x.data.to(dtype)  # exactly what it was
