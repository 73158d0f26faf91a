"""Hugging Face models with the methods of ours: `Bert`'s, `GPT`'s, `EncoderDecoder`'s.

    HubEncoder         encode, masked_words, next_sentence
    HubDecoder         hidden, logits, new_past
    HubEncoderDecoder  encode, hidden, logits, new_past

Each is built once, from what a trial found out. A model that passes through the lens is recorded
and edited by `attend`. One that cannot runs under its own eager attention, and only what
`output_attentions` gives is there: `lacks` says what is not.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from attention_atlas.model.hub.findings import Findings, Stack
from attention_atlas.model.hub.lens import Call, Place, calling, fed, moved, note_last
from attention_atlas.model.hub.stacks import (
    attentions,
    base_of,
    decoder_of,
    encoder_of,
    projected,
    rows,
    window,
)
from attention_atlas.model.past import Past
from attention_atlas.model.protocol import Batch, Decoder, Encoder, Model, Translator
from attention_atlas.model.tape import Kind, Tape, note
from attention_atlas.model.transformer import causal_mask
from torch import Tensor, nn

NO_CACHE: dict[str, Any] = {"use_cache": False}


class HubPast(Past):
    """A cache of transformers, of all layers."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return int(self.cache.get_seq_length())

    def select(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)

    @property
    def inputs(self) -> dict[str, Any]:
        """What a forward pass takes."""
        return {"past_key_values": self.cache, "use_cache": True}


class Adapter(Model):
    """A Hugging Face model on a tape. Nothing of a call is kept on it: threads may share it."""

    def __init__(self, model: Any, findings: Findings) -> None:
        super().__init__()
        self.model = model
        self.findings = findings
        self.config = findings.sizes
        self.tasks = findings.tasks
        self.labels = findings.labels
        self.positions = findings.positions
        self.lacks = findings.lacks
        self.why = findings.calls.why
        for stack, table in findings.tables.items():
            _follow(stack, table.module)
        self.has_mlps = len(findings.mlps) == 1 + (self.family == "encoder-decoder")
        for stack, modules in findings.mlps.items():
            for i, module in enumerate(modules):
                _feed(stack, i, module)
        for layer in findings.last_layers:
            layer.register_forward_hook(lambda _, __, output: note_last(output))

    def shape(self, kind: Kind) -> tuple[int, int]:
        return self.findings.shapes[kind]

    def scale(self, kind: Kind, layer: int) -> tuple[float, float | None]:
        place, calls = Place(kind, layer), self.findings.calls
        return calls.scales[place], calls.softcaps.get(place)

    def rotates(self, kind: Kind, layer: int) -> bool:
        return Place(kind, layer) in self.findings.calls.rotated

    def position_vectors(self) -> Tensor | None:
        table = self.findings.tables.get("decoder" if self.family == "decoder" else "encoder")
        if table is None:
            return None
        return rows(table.module).detach()[table.first : table.first + self.config.n_ctx]

    @property
    def has_input_parts(self) -> bool:
        return self.findings.input_parts is not None

    def logits(self, x: Tensor) -> Tensor:
        return self.findings.head.logits(x)

    @property
    def norm_is_known(self) -> bool:
        return len(self.findings.last_layers) == 1 + (self.family == "encoder-decoder")

    def normed(self, x: Tensor) -> Tensor:
        """What a pass over any tokens gives, with x (1, T, D) as the output of its last layer."""
        ids = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        target = ids if self.family == "encoder-decoder" else None
        return self.read(Batch(ids, target=target), Tape(keep=(), layers=(), last=x))

    def new_past(self) -> HubPast | None:
        """An empty KV cache; None if the model was not found to keep one."""
        new_cache = self.findings.new_cache
        return None if new_cache is None else HubPast(new_cache())

    def label_logits(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.findings.head.label_logits(ids, x)

    def input_parts(self, ids: Tensor, types: Tensor | None) -> dict[str, Tensor]:
        table, sum_of = self.position_vectors(), self.findings.input_parts
        assert sum_of is not None and table is not None
        parts = {"word": sum_of.word(ids).float() * sum_of.scale}
        parts["position"] = table[: len(ids)].float()
        if sum_of.segment is not None:
            if types is None or not self.takes_types(types):
                types = torch.zeros_like(ids)
            parts["segment"] = sum_of.segment(types).float()
        return parts

    def takes_types(self, types: Tensor) -> bool:
        """Whether the model has a place for these token types."""
        base = base_of(self.model)
        takes = "token_type_ids" in signature(type(base).forward).parameters
        n = getattr(base.config, "type_vocab_size", None)
        return takes and (n is None or int(types.max()) < max(n, 1))

    def _run(
        self,
        stack: Stack,
        module: Any,
        tape: Tape | None,
        padding: Tensor | None = None,
        **inputs: Any,
    ) -> Any:
        """module(**inputs), recorded and edited by the tape."""
        looks = tape is not None and (tape.layers is None or len(tape.layers) > 0)
        options = {"output_attentions": True} if self.why and looks else {}
        options |= {"output_hidden_states": True} if tape is not None and tape.hidden else {}
        plan = self.findings.calls.plans.get(stack, ())
        with calling(Call(tape, plan)) as call:
            output = module(**inputs, **options)
        if plan and len(call.seen) != len(plan):
            raise RuntimeError(f"{len(call.seen)} attention layers called where {len(plan)} do")
        if tape is None:
            return output
        if tape.hidden:
            *stream, last = output.hidden_states
            for x in [*stream, last if call.last is None else call.last]:
                note(tape, stack, x)
        if self.why and looks:
            self._keep(tape, stack, output, padding)
        return output

    def _keep(self, tape: Tape, stack: Stack, output: Any, padding: Tensor | None) -> None:
        """What `output_attentions` gave, written on the tape."""
        kinds: tuple[Kind, ...] = ("encoder",) if stack == "encoder" else ("decoder", "cross")
        for kind in kinds:
            for layer, attn in enumerate(attentions(output, kind)):
                track = tape.track(kind, layer)
                if track is not None:
                    mask = torch.ones_like(attn[:, :1], dtype=torch.bool)
                    if kind == "decoder":
                        n_query, n_key = attn.shape[-2:]
                        ahead = causal_mask(n_query, n_key, attn.device)
                        oldest = n_key - n_query + 1 - window(self.model.config, layer, n_key)
                        mask = mask & ahead.triu(oldest)
                    elif padding is not None:
                        mask = mask & padding[:, None, None, :]
                    track.keep({"attn": attn.float(), "mask": mask})


def _follow(stack: Stack, module: nn.Module) -> None:
    """`module` gives a stack's position vectors: the tape's edits are felt there."""
    module.register_forward_hook(lambda _, __, positions: moved(stack, positions))


def _feed(stack: Stack, layer: int, module: nn.Module) -> None:
    """`module` ends the MLP of a layer: the tape records and edits what it gives."""
    module.register_forward_hook(lambda _, __, x: fed(stack, layer, x))


class HubEncoder(Adapter, Encoder):
    """BERT and its kin."""

    @property
    def base(self) -> Any:
        return base_of(self.model)

    def encode(
        self,
        ids: Tensor,
        types: Tensor | None = None,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """ids (B, T) -> x (B, T, D). `types` are the tokenizer's token_type_ids, if it gives
        them; `padding` is True at real tokens."""
        inputs = {"input_ids": ids}
        if types is not None and self.takes_types(types):
            inputs["token_type_ids"] = types
        if padding is not None:
            inputs["attention_mask"] = padding.long()
        return self._run("encoder", self.base, tape, padding, **inputs).last_hidden_state

    def masked_words(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)"""
        return self.logits(x)

    def next_sentence(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, 2): [is next, is not]"""
        return self.findings.head(x, self.base.pooler(x)).seq_relationship_logits.float()


class HubDecoder(Adapter, Decoder):
    """GPT-2, Llama and their kin."""

    @property
    def base(self) -> Any:
        return base_of(self.model)

    def hidden(self, ids: Tensor, tape: Tape | None = None, past: HubPast | None = None) -> Tensor:
        """ids (B, T) -> x (B, T, D) after the last norm. With `past`, ids are the new ones only."""
        inputs = {"input_ids": ids} | (NO_CACHE if past is None else past.inputs)
        if self.findings.token_type is not None:
            types = torch.full_like(ids, self.findings.token_type)
            inputs |= {"token_type_ids": types} if self.takes_types(types) else {}
        return self._run("decoder", self.base, tape, **inputs).last_hidden_state


class HubEncoderDecoder(Adapter, Translator):
    """Marian, BART, T5 and their kin."""

    def usual_length(self, n_source: int) -> int:
        """Few of them were trained to end early, and n_ctx may be long."""
        return min(super().usual_length(n_source), 2 * n_source + 31)

    def encode(
        self, ids: Tensor, tape: Tape | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Source ids (B, Tk) -> memory (B, Tk, D). `padding` is True at real tokens."""
        inputs = {"input_ids": ids} | _attention_mask("attention_mask", padding)
        x = self._run("encoder", encoder_of(self.model), tape, padding, **inputs).last_hidden_state
        return projected(self.model, x)

    def hidden(
        self,
        ids: Tensor,
        memory: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
        past: HubPast | None = None,
    ) -> Tensor:
        """Target ids (B, Tq) and memory (B, Tk, D) -> x (B, Tq, D). With `past`, ids are the new
        ones only."""
        inputs = {"input_ids": ids, "encoder_hidden_states": memory}
        inputs |= NO_CACHE if past is None else past.inputs
        inputs |= _attention_mask("encoder_attention_mask", padding)
        decoder = decoder_of(self.model)
        return self._run("decoder", decoder, tape, padding, **inputs).last_hidden_state


def _attention_mask(name: str, padding: Tensor | None) -> dict[str, Tensor]:
    return {} if padding is None else {name: padding.long()}


HubModel = HubEncoder | HubDecoder | HubEncoderDecoder
