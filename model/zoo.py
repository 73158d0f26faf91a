"""The bundled models: the `Card` of each, and `load(name)`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.protocol import Decoder, Dimensions, Encoder, Model, Translator
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.snapshots import Snapshot, Snapshots, weights
from attention_atlas.model.tape import Kind
from attention_atlas.model.tokenizers import AnyTokenizer, Tokenizer
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder
from torch import nn

WEIGHTS = Path(__file__).parent / "weights"

# The bundled models' classes, by the name in card.json. Others come with what opens them.
ARCHITECTURES: dict[str, type[EncoderDecoder | Recurrent | Bert | GPT]] = {
    cls.__name__: cls for cls in (EncoderDecoder, Recurrent, Bert, GPT)
}

# The longest text in training, where a card of an earlier version does not say it.
LONGEST = {"bert": 512, "gpt": 512, "translator": 100, "recurrent": 100}

NOT_FOR = (
    "Not for decisions, advice or facts: a small model, made to be looked at. It makes things "
    "up, and repeats the biases and mistakes of its texts."
)


@dataclass(frozen=True)
class Card:
    """What is known of a trained model: card.json, beside its weights."""

    name: str
    architecture: str
    config: dict[str, Any]
    sha256: str  # of the weights
    revision: str = ""  # of the other files of its folder; of a bundled model, our version
    data: list[dict[str, str]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)  # metrics of each at some steps
    metrics: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, str]] = field(default_factory=list)  # continuations of fixed prompts

    @property
    def trained_length(self) -> int | None:
        """Tokens of the longest text in training, special tokens included; None: not known."""
        earlier = LONGEST.get(self.name) if self.training else None
        return self.training.get("longest", earlier)

    @classmethod
    def read(cls, folder: Path) -> Card:
        try:
            card = cls(**json.loads((folder / "card.json").read_text("utf-8")))
            if not all(isinstance(measure, dict) for measure in card.metrics.values()):
                raise ValueError("its metrics are of an older version; measure the model again")
            return card
        except (OSError, ValueError, TypeError) as error:
            raise checkpoint.BadWeights(f"{folder} has no readable card.json: {error}") from None


class Note(NamedTuple):
    """Something to know about a model: a sentence and the values in it."""

    template: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        return self.template.format(**self.values)


@dataclass(frozen=True)
class Loaded:
    """A model ready to run: its card, tokenizer and weights, on a device."""

    card: Card
    tokenizer: AnyTokenizer
    model: Model
    device: torch.device
    source: str = "bundled"  # or "hub", "path", "memory"
    notes: tuple[Note, ...] = ()  # what else there is to know of it
    base: tuple[str, str] | None = None  # name and folder of what its adapter was merged into

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def identity(self) -> tuple[str, str, str]:
        """What its answers depend on besides the request. Cache keys begin with it."""
        return self.name, self.card.sha256, self.card.revision

    @property
    def encoder(self) -> Encoder:
        """The model, where its family is known to be an encoder."""
        assert isinstance(self.model, Encoder)
        return self.model

    @property
    def decoder(self) -> Decoder:
        """The model, where its family is known to be a decoder."""
        assert isinstance(self.model, Decoder)
        return self.model

    @property
    def translator(self) -> Translator:
        """The model, where it is known to read a source and a target."""
        assert isinstance(self.model, Translator)
        return self.model

    @property
    def config(self) -> Dimensions:
        return self.model.config

    @property
    def family(self) -> str:
        return self.model.family

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return self.model.kinds

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model's head is for; none if it has no head."""
        return self.model.tasks

    @property
    def lacks(self) -> tuple[str, ...]:
        """Which of q, k, v, scores, edits, predictions are not available for this model."""
        return self.model.lacks

    @property
    def why(self) -> str:
        """Why it lacks that."""
        return self.model.why

    @property
    def mask(self) -> str | None:
        """How a blank is written, if the vocabulary has a token for one."""
        i = self.tokenizer.mask_id
        return None if i is None else self.tokenizer.raw(i)

    @property
    def takes_pair(self) -> bool:
        """Whether a second text may follow the first."""
        if self.family != "encoder-decoder":
            return self.family == "encoder"
        tokenizer = self.tokenizer  # whose token types, if it gives any, have no place there
        return tokenizer.separates and tokenizer.token_type is None

    @property
    def has_self_attention(self) -> bool:
        """Whether any layer has its queries and keys from the same text."""
        return self.kinds != ("cross",)

    @property
    def position_table(self) -> bool:
        """Whether its input has position vectors that can be shown and omitted."""
        return self.model.has_input_parts and "edits" not in self.lacks

    @property
    def dtype(self) -> str:
        """The precision that the weights are in and that they are computed in."""
        return self.model.dtype

    @property
    def n_kv_head(self) -> int:
        """Heads of keys and values; fewer than heads where queries share them in groups."""
        return self.config.n_kv_head

    def scale(self, kind: Kind, layer: int) -> tuple[float, float | None]:
        """What a layer's dot products are multiplied by, and what bounds its scores."""
        return self.model.scale(kind, layer)

    def shape(self, kind: Kind | None) -> tuple[int, int]:
        """Layers and heads of a kind; None: the largest of any kind."""
        if kind is None:
            return self.config.n_layer, self.config.n_head
        return self.model.shape(kind)

    @cached_property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def parameter_shapes(self) -> dict[str, list[int]]:
        return {name: list(p.shape) for name, p in self.model.named_parameters()}


def names(folder: Path = WEIGHTS) -> list[str]:
    """The bundled models, the encoder first."""
    order = {"bert": 0, "gpt": 1, "translator": 2, "recurrent": 3}
    models = [path.parent.name for path in folder.glob("*/card.json")]
    return sorted(models, key=lambda name: (order.get(name, len(order)), name))


def snapshots(name: str, folder: Path = WEIGHTS) -> dict[str, Snapshot]:
    """A bundled model at steps of its training, by names like gpt@2000000. None: a damaged card."""
    kept = Snapshots.read(folder / name).snapshots
    return {f"{name}@{snapshot.tokens}": snapshot for snapshot in kept}


def why_no_snapshots(name: str, folder: Path = WEIGHTS) -> str:
    """Why the card of a bundled model's snapshots cannot be read; empty if nothing is wrong."""
    return Snapshots.read(folder / name).problem


def load(name: str, device: torch.device, folder: Path = WEIGHTS) -> Loaded:
    """A bundled model or a snapshot of one, its weights checked against the card's sha256."""
    model_name, _, tokens = name.partition("@")
    model_folder = folder / model_name
    card = Card.read(model_folder)
    try:
        model = ARCHITECTURES[card.architecture](Config(**card.config))
        tokenizer = Tokenizer.load(model_folder / "tokenizer.json")
    except Exception as error:  # tokenizers raises Exception itself
        raise checkpoint.BadWeights(f"{model_folder} cannot be read: {error!r}") from None
    if tokens:
        card = _load_snapshot(model, card, tokens, model_folder)
    else:
        _load_finished(model, card, model_folder)
    return Loaded(card, tokenizer, model.to(device).eval(), device)


def _load_finished(model: nn.Module, card: Card, folder: Path) -> None:
    """Fill the model with the weights that its card names."""
    path = folder / "model.safetensors"
    if path.exists() and checkpoint.sha256(path) != card.sha256:
        raise checkpoint.BadWeights(f"{path} is damaged: its sha256 is not the one in card.json")
    checkpoint.load(model, path)


def _load_snapshot(model: nn.Module, card: Card, tokens: str, folder: Path) -> Card:
    """Fill the model with the weights of a snapshot; answer what is known of it."""
    kept, name = Snapshots.read(folder), f"{card.name}@{tokens}"
    snapshot = kept.after(tokens)
    checkpoint.fill(model, weights(folder, snapshot), name)
    training = {
        **kept.training,
        "steps": snapshot.steps,
        "tokens": snapshot.tokens,
        "longest": snapshot.longest,
    }
    row = {"step": snapshot.steps, "tokens": snapshot.tokens, **snapshot.heads}
    return replace(
        card,
        name=name,
        sha256=snapshot.sha256,
        training=training,
        curve=[],
        heads=[row],
        metrics={},
        samples=[],
    )


def pick_device(wanted: str | None = None) -> torch.device:
    """The wanted device, if the machine has it; by default CUDA, then MPS, then CPU."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if not wanted:
        return torch.device(next(name for name, has in available.items() if has))
    kind = wanted.split(":")[0]
    if not available.get(kind):
        names = ", ".join(name for name, has in available.items() if has)
        raise ValueError(f"device {wanted!r} is not available; this machine has {names}")
    try:
        return torch.empty(0, device=wanted).device
    except RuntimeError as error:
        raise ValueError(f"device {wanted!r} cannot be used: {error}") from None
