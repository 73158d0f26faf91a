"""Tape: what one forward pass records and how it is edited, given to it as an argument.

A tape belongs to one call: modules keep nothing between calls, so one model serves many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

import torch
from attention_atlas.model.messages import Message, Refused
from torch import Tensor

Kind = Literal["encoder", "decoder", "cross"]
Quantity = Literal["q", "k", "v", "bias", "mask", "scores", "attn", "log_attn", "z", "metrics"]
Op = Literal[
    "ablate",
    "replace",
    "replace_mlp",
    "block",
    "unmask",
    "set",
    "gate",
    "scale",
    "positions",
]
Value = Literal["zero", "mean", "none", "shuffle"]

# Edits that may change a row without those after it, by the value that they then have.
ROWWISE: dict[Op, Value] = {
    "ablate": "zero",
    "block": "zero",
    "set": "zero",
    "scale": "zero",
    "positions": "none",
}
KINDS: tuple[Kind, ...] = get_args(Kind)
OPS: tuple[Op, ...] = get_args(Op)
Digest = Callable[[dict[Quantity, Tensor]], dict[Quantity, Tensor]]
ATTN: tuple[Quantity, ...] = ("attn",)


@dataclass(frozen=True)
class Edit:
    """One change inside the forward pass. All later computation uses the changed values.

    ablate  the head's output z becomes zero, or its mean over all positions, later ones included
            (`value`)
    replace the head's output becomes `z` (B, H, Tq, d) by the share `where` (B, H, Tq, 1), from 0
            to 1; both broadcast; with `what` the head's q, k or v in place of its output
    replace_mlp  what the layer's MLP adds to the residual stream becomes `z` (B, 1, T, D) by the
            share `where` (B, 1, T, 1); both broadcast, and `kind` is the stack
    block   `query` may not attend to `key` (None: any key), nor where `where` is True: the scores
            become -inf before the softmax
    unmask  every query may attend to every key, also to later tokens and to padding
    set     the attention of `query` becomes `row`, normalised
    gate    the attention is multiplied by `where` (B, H, Tq, Tk), which broadcasts; rows then need
            not sum to 1
    scale   the scores are multiplied by `by`, before the mask
    positions  the position encoding is omitted ("none"), or permuted with `seed` ("shuffle")

    `kind`, `layer` and `head` select where; None means everywhere.
    """

    op: Op
    kind: Kind | None = None
    layer: int | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None
    row: tuple[float, ...] = ()
    by: float = 1.0
    value: Value = "zero"
    seed: int = 0
    where: Tensor | None = field(default=None, compare=False)  # block: bool; replace, gate: numbers
    z: Tensor | None = field(default=None, compare=False)  # replace, replace_mlp
    what: Quantity = "z"  # replace: or q, k, v

    def applies(self, kind: Kind, layer: int) -> bool:
        return self.kind in (None, kind) and self.layer in (None, layer)

    @property
    def is_rowwise(self) -> bool:
        """Whether every query is changed alike, whatever follows it: then each can be computed when
        its token is read, with a KV cache."""
        if self.kind == "encoder":
            return True
        alike = self.value == ROWWISE.get(self.op, "") and self.query is None
        return alike and self.where is None and self.z is None


@dataclass(frozen=True)
class Attended:
    """What one attention layer recorded: those of q, k, v, mask, scores, attn, z in `Tape.keep`.

    A layer that adds nothing to its scores records no bias.
    """

    kind: Kind
    layer: int
    kept: dict[Quantity, Tensor]
    digested: bool = False

    def __getattr__(self, name: str) -> Tensor:
        if name not in get_args(Quantity):
            raise AttributeError(name)
        if name not in self.kept:
            raise ValueError(f"this tape did not keep {name}; it kept {list(self.kept)}")
        return self.kept[name]


@dataclass
class Tape:
    """Records quantities of the selected kinds, layers and heads (None: all), and applies edits.

    With a `digest`, the quantities of a few heads are reduced before those of the next heads are
    computed: of a long text, one or two heads are held in full at any time. A digest that keeps
    `log_attn` gets it in place of `attn` where it costs less. With `hidden`, streams[stack] is the
    residual stream after the embedding and after each layer.
    """

    keep: Collection[Quantity] = ATTN
    kinds: Collection[Kind] | None = None
    layers: Collection[int] | None = None
    heads: Sequence[int] | None = None
    edits: Sequence[Edit] = ()
    hidden: bool = False  # also record the residual stream
    digest: Digest | None = None
    mlps: bool = False  # also record what each MLP adds to the residual stream
    last: Tensor | None = None  # in place of what a model's last layer gives, before its last norm
    begins: Callable[[Tensor], Tensor] | None = None  # what becomes of a stack's first stream
    attended: list[Attended] = field(default_factory=list, init=False)
    streams: dict[Kind, list[Tensor]] = field(default_factory=dict, init=False)
    fed: dict[tuple[Kind, int], Tensor] = field(default_factory=dict, init=False)  # (B, 1, T, D)
    begun: set[Kind] = field(default_factory=set, init=False)  # stacks

    def __iter__(self) -> Iterator[Attended]:
        return iter(self.attended)

    def track(self, kind: Kind, layer: int) -> Track | None:
        """This tape for one attention layer; None if it neither records nor edits that layer."""
        wanted = (self.kinds is None or kind in self.kinds) and (
            self.layers is None or layer in self.layers
        )
        here = [e for e in self.edits if e.op != "positions" and e.applies(kind, layer)]
        edits = [e for e in here if e.op != "replace_mlp"]
        if not wanted and not here and not self.mlps:
            return None
        return Track(self, kind, layer, wanted=wanted, edits=edits)

    def feed(self, stack: Kind, layer: int, x: Tensor) -> Tensor:
        """What a layer's MLP adds to the residual stream (B, T, D), after the tape's edits."""
        for edit in self.edits:
            if edit.op == "replace_mlp" and edit.applies(stack, layer):
                assert edit.z is not None and edit.where is not None
                wide = x[:, None]
                x = torch.lerp(wide, edit.z.to(x.dtype), edit.where)[:, 0]
        if self.mlps:
            self.fed[stack, layer] = x[:, None].detach()
        return x


def edited_positions(tape: Tape | None, stack: Kind, position: Tensor) -> Tensor:
    """A stack's position encoding (T, D) after the tape's edits."""
    for edit in tape.edits if tape is not None else ():
        if edit.op != "positions" or edit.kind not in (None, stack):
            continue
        if edit.value == "none":
            position = torch.zeros_like(position)
        else:
            order = torch.randperm(
                len(position), generator=torch.Generator().manual_seed(edit.seed)
            )
            position = position[order.to(position.device)]
    return position


def note(tape: Tape | None, stack: Kind, x: Tensor) -> Tensor:
    """Return the residual stream of a stack (B, T, D), recorded if the tape has `hidden`.

    Where a stack begins it is what the tape's `begins` makes of it.
    """
    if tape is not None and tape.begins is not None and stack not in tape.begun:
        tape.begun.add(stack)
        x = tape.begins(x)
    if tape is not None and tape.hidden:
        tape.streams.setdefault(stack, []).append(x.detach())
    return x


def feed(track: Track | None, x: Tensor) -> Tensor:
    """What the MLP of a track's layer adds to the residual stream, recorded and edited."""
    return x if track is None else track.tape.feed(track.kind, track.layer, x)


def track(tape: Tape | None, kind: Kind, layer: int) -> Track | None:
    """The track of a tape, or None if there is no tape."""
    return tape.track(kind, layer) if tape is not None else None


@dataclass(frozen=True)
class Track:
    """The part of a tape for one attention layer. Only `attend` writes to it."""

    tape: Tape
    kind: Kind
    layer: int
    wanted: bool
    edits: Sequence[Edit]
    query: int | None = None  # set if each query has its own call

    def for_query(self, query: int) -> Track:
        """This track for one query of a sequence that is decoded step by step (Tq is 1)."""
        if any(edit.op == "ablate" and edit.value == "mean" for edit in self.edits):
            raise Refused(
                Message(
                    "mean-not-known",
                    "the mean over positions is not known step by step; ablate to zero",
                )
            )
        edits = [
            replace(edit, query=None if edit.query is None else 0)
            for edit in self.edits
            if edit.query in (None, query)
        ]
        edits = [
            replace(edit, z=_row(edit.z, query), where=_row(edit.where, query))
            if edit.op == "replace"
            else edit
            for edit in edits
        ]
        return replace(self, edits=edits, query=query)

    def keep(self, quantities: Mapping[str, Tensor], *, chosen: bool = False) -> None:
        """Record the quantities in `Tape.keep`, each (B, H, ...), detached; a shared mask has H 1.

        `chosen`: they contain only the tape's heads.
        """
        if not self.wanted:
            return
        kept = {
            cast(Quantity, name): (tensor if chosen else self.chosen(tensor)).detach()
            for name, tensor in quantities.items()
            if name in self.tape.keep
        }
        digest = self.tape.digest if self.query is None else None  # a row is not all there is
        kept = kept if digest is None else digest(kept)
        if self.query:  # append this row to those of the previous steps
            before = self.tape.attended.pop().kept
            for name in kept.keys() - {"k", "v"}:
                kept[name] = torch.cat([before[name], kept[name]], dim=-2)
        self.tape.attended.append(Attended(self.kind, self.layer, kept, digest is not None))

    def gather(self, heads: Iterable[Mapping[str, Tensor]]) -> None:
        """`keep` for some heads (B, h, ...) after others, each digested before the next."""
        rows = []
        for kept in heads:
            self.keep(kept, chosen=True)
            rows.append(self.tape.attended.pop().kept)
        n_head = sum(max(tensor.size(1) for tensor in row.values()) for row in rows)
        joined = {name: torch.cat([row[name] for row in rows], dim=1) for name in rows[0]}
        for name, tensor in joined.items():
            if tensor.size(1) != n_head:  # all heads share it
                joined[name] = rows[0][name]
        self.tape.attended.append(Attended(self.kind, self.layer, joined, digested=True))

    def takes(self, name: Quantity) -> bool:
        """Whether the tape has a digest that is given this quantity."""
        return self.wanted and self.tape.digest is not None and name in self.tape.keep

    def chosen(self, tensor: Tensor) -> Tensor:
        """The tape's heads of a tensor (B, H, ...); a tensor that all heads share, unchanged."""
        if self.tape.heads is None or tensor.ndim < 4 or tensor.size(1) == 1:
            return tensor
        return tensor[:, list(self.tape.heads)]

    def edit_inputs(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """replace: q, k and v (B, H, T, d), before anything is computed of them."""
        return self._replaced("q", q), self._replaced("k", k), self._replaced("v", v)

    def _replaced(self, what: Quantity, x: Tensor) -> Tensor:
        for edit in self._edits("replace"):
            if edit.what == what:
                assert edit.z is not None and edit.where is not None
                x = torch.lerp(x, edit.z, edit.where)  # at 1 it is `z` in every bit
        return x

    def edit_mask(self, mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """block, unmask: (B, H, Tq, Tk) bool, True where attention is allowed; None: everywhere."""
        edits = [edit for edit in self.edits if edit.op in ("block", "unmask")]
        if not edits:
            return mask
        mask = torch.ones((), dtype=torch.bool, device=q.device) if mask is None else mask
        mask = mask.expand(*q.shape[:-1], k.size(-2)).clone()
        for edit in edits:
            index = slice(None), _axis(edit.head), _axis(edit.query), _axis(edit.key)
            if edit.where is not None:
                mask[index] &= ~edit.where
            else:
                mask[index] = edit.op == "unmask"
        return mask

    def edit_scores(self, scores: Tensor) -> Tensor:
        """scale: (B, H, Tq, Tk), before the mask."""
        for edit in self._edits("scale"):
            scores = scores.clone()
            scores[:, _axis(edit.head)] *= edit.by
            if not scores.isfinite().all():
                raise Refused(
                    Message(
                        "scores-too-large", "scaled scores are too large for float32; scale by less"
                    )
                )
        return scores

    def edit_attn(self, attn: Tensor, mask: Tensor | None) -> Tensor:
        """set, gate: (B, H, Tq, Tk), after the softmax. Masked keys stay 0; a set row sums to 1."""
        settings = self._edits("set")
        if settings:
            allowed = torch.ones_like(attn, dtype=torch.bool) if mask is None else mask
            allowed = allowed.expand(attn.shape)
        for edit in settings:
            if len(edit.row) != attn.size(-1):
                raise Refused(
                    Message(
                        "row-of-another-length",
                        "row has {value} numbers; there are {limit} keys",
                        value=len(edit.row),
                        limit=attn.size(-1),
                    )
                )
            largest = max(edit.row) or 1.0
            row = torch.tensor([share / largest for share in edit.row], device=attn.device)
            index = slice(None), _axis(edit.head), _axis(edit.query)
            rows = row.to(attn.dtype) * allowed[index]
            total = rows.sum(-1, keepdim=True)
            if (allowed[index].any(-1, keepdim=True) & (total == 0)).any():
                raise Refused(
                    Message(
                        "row-is-masked", "row has no weight on a key that its query may attend to"
                    )
                )
            attn = attn.clone()
            attn[index] = rows / total.where(total > 0, 1.0)  # 0 if no key is allowed
        for edit in self._edits("gate"):
            assert edit.where is not None
            attn = attn * edit.where
        return attn

    def edit_z(self, z: Tensor) -> Tensor:
        """ablate, replace: (B, H, Tq, d), a head's output before W_O."""
        for edit in self._edits("ablate"):
            z = z.clone()
            head = _axis(edit.head)
            z[:, head] = 0 if edit.value == "zero" else z[:, head].mean(-2, keepdim=True)
        return self._replaced("z", z)

    def _edits(self, op: Op) -> list[Edit]:
        return [edit for edit in self.edits if edit.op == op]


def _row(x: Tensor | None, query: int) -> Tensor | None:
    """One query of (B, H, Tq, …), which may be the same for all: (B, H, 1, …)."""
    return x if x is None or x.size(2) == 1 else x[:, :, query : query + 1]


def _axis(index: int | None) -> slice:
    """An index that keeps its axis; None is the whole axis."""
    return slice(None) if index is None else slice(index, index + 1)
