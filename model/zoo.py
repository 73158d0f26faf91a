"""Which models there are: a `Card` each, and `load(name)`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.hub.adapters import Adapter, HubModel, Sizes
from attention_atlas.model.hub.lens import Place
from attention_atlas.model.hub.subwords import HubTokenizer
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.tape import Kind
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder, Transformer

WEIGHTS = Path(__file__).parent / "weights"

Own = Transformer | Recurrent
Model = Own | HubModel
ARCHITECTURES: dict[str, type[Own]] = {
    cls.__name__: cls for cls in (EncoderDecoder, Recurrent, Bert, GPT)
}
FAMILIES = {
    "EncoderDecoder": "encoder-decoder",
    "Recurrent": "recurrent",
    "Bert": "encoder",
    "GPT": "decoder",
}
TASKS = {
    "EncoderDecoder": ("translate",),
    "Recurrent": ("translate",),
    "Bert": ("fill-mask", "next-sentence"),
    "GPT": ("generate", "next-token"),
}


NOT_FOR = (
    "Not for decisions, advice or facts: a small model, made to be looked at. It makes things "
    "up, and repeats the biases and mistakes of its texts."
)


@dataclass(frozen=True)
class Card:
    """What is known of a trained model; kept beside its weights as card.json."""

    name: str
    architecture: str
    config: dict[str, Any]
    sha256: str  # of the weights
    revision: str = ""  # of what a folder holds beside them; a bundled one's is our version
    data: list[dict[str, str]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)  # what each did at a few steps
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Card:
        try:
            card = cls(**json.loads((folder / "card.json").read_text("utf-8")))
            if not all(isinstance(measure, dict) for measure in card.metrics.values()):
                raise ValueError("its metrics are of an older version; measure the model again")
            return card
        except (OSError, ValueError, TypeError) as error:
            raise checkpoint.BadWeights(f"{folder} has no readable card.json: {error}") from None


@dataclass(frozen=True)
class Loaded:
    """A model ready to run: its card, tokenizer and weights, on a device."""

    card: Card
    tokenizer: Tokenizer | HubTokenizer
    model: Model
    device: torch.device
    source: str = "bundled"  # or "hub", "path"

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def identity(self) -> tuple[str, str, str]:
        """What its answers are a function of, beside the request: cache keys begin with it."""
        return self.name, self.card.sha256, self.card.revision

    @property
    def config(self) -> Config | Sizes:
        return self.model.config

    @property
    def family(self) -> str:
        if isinstance(self.model, Adapter):
            return self.model.family
        return FAMILIES[self.card.architecture]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return self.model.kinds

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model's head is for; none if it has no head."""
        if isinstance(self.model, Adapter):
            return self.model.tasks
        return TASKS[self.card.architecture]

    @property
    def lacks(self) -> tuple[str, ...]:
        """What of q, k, v, scores, edits, predictions cannot be had of this model."""
        return self.model.lacks if isinstance(self.model, Adapter) else ()

    @property
    def why(self) -> str:
        """Why it lacks that."""
        return self.model.why if isinstance(self.model, Adapter) else ""

    @property
    def mask(self) -> str | None:
        """How a blank is written, if the vocabulary has a token for one."""
        i = self.tokenizer.mask_id
        return None if i is None else self.tokenizer.raw(i)

    @property
    def takes_pair(self) -> bool:
        """Whether a second text may follow the first."""
        return self.family == "encoder"

    @property
    def position_table(self) -> bool:
        """Whether position vectors are added to its input, that can be looked at and left out."""
        if isinstance(self.model, Adapter):
            return self.model.parts is not None and "edits" not in self.lacks
        return self.family != "recurrent"

    @property
    def dtype(self) -> str:
        """The precision that the weights are in and that they are computed in."""
        return self.model.dtype if isinstance(self.model, Adapter) else "float32"

    @property
    def n_kv_head(self) -> int:
        """Heads of keys and values; fewer than heads where queries share them in groups."""
        return self.config.n_kv_head if isinstance(self.config, Sizes) else self.config.n_head

    def scale(self, kind: Kind, layer: int) -> tuple[float, float | None]:
        """What a layer's dot products are multiplied by, and what bounds its scores."""
        place = Place(kind, layer)
        if isinstance(self.model, Adapter):
            return self.model.scales[place], self.model.softcaps.get(place)
        return (1.0 if self.family == "recurrent" else self.config.d_head**-0.5), None

    def shape(self, kind: Kind | None) -> tuple[int, int]:
        """Layers and heads of a kind; None: the most there are of any."""
        if isinstance(self.model, Adapter) and kind is not None:
            return self.model.shapes[kind]
        return self.config.n_layer, self.config.n_head

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def parameter_shapes(self) -> dict[str, list[int]]:
        return {name: list(p.shape) for name, p in self.model.named_parameters()}


def names(folder: Path = WEIGHTS) -> list[str]:
    """The bundled models, the encoder first."""
    order = {"bert": 0, "gpt": 1, "translator": 2, "recurrent": 3}
    found = [path.parent.name for path in folder.glob("*/card.json")]
    return sorted(found, key=lambda name: (order.get(name, len(order)), name))


def load(name: str, device: torch.device, folder: Path = WEIGHTS) -> Loaded:
    """A bundled model, its weights checked against the card's sha256."""
    here = folder / name
    card = Card.read(here)
    path = here / "model.safetensors"
    if path.exists() and checkpoint.sha256(path) != card.sha256:
        raise checkpoint.BadWeights(f"{path} is damaged: its sha256 is not the one in card.json")
    try:
        model = ARCHITECTURES[card.architecture](Config(**card.config))
        tokenizer = Tokenizer.load(here / "tokenizer.json")
    except Exception as error:  # tokenizers raises Exception itself
        raise checkpoint.BadWeights(f"{here} cannot be read: {error!r}") from None
    checkpoint.load(model, path)
    return Loaded(card, tokenizer, model.to(device).eval(), device)


def pick_device(wanted: str | None = None) -> torch.device:
    """CUDA, then MPS, then CPU; or the one that is wanted, if it is there."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if not wanted:
        return torch.device(next(name for name, is_there in there.items() if is_there))
    kind = wanted.split(":")[0]
    if not there.get(kind):
        have = ", ".join(name for name, is_there in there.items() if is_there)
        raise ValueError(f"device {wanted!r} is not there; this machine has {have}")
    try:
        return torch.empty(0, device=wanted).device
    except RuntimeError as error:
        raise ValueError(f"device {wanted!r} cannot be used: {error}") from None
