"""Decoding: functions over a model. A generator gives out each step as it is made; who stops
asking stops the work."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from attention_atlas.model.protocol import Decoder, Translator
from attention_atlas.model.tape import Edit, Kind, Tape
from torch import Tensor

Hypothesis = tuple[float, list[int]]  # what it scores, and its ids without <s> and </s>
Result = TypeVar("Result")
Yielded = TypeVar("Yielded")
CROSS: tuple[Kind, ...] = ("cross",)


@dataclass(frozen=True)
class Step:
    """One token as it is chosen: from which distribution, and where the model looked for it."""

    id: int
    logits: Tensor  # (V,), before any filter
    attn: (
        Tensor  # (L, H, Tk): the row of the query that chose it, cross-attention's in a translator
    )
    filtered: dict[str, Tensor] = field(default_factory=dict)  # (V,) each: see `filtered`


def translating(
    model: Translator,
    source: Tensor,
    *,
    begin: int,
    end: int,
    first: int | None = None,
    max_tokens: int | None = None,
    edits: Sequence[Edit] = (),
) -> Iterator[Step]:
    """Greedy decoding of one sentence: source (1, Tk) -> a step for each token, </s> included.

    `first` is the token that a model's translations all begin with, if they do.
    """
    memory = model.encode(source, Tape(layers=(), edits=edits))
    ids = torch.full((1, 1), begin, device=source.device)
    for _ in range(longest(model, max_tokens)):
        tape = Tape(kinds=CROSS, edits=edits)
        logits = model.logits(model.hidden(ids, memory, tape)[0, -1])
        is_given = first is not None and ids.size(1) == 1
        best = first if is_given else int(logits.argmax())
        assert best is not None
        yield Step(best, logits, last_rows(tape)[0])
        if best == end:
            return
        ids = torch.cat([ids, ids.new_tensor([[best]])], dim=1)


def longest(model: Translator, max_tokens: int | None) -> int:
    """How many tokens may follow <s>."""
    return min(max_tokens or model.config.n_ctx, model.config.n_ctx) - 1


def last_rows(tape: Tape) -> Tensor:
    """Where the last query looks, in all layers that the tape kept: (B, L, H, Tk)."""
    return torch.stack([step.attn[:, :, -1] for step in tape], dim=1)


def translate(
    model: Translator,
    source: Tensor,
    *,
    begin: int,
    end: int,
    first: int | None = None,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    tape: Tape | None = None,
) -> list[list[int]]:
    """Greedy decoding: source (B, Tk) -> for each its target ids, without <s> and </s>.

    A tape may edit every step; what it would keep of so many steps is not asked for here.
    """
    memory = model.encode(source, tape, padding)
    ids = torch.full((source.size(0), 1), begin, device=source.device)
    done = torch.zeros(source.size(0), dtype=torch.bool, device=source.device)
    for _ in range(longest(model, max_tokens)):
        best = model.decode(ids, memory, tape, padding)[:, -1].argmax(-1)
        if first is not None and ids.size(1) == 1:
            best = torch.full_like(best, first)
        best = best.masked_fill(done, end)
        ids = torch.cat([ids, best[:, None]], dim=1)
        done |= best == end
        if done.all():
            break
    return [[i for i in row[1:] if i != end] for row in ids.tolist()]


class Weighed(NamedTuple):
    """One step of a beam: the 2 K best continuations of its K hypotheses, sentence by sentence."""

    total: Tensor  # (B, 2 K): log-probability so far, the best first
    parent: Tensor  # (B, 2 K): which of the K hypotheses is continued
    token: Tensor  # (B, 2 K)
    kept: Tensor  # (B, K): which of the 2 K go on
    attn: Tensor | None  # (B, K, L, H, Tk): where each hypothesis looked, if that was asked


def beam_search(
    model: Translator,
    source: Tensor,
    *,
    n_beam: int,
    begin: int,
    end: int,
    first: int | None = None,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    length_penalty: float = 1.0,
) -> list[Hypothesis]:
    """The best of `n_beam` hypotheses kept at each step: source (B, Tk) -> the best of each."""
    steps = beam_steps(
        model,
        source,
        n_beam=n_beam,
        begin=begin,
        end=end,
        first=first,
        padding=padding,
        max_tokens=max_tokens,
        length_penalty=length_penalty,
    )
    return [best[0] for best in returned(steps)]


def beam_steps(
    model: Translator,
    source: Tensor,
    *,
    n_beam: int,
    begin: int,
    end: int,
    first: int | None = None,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    length_penalty: float = 1.0,
    edits: Sequence[Edit] = (),
    look: bool = False,
) -> Generator[Weighed, None, list[list[Hypothesis]]]:
    """A beam, step by step; returns for each sentence its hypotheses, the best first.

    A hypothesis scores its log-probability, that of </s> included, divided by its number of
    tokens to the power of `length_penalty` (Wu et al. 2016, section 7, without coverage).
    A sentence that is done leaves the batch, and the steps.
    """
    B, K = source.size(0), n_beam
    limit = longest(model, max_tokens)
    blind = Tape(layers=(), edits=edits)
    memory = model.encode(source, blind, padding).repeat_interleave(K, dim=0)
    padding = None if padding is None else padding.repeat_interleave(K, dim=0)
    ids = torch.full((B * K, 1), begin, device=source.device)
    running = torch.full((B, K), -torch.inf, device=source.device)  # log-probability so far
    running[:, 0] = 0.0
    ended: list[list[Hypothesis]] = [[] for _ in range(B)]
    going = list(range(B))  # sentences whose best hypothesis may still come
    for n in range(1, limit + 1):
        tape = Tape(kinds=CROSS, edits=edits) if look else blind
        x = model.hidden(ids, memory, tape, padding)[:, -1]  # (B K, D)
        log_p = model.logits(x).log_softmax(-1).view(len(going), K, -1)
        if first is not None and n == 1:  # it is given, and counts for nothing
            log_p = torch.full_like(log_p, -torch.inf)
            log_p[..., first] = 0.0
        total, flat = (running[:, :, None] + log_p).flatten(1).topk(2 * K)  # (B, 2 K)
        parent, token = flat // log_p.size(-1), flat % log_p.size(-1)
        kept = total.masked_fill(token == end, -torch.inf).topk(K).indices  # K of 2 K do not end
        rows = last_rows(tape) if look else None
        rows = rows if rows is None else rows.view(len(going), K, *rows.shape[1:])
        yield Weighed(total, parent, token, kept, rows)
        last = n == limit  # there, those that go on are complete too
        for b, sentence in enumerate(going):
            of_b = zip(total[b, :K].tolist(), parent[b].tolist(), token[b].tolist(), strict=False)
            for p, at, i in of_b:
                if i == end or last:
                    whole = ids[b * K + at, 1:].tolist() + ([] if i == end else [i])
                    ended[sentence].append((p / n**length_penalty, whole))
            ended[sentence].sort(key=lambda hypothesis: -hypothesis[0])
            del ended[sentence][K:]
        running = total.masked_fill(token == end, -torch.inf).gather(1, kept)
        of = torch.arange(len(going), device=ids.device)[:, None] * K + parent.gather(1, kept)
        ids = torch.cat([ids[of.flatten()], token.gather(1, kept).view(-1, 1)], dim=1)
        hopes = (running[:, 0] / n**length_penalty).tolist()
        alive = [b for b, s in enumerate(going) if len(ended[s]) < K or ended[s][-1][0] < hopes[b]]
        if last or not alive:
            break
        if len(alive) < len(going):
            going, running = [going[b] for b in alive], running[alive]
            of = torch.tensor(alive, device=ids.device)[:, None] * K
            of = (of + torch.arange(K, device=ids.device)).flatten()
            ids, memory = ids[of], memory[of]
            padding = None if padding is None else padding[of]
    return ended


def returned(
    steps: Generator[Yielded, None, Result], watch: Callable[[Yielded], object] = lambda step: None
) -> Result:
    """What a generator returns in the end; `watch` sees what it yields, and may end it."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                return stop.value
            watch(step)


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    temperature 0 takes the most probable; top_k 0 and top_p 1 keep every token.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


def filtered(logits: Tensor, sampling: Sampling) -> dict[str, Tensor]:
    """The probabilities (V,) after each filter, in their order: temperature, top_k, top_p.

    top_p keeps the fewest tokens whose probabilities reach it (Holtzman et al. 2020).
    """
    logits = logits.float()
    if sampling.temperature == 0:
        sure = torch.zeros_like(logits)
        sure[logits.argmax()] = 1.0
        return {"temperature": sure, "top_k": sure, "top_p": sure}
    warm = ((logits - logits.max()) / sampling.temperature).softmax(-1)
    order = warm.argsort(descending=True, stable=True)
    few = warm.clone()
    if sampling.top_k:
        few[order[sampling.top_k :]] = 0
        few /= few.sum()
    nucleus = few.clone()
    before = few[order].cumsum(-1) - few[order]  # what the more probable ones have
    if sampling.top_p < 1:
        nucleus[order[1:][before[1:] >= sampling.top_p]] = 0  # one is always left
        nucleus /= nucleus.sum()
    return {"temperature": warm, "top_k": few, "top_p": nucleus}


def generating(
    model: Decoder,
    ids: Tensor,
    *,
    max_new_tokens: int,
    sampling: Sampling = Sampling(),
    end: int | None = None,
    forced: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    look: bool = True,
) -> Iterator[Step]:
    """A continuation with a KV cache: ids (1, T) -> a step for each new token, `end` included.

    The first tokens may be `forced`; what is drawn after them is what would be drawn anyway. With
    edits there is no cache, for an edit may name any query of the text.
    """
    draw = torch.Generator().manual_seed(sampling.seed)
    past = None if edits else model.new_past()
    new = ids
    for n in range(min(max_new_tokens, model.config.n_ctx - ids.size(1))):
        tape = Tape(layers=None if look else (), edits=edits)
        logits = model.logits(model.hidden(new, tape, past)[0, -1])
        stages = filtered(logits, sampling)
        drawn = int(torch.multinomial(stages["top_p"].cpu(), 1, generator=draw))
        chosen = forced[n] if n < len(forced) else drawn
        rows = last_rows(tape)[0] if look else logits.new_zeros(0, 0, 0)
        yield Step(chosen, logits, rows, stages)
        if chosen == end:
            return
        token = ids.new_tensor([[chosen]])
        ids = torch.cat([ids, token], dim=1)
        new = ids if past is None else token
