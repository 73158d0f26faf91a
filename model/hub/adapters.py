"""Hugging Face models with the methods of ours: `Bert`'s, `GPT`'s, `EncoderDecoder`'s.

    HubEncoder         encode, masked_words, next_sentence
    HubDecoder         hidden, logits, new_past
    HubEncoderDecoder  encode, hidden, logits, decode, forward

A model that passes through the lens is recorded and edited by `attend`. One that cannot runs under
its own eager attention, and only what `output_attentions` gives is there: `lacks` says what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from attention_atlas.model.hub.lens import Call, Place, calling, moved, note_last
from attention_atlas.model.protocol import Decoder, Encoder, Model, Translator
from attention_atlas.model.tape import Kind, Tape, note
from attention_atlas.model.transformer import causal_mask
from torch import Tensor, nn

Stack = Literal["encoder", "decoder"]
LACKING = ("q", "k", "v", "scores", "edits")  # where only output_attentions is to be had
NAMES: dict[Kind, tuple[str, ...]] = {  # of the attentions in a model's output
    "encoder": ("encoder_attentions", "attentions"),
    "decoder": ("decoder_attentions", "attentions"),
    "cross": ("cross_attentions",),
}


@dataclass(frozen=True)
class Sizes:
    """A `Config` whose heads may be of any width, and share keys and values in groups."""

    vocab_size: int
    n_ctx: int
    n_layer: int
    n_head: int
    d_model: int
    d_head: int
    d_ff: int
    n_kv_head: int


@dataclass(frozen=True)
class Parts:
    """What a model's input is the sum of, beside its position vectors."""

    word: nn.Module
    scale: float  # of the word vectors
    segment: nn.Module | None


class Output:
    """A base model's output made up from its last hidden state: all else is None."""

    def __init__(self, x: Tensor, pooled: Tensor | None = None) -> None:
        self.last_hidden_state = x
        self.pooler_output = pooled

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state, self.pooler_output)[index]

    def __getattr__(self, name: str) -> None:
        return None


class Adapter(Model):
    """A Hugging Face model on a tape. Nothing of a call is kept on it: threads may share it."""

    config: Sizes

    def __init__(self, model: Any, sizes: Sizes, *, tasks: tuple[str, ...], positions: str) -> None:
        super().__init__()
        self.model = model
        self.config = sizes
        self.tasks = tasks
        self.positions = positions
        self.shapes: dict[Kind, tuple[int, int]] = {}  # layers and heads of each kind
        self.plans: dict[Stack, tuple[Place, ...]] = {}
        self.scales: dict[Place, float] = {}
        self.softcaps: dict[Place, float] = {}
        self.rotated: frozenset[Place] = frozenset()  # whose q and k carry their positions
        self.tables: dict[
            Stack, tuple[nn.Module, int]
        ] = {}  # position vectors, the first one's row
        self.parts: Parts | None = None  # None: its input is no such sum
        self._given: ContextVar[Output | None] = ContextVar("given", default=None)

    def shape(self, kind: Kind) -> tuple[int, int]:
        return self.shapes[kind]

    def scale(self, kind: Kind, layer: int) -> tuple[float, float | None]:
        place = Place(kind, layer)
        return self.scales[place], self.softcaps.get(place)

    def rotates(self, kind: Kind, layer: int) -> bool:
        return Place(kind, layer) in self.rotated

    def position_vectors(self) -> Tensor | None:
        stack: Stack = "decoder" if self.family == "decoder" else "encoder"
        if stack not in self.tables:
            return None
        module, first = self.tables[stack]
        return rows(module).detach()[first : first + self.config.n_ctx]

    @property
    def has_input_parts(self) -> bool:
        return self.parts is not None

    def input_parts(self, ids: Tensor, types: Tensor | None) -> dict[str, Tensor]:
        table = self.position_vectors()
        assert self.parts is not None and table is not None
        parts = {"word": self.parts.word(ids).float() * self.parts.scale}
        parts["position"] = table[: len(ids)].float()
        if self.parts.segment is not None:
            if types is None or not self.takes_types(types):
                types = torch.zeros_like(ids)
            parts["segment"] = self.parts.segment(types).float()
        return parts

    def takes_types(self, types: Tensor) -> bool:
        """Whether the model has a place for these token types."""
        base = base_of(self.model)
        takes = "token_type_ids" in signature(type(base).forward).parameters
        n = getattr(base.config, "type_vocab_size", None)
        return takes and (n is None or int(types.max()) < max(n, 1))

    def give(self, base: Any) -> None:
        """Let `base` answer with an output that is given, where a head is run by itself."""
        forward = base.forward
        base.forward = lambda *args, **inputs: self._given.get() or forward(*args, **inputs)

    def end_with(self, layer: nn.Module) -> None:
        """`layer` is the last of a stack: what transformers gives as its output is normed."""
        layer.register_forward_hook(lambda _, __, output: note_last(output))

    def follow(self, stack: Stack, module: nn.Module, first: int) -> None:
        """`module` gives a stack's position vectors: the tape's edits are felt there."""
        self.tables[stack] = module, first
        module.register_forward_hook(lambda _, __, positions: moved(stack, positions))

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
        asked = {"output_attentions": True} if self.lacks and looks else {}
        asked |= {"output_hidden_states": True} if tape is not None and tape.hidden else {}
        plan = self.plans.get(stack, ())
        with calling(Call(tape, plan)) as call:
            found = module(**inputs, **asked)
        if plan and len(call.seen) != len(plan):
            raise RuntimeError(f"{len(call.seen)} attention layers called where {len(plan)} do")
        if tape is None:
            return found
        if tape.hidden:
            *stream, last = found.hidden_states
            for x in [*stream, last if call.last is None else call.last]:
                note(tape, stack, x)
        if self.lacks and looks:
            self._keep(tape, stack, found, padding)
        return found

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

    def _head(self, x: Tensor, pooled: Tensor | None = None, **inputs: Any) -> Any:
        """What the model's head makes of hidden states (1, N, D): its base is not run."""
        token = self._given.set(Output(x, pooled))
        try:
            return self.model(**inputs)
        finally:
            self._given.reset(token)

    def _logits(self, x: Tensor, name: str, **inputs: Any) -> Tensor:
        """(..., D) -> (..., V)"""
        flat = x.reshape(1, -1, x.size(-1))  # (1, N, D)
        ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=x.device)
        logits = self._head(flat, **{name: ids}, **inputs).logits
        return logits.float().view(*x.shape[:-1], -1)


def base_of(model: Any) -> Any:
    """A model without its head; some say that they have none of the name that they give it."""
    base = model.base_model
    if base is not model or model.get_output_embeddings() is None:
        return base
    return next((part for part in model.children() if hasattr(part, "base_model")), model)


def window(config: Any, layer: int, n_key: int) -> int:
    """How many keys, itself the last, a decoder's query may look at, as the config says."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    windowed = layer < len(kinds) and kinds[layer] == "sliding_attention"
    return (getattr(config, "sliding_window", None) or n_key) if windowed else n_key


def rows(module: nn.Module) -> Tensor:
    """The vectors of an embedding, (n, D), whether they were learned or computed."""
    found = getattr(module, "weight", None)
    found = getattr(module, "weights", None) if found is None else found
    return found if isinstance(found, Tensor) else torch.zeros(0)


def attentions(output: Any, kind: Kind) -> Sequence[Tensor]:
    """The attention of a kind in an output, layer by layer; none where a layer has none."""
    found = next((x for name in NAMES[kind] if (x := getattr(output, name, None))), ())
    return [attn for attn in found if isinstance(attn, Tensor)]


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
        pooled = x.new_zeros(1, x.size(-1))  # a pretraining head asks for it too
        flat = x.reshape(1, -1, x.size(-1))
        ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=x.device)
        found = self._head(flat, pooled, input_ids=ids)
        logits = getattr(found, "logits", None)
        logits = found.prediction_logits if logits is None else logits
        return logits.float().view(*x.shape[:-1], -1)

    def next_sentence(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, 2): [is next, is not]"""
        ids = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        return self._head(x, self.base.pooler(x), input_ids=ids).seq_relationship_logits.float()


class HubPast:
    """The keys and values a decoder has seen, of all its layers."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return int(self.cache.get_seq_length())


class HubDecoder(Adapter, Decoder):
    """GPT-2, Llama and their kin."""

    new_cache: Callable[[], Any]

    @property
    def base(self) -> Any:
        return base_of(self.model)

    def hidden(
        self, ids: Tensor, tape: Tape | None = None, past: Sequence[HubPast] | None = None
    ) -> Tensor:
        """ids (B, T) -> x (B, T, D) after the last norm. With `past`, ids are the new ones only."""
        cache = {"past_key_values": past[0].cache} if past else {}
        found = self._run("decoder", self.base, tape, input_ids=ids, use_cache=bool(past), **cache)
        return found.last_hidden_state

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)"""
        return self._logits(x, "input_ids")

    def new_past(self) -> list[HubPast]:
        """An empty KV cache."""
        return [HubPast(self.new_cache())]


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
        encoder = self.model.get_encoder()
        return self._run("encoder", encoder, tape, padding, **inputs).last_hidden_state

    def hidden(
        self,
        ids: Tensor,
        memory: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Target ids (B, Tq) and memory (B, Tk, D) -> x (B, Tq, D)."""
        inputs = {"input_ids": ids, "encoder_hidden_states": memory, "use_cache": False}
        inputs |= _attention_mask("encoder_attention_mask", padding)
        decoder = self.model.get_decoder()
        return self._run("decoder", decoder, tape, padding, **inputs).last_hidden_state

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)"""
        memory = x.new_zeros(1, 1, x.size(-1))
        return self._logits(x, "decoder_input_ids", encoder_outputs=(memory,))


def _attention_mask(name: str, padding: Tensor | None) -> dict[str, Tensor]:
    return {} if padding is None else {name: padding.long()}


HubModel = HubEncoder | HubDecoder | HubEncoderDecoder
