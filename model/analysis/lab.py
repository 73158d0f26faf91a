"""What a head does to a prediction: replace its output, and see how the prediction changes.

A prediction is measured by the difference of two tokens' logits at one position, which is linear in
the residual stream (Heimersheim & Nanda 2024). What is replaced is z (Tq, d), a head's output
before W_O: of one head at all positions, or of all heads of a layer at one position. Or it is what
a layer's MLP adds to the residual stream (T, D), at all positions or at one.

    zero            by 0                                              Michel et al. 2019
    mean            by its mean over all positions of reference texts
    mean_positions  by its mean over the text's own positions
    resample        by that of a second text, position by position
    denoise         in the second text, by that of the first          Zhang & Nanda 2024
    noise           in the first text, by that of the second
    attribution     as denoise, to first order                        Nanda 2023

Of the first four the effect is the change of the metric. Of the others it is a share of the way
between the two texts: 0 where nothing changes, 1 where the other text's metric is reached. denoise
and noise are not 1 minus each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from attention_atlas.model.messages import Message
from attention_atlas.model.run import read, sequences_of
from attention_atlas.model.spec import BadInput, Sequences, Spec, check_has, check_ids, check_spec
from attention_atlas.model.tape import Edit, Kind, Op, Quantity, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

How = Literal["zero", "mean", "mean_positions", "resample", "denoise", "noise", "attribution"]
Part = Literal["heads", "mlp"]
Over = Literal["heads", "positions", "mlps", "mlp_positions"]
PAIRED: tuple[How, ...] = ("resample", "denoise", "noise", "attribution")  # with a second text
SHARES: tuple[How, ...] = ("denoise", "noise", "attribution")  # of the way between the two
MOST_TOKENS = 4096  # of one batch
KEPT: tuple[Quantity, ...] = ("z",)
REPLACING: dict[Part, Op] = {"heads": "replace", "mlp": "replace_mlp"}


class Metric(Protocol):
    """A number that measures what a model makes of a text. Others are in lab_metrics."""

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,)."""


class LogitDifference(NamedTuple):
    """logit[a] - logit[b] of the prediction at one position."""

    position: int
    a: int  # token ids
    b: int

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,)."""
        logits = loaded.model.logits(x[:, self.position]).float()
        return logits[:, self.a] - logits[:, self.b]


@dataclass(frozen=True)
class ReadText:
    """A text that the model has read: its tokens, and its heads' outputs."""

    loaded: Loaded
    sequences: Sequences
    edits: tuple[Edit, ...]  # of the text itself; those of an experiment come on top
    x: Tensor  # (1, T, D), the last hidden states
    z: dict[Kind, list[Tensor]]  # of each layer (1, H, Tq, d)
    # of each stack and layer (1, 1, T, D); empty where they are not known
    mlps: dict[Kind, list[Tensor]] = field(default_factory=dict)

    @property
    def n_token(self) -> int:
        return sum(map(len, self.sequences.values()))

    def outputs(self, kind: Kind, part: Part) -> list[Tensor]:
        """What a part of each layer gives: (1, H, Tq, d), or of an MLP (1, 1, T, D)."""
        return self.z[kind] if part == "heads" else self.mlps.get(kind, [])


@torch.inference_mode()
def text_of(loaded: Loaded, spec: Spec, *, with_outputs: bool = True) -> ReadText:
    """Read a text; without its heads' outputs also by a model that has none. Raises BadInput."""
    if with_outputs:
        check_has(loaded, "edits", "how")
    check_spec(loaded, spec)
    sequences, _ = sequences_of(loaded, spec)
    return text_of_tokens(loaded, sequences, spec.edits, with_outputs=with_outputs)


@torch.inference_mode()
def text_of_tokens(
    loaded: Loaded, sequences: Sequences, edits: tuple[Edit, ...] = (), *, with_outputs: bool = True
) -> ReadText:
    """The same of a text that is tokens already."""
    tape = Tape(KEPT, layers=None if with_outputs else (), edits=edits, mlps=with_outputs)
    x = read(loaded, sequences, tape)
    steps = sorted(tape, key=lambda step: step.layer)
    kinds = loaded.kinds if with_outputs else ()
    z = {kind: [step.z for step in steps if step.kind == kind] for kind in kinds}
    mlps: dict[Kind, list[Tensor]] = {}
    for stack, layer in sorted(tape.fed):
        mlps.setdefault(stack, []).append(tape.fed[stack, layer])
    return ReadText(loaded, sequences, edits, x, z, mlps)


def predicted(text: ReadText) -> str:
    """The sequence whose tokens the model predicts: "source" or "target"."""
    return "target" if "target" in text.sequences else "source"


def default_position(text: ReadText) -> int:
    """The first [MASK] of an encoder's text, else the last token. Raises BadInput."""
    tokens = text.sequences[predicted(text)]
    if text.loaded.family != "encoder":
        return len(tokens) - 1
    mask = text.loaded.tokenizer.mask_id
    places = [i for i, token in enumerate(tokens) if token.id == mask]
    if not places:
        raise BadInput(
            "text",
            Message(
                "no-blank",
                "the text has no [MASK] whose prediction could be measured; write one, or name a "
                "position",
            ),
        )
    return places[0]


def position_of(text: ReadText, position: int | None) -> int:
    """The token whose prediction is measured; None: the default. Raises BadInput."""
    check_has(text.loaded, "predictions", "model")
    if text.loaded.model.labels is not None:
        message = Message(
            "not-words", "{model} does not predict words: its head tells labels apart",
            model=text.loaded.name,
        )  # fmt: skip
        raise BadInput("metric", message)
    position = default_position(text) if position is None else position
    n = text.x.size(1)
    if not 0 <= position < n:
        raise BadInput(
            "position",
            Message("out-of-range", "must be {limit}", limit=Message("span", "0 to {n}", n=n - 1)),
        )
    return position


@torch.inference_mode()
def metric_of(
    text: ReadText,
    position: int | None = None,
    a: int | str | None = None,
    b: int | str | None = None,
) -> LogitDifference:
    """The metric; what is None is chosen: the best candidate a, and b the best beside it.

    A token is named by its id or by a word, whose first token it is.
    """
    position = position_of(text, position)
    a, b = (token_named(text, position, x) if isinstance(x, str) else x for x in (a, b))
    check_ids(text.loaded, [i for i in (a, b) if i is not None], "metric")
    best = text.loaded.model.logits(text.x[0, position]).float().topk(3).indices.tolist()
    a = next(i for i in best if i != b) if a is None else a
    b = next(i for i in best if i != a) if b is None else b
    return LogitDifference(position, a, b)


def token_named(text: ReadText, position: int, word: str) -> int:
    """The id of a word's first token. Raises BadInput.

    Many vocabularies have a token with a space before the word and one without. Of those that spell
    the same, it is the one that is more probable at this position.
    """
    word, readable = word.strip(), text.loaded.tokenizer.readable
    spelled = [text.loaded.tokenizer.encode(each) for each in (word, f" {word}")]
    letters = [[t.id for t in row if not t.special and t.text.strip()] for row in spelled]
    firsts = {ids[0] for ids in letters if ids}
    if not firsts:
        raise BadInput("metric", Message("no-token", "no token spells {word!r}", word=word))
    whole = [i for i in firsts if readable(i).strip() == word]
    logits = text.loaded.model.logits(text.x[0, position]).float()
    return max(sorted(whole or firsts), key=lambda i: logits[i].item())


def check_pair(first: ReadText, second: ReadText) -> None:
    """Both texts have equally many tokens, so that each position has its partner."""
    for name, tokens in first.sequences.items():
        n, m = len(tokens), len(second.sequences[name])
        if n != m:
            raise BadInput(
                "corrupted",
                Message(
                    "not-as-long",
                    "the texts have {n} and {m} tokens ({sequence}); they must have equally many, "
                    "so that each position has its partner",
                    n=n,
                    m=m,
                    sequence=name,
                ),
            )


class Means:
    """Each head's mean output over all positions of some texts, which are added one by one."""

    def __init__(self) -> None:
        self.n = 0  # positions
        self.sums: list[Tensor] = []  # of each layer (1, H, 1, d)

    def add(self, outputs: Sequence[Tensor]) -> None:
        """A text's z of each layer, (1, H, Tq, d)."""
        sums = [z.sum(2, keepdim=True) for z in outputs]
        before = self.sums or [torch.zeros_like(part) for part in sums]
        self.sums = [a + b for a, b in zip(before, sums, strict=True)]
        self.n += outputs[0].size(2)

    def means(self) -> list[Tensor]:
        """Of each layer (1, H, 1, d)."""
        return [total / self.n for total in self.sums]


def replacements(
    how: How,
    kind: Kind,
    first: ReadText,
    second: ReadText | None = None,
    references: Means | None = None,
    part: Part = "heads",
) -> list[Tensor]:
    """What each layer's outputs are replaced by: (1, H, Tq or 1, d), of MLPs (1, 1, T or 1, D)."""
    outputs = first.outputs(kind, part)
    if how == "zero":
        return [torch.zeros_like(z[:, :, :1]) for z in outputs]
    if how == "mean_positions":
        return [z.mean(2, keepdim=True).expand_as(z) for z in outputs]
    if how == "mean":
        assert references is not None
        return references.means()
    assert second is not None
    return second.outputs(kind, part) if how in ("resample", "noise") else outputs


@torch.inference_mode()
def value_of(text: ReadText, metric: Metric) -> float:
    """The metric of a text as it is."""
    return metric.of(text.loaded, text.x).item()


def part_of(over: Over) -> Part:
    return "mlp" if over in ("mlps", "mlp_positions") else "heads"


def check_mlps(text: ReadText, kind: Kind, field: str) -> None:
    """The layers of a stack have MLPs that are known. Raises BadInput."""
    if kind not in text.mlps:
        message = Message(
            "no-mlps",
            "{model} has no MLPs to replace here: a layer of {kind} attention does not end in a "
            "linear map of its own for every token",
            model=text.loaded.name,
            kind=kind,
        )
        raise BadInput(field, message)


def selections(text: ReadText, kind: Kind, over: Over) -> Tensor:
    """What each row of a batch replaces: (H, H, 1, 1) a head, (Tq, 1, Tq, 1) a position; of MLPs
    (1, 1, 1, 1) all of it, (T, 1, T, 1) a position."""
    n_head, n_query = text.outputs(kind, part_of(over))[0].shape[1:3]
    if over == "mlps":
        return torch.ones(1, 1, 1, 1, device=text.x.device)
    one_each = torch.eye(n_head if over == "heads" else n_query, device=text.x.device)
    return one_each[:, :, None, None] if over == "heads" else one_each[:, None, :, None]


@torch.inference_mode()
def sweep(
    text: ReadText, metric: Metric, kind: Kind, given: Sequence[Tensor], over: Over
) -> Iterator[Tensor]:
    """The metric with each head, position or MLP of a layer replaced alone: (H,), (Tq,), (1,)."""
    op = REPLACING[part_of(over)]
    if not given:
        return
    size = max(1, MOST_TOKENS // text.n_token)
    parts = torch.split(selections(text, kind, over), size)
    for layer, z in enumerate(given):
        values = [
            measured(text, metric, [Edit(op, kind, layer, z=z, where=part)], len(part))
            for part in parts
        ]
        yield torch.cat(values).cpu()


def measured(text: ReadText, metric: Metric, edits: Sequence[Edit] = (), n: int = 1) -> Tensor:
    """The metric of a text, in n equal rows that the edits tell apart: (n,).

    Where the model allows it, the rows are one up to the first layer that an edit tells apart.
    """
    tape = Tape(keep=(), edits=(*text.edits, *edits))
    rows = 1 if text.loaded.model.broadcasts else n
    x = read(text.loaded, text.sequences, tape, rows)
    return metric.of(text.loaded, x).expand(n)


@torch.inference_mode()
def together(
    text: ReadText, metric: Metric, kind: Kind, given: Sequence[Tensor], part: Part = "heads"
) -> float:
    """The metric with all heads of the kind, or all MLPs of the stack, replaced at once."""
    everywhere = torch.ones(1, 1, 1, 1, device=text.x.device)
    op = REPLACING[part]
    edits = [Edit(op, kind, i, z=z, where=everywhere) for i, z in enumerate(given)]
    return measured(text, metric, edits).item()


def first_order(
    text: ReadText, metric: Metric, kind: Kind, given: Sequence[Tensor], over: Over
) -> Tensor:
    """The change of the metric by its gradient, for each head or position: (L, H) or (L, Tq);
    for MLPs (L, 1) or (L, T).

    It is the gradient by the share of the replacement, at 0: (given - z) · dm/dz. With 0 given and
    over heads, that is the importance of Michel et al. 2019 but for its sign. One pass forward and
    one back.
    """
    part = part_of(over)
    op, (_, n_head, n_query, _) = REPLACING[part], text.outputs(kind, part)[0].shape
    size = (n_head, 1, 1) if over in ("heads", "mlps") else (1, n_query, 1)
    with torch.inference_mode(False), torch.enable_grad():
        shares = torch.zeros(len(given), 1, *size, device=text.x.device, requires_grad=True)
        edits = [Edit(op, kind, i, z=z.clone(), where=shares[i]) for i, z in enumerate(given)]
        value = measured(text, metric, edits).sum()
        (gradient,) = torch.autograd.grad(value, shares)
    return gradient.flatten(1).cpu()


def scaled(values: Tensor, start: float, end: float | None) -> Tensor:
    """Changes from `start`; with an `end`, as shares of the way there."""
    return values - start if end is None else (values - start) / (end - start)


def rank_agreement(x: Tensor, y: Tensor) -> float | None:
    """Spearman's rank correlation of the sizes of two sets of effects; None if one has no ranks."""
    ranks = torch.stack([_ranks(values.abs().flatten().double()) for values in (x, y)])
    if (ranks == ranks[:, :1]).all(1).any():
        return None
    return torch.corrcoef(ranks)[0, 1].item()


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts + 1) / 2)[inverse]
