"""What position encodings are for: their part of the input, and what is lost without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from attention_atlas.model.analysis.compare import hidden_states
from attention_atlas.model.hub.adapters import Adapter, HubDecoder, HubEncoder
from attention_atlas.model.record import Token
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.run import BadInput, Spec, check_spec, tokenize
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.transformer import GPT, Bert, EncoderDecoder
from attention_atlas.model.zoo import Loaded
from torch import Tensor


def position_table(loaded: Loaded) -> Tensor:
    """What a model learned or uses: (n_ctx, D)."""
    model = loaded.model
    if isinstance(model, EncoderDecoder):
        return model.get_buffer("position").cpu()
    if isinstance(model, Bert | GPT):
        return model.position.weight.detach().cpu()
    if isinstance(model, Adapter):
        table = model.table("decoder" if loaded.family == "decoder" else "encoder")
        if table is not None:
            return table.float().cpu()
        how = f"its positions are {model.positions}, inside attention"
        raise BadInput("model", f"{loaded.name} adds no position vectors to its input: {how}")
    raise BadInput("model", f"{loaded.name} has no position encoding: it reads word by word")


@torch.inference_mode()
def embedding_parts(
    loaded: Loaded, text: str, text_pair: str | None
) -> tuple[tuple[Token, ...], dict[str, Tensor]]:
    """Word, position and segment vectors, their sum, and what the first layer reads: norms (T,)."""
    model = loaded.model
    if isinstance(model, Recurrent):
        position_table(loaded)  # says why not
    if isinstance(model, Adapter):
        return _adapted_parts(loaded, model, text, text_pair)
    tokens = tokenize(loaded, text, text_pair)
    ids = torch.tensor([token.id for token in tokens], device=loaded.device)
    segments = torch.tensor([token.segment for token in tokens], device=loaded.device)
    scale = model.config.d_model**0.5 if isinstance(model, EncoderDecoder) else 1.0
    parts = {
        "word": model.embedding(ids) * scale,
        "position": position_table(loaded)[: len(tokens)].to(loaded.device),
    }
    if isinstance(model, Bert):
        parts["segment"] = model.segment(segments)
    parts["sum"] = torch.stack(list(parts.values())).sum(0)
    parts["input"] = parts["sum"]
    if isinstance(model, Bert):
        parts["input"] = model.embedding_norm(parts["sum"])
    return tokens, {name: vectors.norm(dim=-1).cpu() for name, vectors in parts.items()}


def _adapted_parts(
    loaded: Loaded, model: Adapter, text: str, text_pair: str | None
) -> tuple[tuple[Token, ...], dict[str, Tensor]]:
    """The same of a model of the Hub, where its input is such a sum."""
    table = position_table(loaded)  # or says why not
    if model.parts is None:
        raise BadInput("model", f"{loaded.name}'s input is not a sum of words and positions alone")
    tokens = tokenize(loaded, text, text_pair)
    ids = torch.tensor([token.id for token in tokens], device=loaded.device)
    segments = torch.tensor([token.segment for token in tokens], device=loaded.device)
    parts = {"word": model.parts.word(ids).float() * model.parts.scale}
    parts["position"] = table[: len(tokens)].to(loaded.device)
    if model.parts.segment is not None:
        parts["segment"] = model.parts.segment(segments).float()
    parts["sum"] = torch.stack(list(parts.values())).sum(0)
    parts["input"] = hidden_states(loaded, Spec(text, text_pair))[0].float()
    return tokens, {name: vectors.norm(dim=-1).cpu() for name, vectors in parts.items()}


@dataclass(frozen=True)
class Permutation:
    """The same words in two orders: how far a token's last hidden state moves, by token of A."""

    a: tuple[Token, ...]
    b: tuple[Token, ...]
    order: list[int]  # where each token of A is in B
    with_positions: Tensor  # (T,)
    without: Tensor  # (T,)
    text_b: str  # "" where the tokens themselves are reversed

    @property
    def is_same(self) -> bool:
        """Whether both orders are one: then nothing moves, and nothing is shown by it."""
        return [token.id for token in self.a] == [token.id for token in self.b]


@torch.inference_mode()
def permutation(loaded: Loaded, text: str, text_b: str | None) -> Permutation:
    """Self-attention does not know order: without positions B's states are A's, in B's order.

    A causal mask does know it, so there something is left. Words are what spaces part; a text
    without any, as in Chinese, has its tokens in another order.
    """
    words = text.split()
    a = tokenize(loaded, " ".join(words))
    if text_b is not None:
        text_b = " ".join(text_b.split())
    else:
        text_b = " ".join(reversed(words)) if len(words) > 1 else ""
    b = tokenize(loaded, text_b) if text_b or len(words) > 1 else _reversed(a)
    order = _order(a, b)
    changes = []
    for edits in ((), (Edit("positions", value="none"),)):
        check_spec(loaded, Spec(text, edits=edits))
        x, y = (_last_states(loaded, tokens, edits) for tokens in (a, b))
        changes.append((x - y[order]).abs().amax(-1).cpu())
    return Permutation(a, b, order, changes[0], changes[1], text_b)


def _reversed(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Tokens from the end, but those that are not text, such as [CLS]: they keep their places."""
    backwards = iter([token for token in reversed(tokens) if not token.special])
    return tuple(token if token.special else next(backwards) for token in tokens)


def _last_states(loaded: Loaded, tokens: tuple[Token, ...], edits: Sequence[Edit]) -> Tensor:
    """What the last layer that reads the text leaves, token by token: (T, D)."""
    ids = torch.tensor([[token.id for token in tokens]], device=loaded.device)
    model, tape = loaded.model, Tape(layers=(), edits=edits, hidden=True)
    if isinstance(model, Recurrent):
        raise BadInput("model", f"{loaded.name} has no layers of hidden states")
    if isinstance(model, Bert | HubEncoder):
        model.encode(ids, torch.zeros_like(ids), tape)
    elif isinstance(model, GPT | HubDecoder):
        model.hidden(ids, tape)
    else:
        model.encode(ids, tape)
    [stream] = tape.streams.values()
    return stream[-1][0].float()


def _order(a: tuple[Token, ...], b: tuple[Token, ...]) -> list[int]:
    """Where each token of A is in B: the first copy in the first's place, and so on."""
    places: dict[int, list[int]] = defaultdict(list)
    for j, token in enumerate(b):
        places[token.id].append(j)
    if sorted(token.id for token in a) != sorted(token.id for token in b):
        here = [token.text.strip() for token in b if token.id not in {t.id for t in a}]
        more = f"; only the second has {', '.join(here[:8])}" if here else ""
        raise BadInput("text_b", f"the two texts are not the same tokens in two orders{more}")
    return [places[token.id].pop(0) for token in a]
