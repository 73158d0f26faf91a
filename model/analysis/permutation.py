"""What position encodings are for: their part of the input, and what is lost without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from attention_atlas.model.languages import Direction
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of, read, types_of
from attention_atlas.model.spec import BadInput, Spec, check_position_vectors, check_spec, tokenize
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor


def position_table(loaded: Loaded) -> Tensor:
    """What a model learned or uses: (n_ctx, D)."""
    check_position_vectors(loaded, "model")
    table = loaded.model.position_vectors()
    assert table is not None
    return table.float().cpu()


@torch.inference_mode()
def embedding_parts(
    loaded: Loaded, text: str, text_pair: str | None, direction: Direction | None = None
) -> tuple[tuple[Token, ...], dict[str, Tensor]]:
    """Word, position and segment vectors, their sum, and what the first layer reads: norms (T,)."""
    check_position_vectors(loaded, "model")
    if not loaded.model.has_input_parts:
        raise BadInput("model", f"{loaded.name}'s input is not a sum of words and positions alone")
    tokens = tokenize(loaded, text, text_pair, direction)
    ids, types = batch_of(loaded, tokens), types_of(loaded, tokens)
    parts = loaded.model.input_parts(ids[0], None if types is None else types[0])
    parts["sum"] = torch.stack(list(parts.values())).sum(0)
    parts["input"] = _stream(loaded, tokens)[0]
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

    A causal mask does know it, so there something is left. What stands between spaces is put in
    reverse order; of a text without spaces, as in Chinese, the tokens are.
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
        x, y = (_stream(loaded, tokens, edits)[-1] for tokens in (a, b))
        changes.append((x - y[order]).abs().amax(-1).cpu())
    return Permutation(a, b, order, changes[0], changes[1], text_b)


def _reversed(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Tokens from the end, but those that are not text, such as [CLS]: they keep their places."""
    backwards = iter([token for token in reversed(tokens) if not token.special])
    return tuple(token if token.special else next(backwards) for token in tokens)


def _stream(loaded: Loaded, tokens: tuple[Token, ...], edits: Sequence[Edit] = ()) -> list[Tensor]:
    """What the stack that reads the text holds before its first layer and after each: (T, D)."""
    if not loaded.has_self_attention:
        raise BadInput("model", f"{loaded.name} has no layers of hidden states")
    tape = Tape(layers=(), edits=edits, hidden=True)
    read(loaded, {"source": tokens}, tape)
    [stream] = tape.streams.values()
    return [x[0].float() for x in stream]


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
