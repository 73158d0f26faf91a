"""Two runs beside each other: a word's hidden states layer by layer, its attention head by head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from attention_atlas.model.record import AttentionRecord, Run, axes
from attention_atlas.model.run import forward
from attention_atlas.model.spec import BadInput, Spec, check_spec
from attention_atlas.model.tape import Tape
from attention_atlas.model.words import Word, alignment, merged, occurrences, words_of
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F

TOP = 12  # heads named


@torch.inference_mode()
def hidden_states(loaded: Loaded, spec: Spec, sequence: str = "source") -> Tensor:
    """The residual stream at the embedding and after each layer: (L + 1, T, D)."""
    check_spec(loaded, spec)
    tape = Tape(layers=(), edits=spec.edits, hidden=True)
    forward(loaded, spec, tape)
    if not tape.streams:
        raise BadInput("model", f"{loaded.name} has no layers of hidden states")
    stacks = dict(zip(("source", "target"), tape.streams.values(), strict=False))
    if sequence not in stacks:
        there = " and ".join(stacks)
        raise BadInput("sequence", f"{loaded.name} has no sequence {sequence}; it has {there}")
    return torch.stack([x[0] for x in stacks[sequence]]).float().cpu()


@dataclass(frozen=True)
class Side:
    """One of two runs: the words of its query and key axes, and which of them is looked at."""

    record: AttentionRecord
    q: list[Word]
    k: list[Word]
    word: int  # index among q
    occurrence: int  # of the word, from 0
    n_occurrence: int


def side(
    run: Run,
    record: AttentionRecord,
    word: str,
    occurrence: int = 0,
    fields: tuple[str, str] = ("word", "occurrence"),
) -> Side:
    """Raises BadInput naming the words there are, or how often the word is there."""
    q_name, k_name = axes(record.kind, run.sequences)
    texts = {"source": [run.text, run.text_pair or ""], "target": [run.target or ""]}
    q = words_of(record.q_tokens, texts[q_name])
    k = words_of(record.k_tokens, texts[k_name])
    found = occurrences(q, word)
    if not found:
        there = ", ".join(dict.fromkeys(other.text for other in q if other.number is not None))
        raise BadInput(fields[0], f"{word[:40]!r} is not a word of the text: {there[:400]}")
    if not 0 <= occurrence < len(found):
        times = f"is there {len(found)} time{'s' if len(found) > 1 else ''}"
        raise BadInput(fields[1], f"{word[:40]!r} {times}, from 0")
    return Side(record, q, k, found[occurrence], occurrence, len(found))


def pieces(found: Side) -> list[int]:
    """The tokens of the word."""
    return list(found.q[found.word].tokens)


def word_states(states: Tensor, tokens: Sequence[int]) -> Tensor:
    """The mean of a word's pieces: (L + 1, T, D) -> (L + 1, D)."""
    return states[:, list(tokens)].mean(1)


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of two words' hidden states, layer by layer: (..., D) twice -> (...)."""
    return F.cosine_similarity(a, b, dim=-1)


@dataclass(frozen=True)
class Divergence:
    """How differently the word looks in two runs, per head of the layers and heads both have.

    `every` counts each word, also those that have no partner; `aligned` is of those that have
    one, their shares made to sum to 1; `unaligned_a` and `unaligned_b` are the rest's shares.
    """

    pairs: list[tuple[int, int]]
    every: Tensor  # (L, H)
    aligned: Tensor  # (L, H)
    unaligned_a: Tensor  # (L, H)
    unaligned_b: Tensor  # (L, H)
    row_a: Tensor  # (L, H, words of A): the word's attention
    row_b: Tensor  # (L, H, words of B)


def divergence(a: Side, b: Side, pairs: Sequence[tuple[int, int]] | None = None) -> Divergence:
    """Jensen-Shannon divergence of the word's rows; `pairs` are key words of A and B, else LCS."""
    pairs = alignment(a.k, b.k) if pairs is None else list(pairs)
    L, H = (min(x.record.attn.size(axis) for x in (a, b)) for axis in (0, 1))
    row_a, row_b = (_row(x)[:L, :H] for x in (a, b))
    index_a, index_b = [i for i, _ in pairs], [j for _, j in pairs]
    both_a, both_b = row_a[..., index_a], row_b[..., index_b]  # (L, H, pairs)
    alone_a = _without(row_a, index_a)
    alone_b = _without(row_b, index_b)
    p = torch.cat([both_a, alone_a, torch.zeros_like(alone_b)], -1)
    r = torch.cat([both_b, torch.zeros_like(alone_a), alone_b], -1)
    return Divergence(
        pairs=list(pairs),
        every=jensen_shannon(p, r),
        aligned=jensen_shannon(_whole(both_a), _whole(both_b)),
        unaligned_a=alone_a.sum(-1),
        unaligned_b=alone_b.sum(-1),
        row_a=row_a,
        row_b=row_b,
    )


def difference(a: Side, b: Side, pairs: Sequence[tuple[int, int]], layer: int, head: int) -> Tensor:
    """A's attention minus B's between aligned words, for self-attention: (pairs, pairs)."""
    x, y = (_merged(x.record.attn[layer, head], x.q, x.k) for x in (a, b))
    index_a, index_b = [i for i, _ in pairs], [j for _, j in pairs]
    return x[index_a][:, index_a] - y[index_b][:, index_b]


def _row(found: Side) -> Tensor:
    """The word's attention to each key word: (L, H, K)."""
    return _merged(found.record.attn, [found.q[found.word]], found.k)[..., 0, :]


def _merged(attn: Tensor, q: Sequence[Word], k: Sequence[Word]) -> Tensor:
    """(..., Tq, Tk) -> (..., words, words)."""
    return merged(attn, [word.tokens for word in q], [word.tokens for word in k])


def _without(row: Tensor, index: Sequence[int]) -> Tensor:
    gone = set(index)
    kept = [i for i in range(row.size(-1)) if i not in gone]
    return row[..., kept]


def _whole(shares: Tensor) -> Tensor:
    total = shares.sum(-1, keepdim=True)
    return shares / total.where(total > 0, 1.0)


def jensen_shannon(p: Tensor, r: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two distributions (..., n) -> (...), in nats: 0 to ln 2."""
    middle = (p + r) / 2
    entropy = torch.special.entr
    return (entropy(middle) - (entropy(p) + entropy(r)) / 2).sum(-1).clamp(min=0.0)


class DifferingHead(NamedTuple):
    """A head, how differently the word looks there, and the word it looks at most in each run."""

    layer: int
    head: int
    divergence: float
    aligned: float
    a: str
    attn_a: float
    b: str
    attn_b: float


def ranked(found: Divergence, a: Side, b: Side, n: int = TOP) -> list[DifferingHead]:
    """The heads that differ most, first."""
    H = found.every.size(1)
    order = found.every.flatten().argsort(descending=True)[:n].tolist()
    heads = []
    for layer, head in ((i // H, i % H) for i in order):
        row_a, row_b = found.row_a[layer, head], found.row_b[layer, head]
        heads.append(
            DifferingHead(
                layer=layer,
                head=head,
                divergence=found.every[layer, head].item(),
                aligned=found.aligned[layer, head].item(),
                a=a.k[int(row_a.argmax())].text,
                attn_a=row_a.max().item(),
                b=b.k[int(row_b.argmax())].text,
                attn_b=row_b.max().item(),
            )
        )
    return heads


def most_different(found: Divergence, layer: int | None, head: int | None) -> tuple[int, int]:
    """The head asked for, else the one that differs most; of those of its layer, if that is."""
    scores = found.every.clone()
    if layer is not None:
        scores[[i for i in range(scores.size(0)) if i != layer]] = -1
    if head is not None:
        scores[:, [i for i in range(scores.size(1)) if i != head]] = -1
    best = int(scores.argmax())
    return best // scores.size(1), best % scores.size(1)


def check_comparable(
    a: Side,
    b: Side,
    layer: int | None,
    head: int | None,
    pairs: Sequence[tuple[int, int]] = (),
) -> None:
    """A head that both runs have, and pairs of words that are there. Raises BadInput."""
    L, H = (min(x.record.attn.size(axis) for x in (a, b)) for axis in (0, 1))
    for field, value, n in (("layer", layer, L), ("head", head, H)):
        if value is not None and value >= n:
            message = f"{field} {value} does not exist: both have {field}s 0 to {n - 1}"
            raise BadInput(field, message)
    for name, index, words in (("A", 0, a.k), ("B", 1, b.k)):
        used = [pair[index] for pair in pairs]
        if any(i >= len(words) for i in used):
            raise BadInput("align", f"{name} has words 0 to {len(words) - 1}")
        if len(set(used)) < len(used):
            raise BadInput("align", f"a word of {name} is in more than one pair")
