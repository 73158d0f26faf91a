"""Position encodings: their part of the input, and the effect of omitting them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from attention_atlas.model.languages import Direction
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of, read, types_of
from attention_atlas.model.spec import BadInput, Spec, check_position_vectors, check_spec, tokenize
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor


def position_table(loaded: Loaded) -> Tensor:
    """The model's position vectors: (n_ctx, D). Raises BadInput if it has none."""
    check_position_vectors(loaded, "model")
    table = loaded.model.position_vectors()
    assert table is not None
    return table.float().cpu()


@torch.inference_mode()
def embedding_parts(
    loaded: Loaded, text: str, text_pair: str | None, direction: Direction | None = None
) -> tuple[tuple[Token, ...], dict[str, Tensor]]:
    """Norms of word, position and segment vectors, their sum, and the first layer's input: (T,)."""
    check_position_vectors(loaded, "model")
    if not loaded.model.has_input_parts:
        raise BadInput(
            "model",
            Message(
                "input-not-a-sum",
                "{model}'s input is not a sum of words and positions alone",
                model=loaded.name,
            ),
        )
    tokens = tokenize(loaded, text, text_pair, direction)
    ids, types = batch_of(loaded, tokens), types_of(loaded, tokens)
    parts = loaded.model.input_parts(ids[0], None if types is None else types[0])
    parts["sum"] = torch.stack(list(parts.values())).sum(0)
    parts["input"] = _stream(loaded, tokens)[0]
    return tokens, {name: vectors.norm(dim=-1).cpu() for name, vectors in parts.items()}


@dataclass(frozen=True)
class Permutation:
    """The same words in two orders, and the change of each token's last hidden state, as in A."""

    a: tuple[Token, ...]
    b: tuple[Token, ...]
    order: list[int]  # of each token of A, its index in B
    with_positions: Tensor  # (T,)
    without: Tensor  # (T,)
    text_b: str  # "" if B is A's tokens in reverse order

    @property
    def is_same(self) -> bool:
        """Whether both orders are equal, so that they show nothing."""
        return [token.id for token in self.a] == [token.id for token in self.b]


@torch.inference_mode()
def permutation(loaded: Loaded, text: str, text_b: str | None) -> Permutation:
    """Self-attention is permutation-equivariant: without positions B's states are A's, permuted.

    A causal mask depends on the order, so with it the states still change. By default B has A's
    words, separated by spaces, in reverse order; the tokens, if the text has no spaces.
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
    """Tokens in reverse order; special tokens, such as [CLS], keep their positions."""
    backwards = iter([token for token in reversed(tokens) if not token.special])
    return tuple(token if token.special else next(backwards) for token in tokens)


def _stream(loaded: Loaded, tokens: tuple[Token, ...], edits: Sequence[Edit] = ()) -> list[Tensor]:
    """The residual stream of the stack that reads the text, layer by layer: (T, D) each."""
    if not loaded.has_self_attention:
        raise BadInput(
            "model",
            Message(
                "no-hidden-states", "{model} has no layers of hidden states", model=loaded.name
            ),
        )
    tape = Tape(layers=(), edits=edits, hidden=True)
    read(loaded, {"source": tokens}, tape)
    [stream] = tape.streams.values()
    return [x[0].float() for x in stream]


def _order(a: tuple[Token, ...], b: tuple[Token, ...]) -> list[int]:
    """The index in B of each token of A; the n-th copy of a token is the n-th copy in B."""
    indices: dict[int, list[int]] = defaultdict(list)
    for j, token in enumerate(b):
        indices[token.id].append(j)
    if sorted(token.id for token in a) != sorted(token.id for token in b):
        extra = [token.text.strip() for token in b if token.id not in {t.id for t in a}]
        raise BadInput(
            "text_b",
            Message(
                "not-the-same-tokens",
                "the texts are not the same tokens in two orders; only the second has: {tokens}",
                tokens=", ".join(extra[:8]) or "–",
            ),
        )
    return [indices[token.id].pop(0) for token in a]
