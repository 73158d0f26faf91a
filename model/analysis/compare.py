"""Two runs beside each other: a word's hidden states layer by layer, its attention head by head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from attention_atlas.model.analysis.function_words import content
from attention_atlas.model.analysis.observations import heads_by_position
from attention_atlas.model.analysis.roles import FEWEST_QUERIES, POSITIONAL, above, fixed_offset
from attention_atlas.model.messages import Message
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
        raise BadInput(
            "model",
            Message(
                "no-hidden-states", "{model} has no layers of hidden states", model=loaded.name
            ),
        )
    stacks = dict(zip(("source", "target"), tape.streams.values(), strict=False))
    if sequence not in stacks:
        there = ", ".join(stacks)
        raise BadInput(
            "sequence",
            Message(
                "unknown-sequence",
                "{model} has no sequence {sequence}; it has {there}",
                model=loaded.name,
                sequence=sequence,
                there=there,
            ),
        )
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
    indices = occurrences(q, word)
    if not indices:
        there = ", ".join(dict.fromkeys(other.text for other in q if other.number is not None))
        raise BadInput(
            fields[0],
            Message(
                "not-a-word",
                "{word!r} is not a word of the text: {there}",
                word=word[:40],
                there=there[:400],
            ),
        )
    if not 0 <= occurrence < len(indices):
        raise BadInput(
            fields[1],
            Message(
                "occurrence-out-of-range",
                "occurrence {value} of {word!r} does not exist: they are 0 to {limit}",
                value=occurrence,
                word=word[:40],
                limit=len(indices) - 1,
            ),
        )
    return Side(record, q, k, indices[occurrence], occurrence, len(indices))


def pieces(compared: Side) -> list[int]:
    """The tokens of the word."""
    return list(compared.q[compared.word].tokens)


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
    counted_a: Tensor  # (words of A,) bool: those that count
    counted_b: Tensor  # (words of B,)


Counted = tuple[Sequence[bool], Sequence[bool]]  # of the key words of A and of B


def divergence(
    a: Side,
    b: Side,
    pairs: Sequence[tuple[int, int]] | None = None,
    counted: Counted | None = None,
) -> Divergence:
    """Jensen-Shannon divergence of the word's rows; `pairs` are key words of A and B, else LCS.

    `counted` says which key words count, else all; the share of the others is one number.
    """
    pairs = alignment(a.k, b.k) if pairs is None else list(pairs)
    L, H = (min(x.record.attn.size(axis) for x in (a, b)) for axis in (0, 1))
    row_a, row_b = (_row(x)[:L, :H] for x in (a, b))
    every = [True] * len(a.k), [True] * len(b.k)
    counted_a, counted_b = (torch.tensor(each) for each in counted or every)
    p_a, p_b = row_a * counted_a, row_b * counted_b
    index_a, index_b = [i for i, _ in pairs], [j for _, j in pairs]
    both_a, both_b = p_a[..., index_a], p_b[..., index_b]  # (L, H, pairs)
    alone_a = _without(p_a, index_a)
    alone_b = _without(p_b, index_b)
    p = torch.cat([both_a, alone_a, torch.zeros_like(alone_b)], -1)
    r = torch.cat([both_b, torch.zeros_like(alone_a), alone_b], -1)
    if counted is not None:
        rest = [1 - x.sum(-1, keepdim=True).clamp(max=1.0) for x in (p_a, p_b)]
        p, r = (torch.cat([x, left], -1) for x, left in zip((p, r), rest, strict=True))
    return Divergence(
        pairs=list(pairs),
        every=jensen_shannon(p, r),
        aligned=jensen_shannon(_whole(both_a), _whole(both_b)),
        unaligned_a=alone_a.sum(-1),
        unaligned_b=alone_b.sum(-1),
        row_a=row_a,
        row_b=row_b,
        counted_a=counted_a,
        counted_b=counted_b,
    )


Heads = Collection[tuple[int, int]]  # layer and head of each


def positional_heads(loaded: Loaded, record: AttentionRecord) -> set[tuple[int, int]]:
    """Heads that follow position: by the model's card, or by their argmax in this text."""
    known = {
        (layer, head) for kind, layer, head in heads_by_position(loaded) if kind == record.kind
    }
    if record.kind == "cross" or len(record.q_tokens) <= FEWEST_QUERIES:
        return known
    share = fixed_offset(record.attn)[0]
    return known | {(layer, head) for layer, head, _ in above(share, POSITIONAL)}


def baseline(sides: Sequence[Sequence[Side]], languages: str | None) -> Tensor | None:
    """(L, H): the mean divergence between two texts of one sense, over all pairs.

    `sides` are those of each sense; with `languages`, content words alone count. None without a
    pair.
    """
    divergences = []
    for of_sense in sides:
        for a, b in combinations(of_sense, 2):
            counted = None
            if languages is not None:
                counted = content(a.k, languages), content(b.k, languages)
            divergences.append(divergence(a, b, None, counted).every)
    return torch.stack(divergences).mean(0) if divergences else None


def difference(a: Side, b: Side, pairs: Sequence[tuple[int, int]], layer: int, head: int) -> Tensor:
    """A's attention minus B's between aligned words, for self-attention: (pairs, pairs)."""
    x, y = (_merged(x.record.attn[layer, head], x.q, x.k) for x in (a, b))
    index_a, index_b = [i for i, _ in pairs], [j for _, j in pairs]
    return x[index_a][:, index_a] - y[index_b][:, index_b]


def _row(compared: Side) -> Tensor:
    """The word's attention to each key word: (L, H, K)."""
    return _merged(compared.record.attn, [compared.q[compared.word]], compared.k)[..., 0, :]


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


def ranked(
    result: Divergence, a: Side, b: Side, last: Heads = (), n: int = TOP
) -> list[DifferingHead]:
    """The heads that differ most, first; those of `last` after all others."""
    order = _behind(result.every, last).flatten().argsort(descending=True)[:n].tolist()
    H = result.every.size(1)
    heads = []
    for layer, head in ((i // H, i % H) for i in order):
        row_a = result.row_a[layer, head] * result.counted_a
        row_b = result.row_b[layer, head] * result.counted_b
        heads.append(
            DifferingHead(
                layer=layer,
                head=head,
                divergence=result.every[layer, head].item(),
                aligned=result.aligned[layer, head].item(),
                a=a.k[int(row_a.argmax())].text,
                attn_a=row_a.max().item(),
                b=b.k[int(row_b.argmax())].text,
                attn_b=row_b.max().item(),
            )
        )
    return heads


def _behind(scores: Tensor, last: Heads) -> Tensor:
    """The scores, those of some heads below all others."""
    lowered = scores.clone()
    for layer, head in last:
        if layer < scores.size(0) and head < scores.size(1):
            lowered[layer, head] -= 1  # the most there can be is ln 2
    return lowered


def most_different(
    result: Divergence, layer: int | None, head: int | None, last: Heads = ()
) -> tuple[int, int]:
    """The head asked for, else the one that differs most; of those of its layer, if that is."""
    scores = _behind(result.every, last)
    if layer is not None:
        scores[[i for i in range(scores.size(0)) if i != layer]] = -2
    if head is not None:
        scores[:, [i for i in range(scores.size(1)) if i != head]] = -2
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
            message = Message(
                "out-of-range",
                "{field} {value} does not exist: both have 0 to {limit}",
                field=field,
                value=value,
                limit=n - 1,
            )
            raise BadInput(field, message)
    for name, index, words in (("A", 0, a.k), ("B", 1, b.k)):
        used = [pair[index] for pair in pairs]
        if any(i >= len(words) for i in used):
            raise BadInput(
                "align",
                Message(
                    "word-out-of-range",
                    "{name} has words 0 to {n_words}",
                    name=name,
                    n_words=len(words) - 1,
                ),
            )
        if len(set(used)) < len(used):
            raise BadInput(
                "align",
                Message(
                    "word-in-two-pairs", "a word of {name} is in more than one pair", name=name
                ),
            )
