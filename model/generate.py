"""Decoding: greedy, by beam search, by sampling.

Each generator yields a step as soon as it is computed; closing it stops the computation. A `tape`
argument is a template: what to record and edit at each step, every one with a new tape. All of them
read their tokens by a `Prefix`, with a KV cache.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from attention_atlas.model.languages import Frame
from attention_atlas.model.protocol import Decoder, Translator
from attention_atlas.model.tape import Edit, Kind, Tape
from torch import Tensor

Hypothesis = tuple[float, list[int]]  # its score, and its ids without <s> and </s>
Result = TypeVar("Result")
Yielded = TypeVar("Yielded")
CROSS: tuple[Kind, ...] = ("cross",)
RECORD_ALL, RECORD_NOTHING = Tape(), Tape(layers=())


class Prefix:
    """The tokens of a batch so far, (B, T): of a decoder's texts, or of a translator's targets.

    With a KV cache the model reads only the tokens that it has not read. There is none where the
    model has none, nor with an edit that is not row-wise: such an edit names a query, or changes
    rows that were computed before, so that each step reads all tokens again.
    """

    def __init__(
        self,
        model: Decoder | Translator,
        ids: Tensor,
        edits: Sequence[Edit] = (),
        **source: Tensor | None,
    ) -> None:
        """`source` is what else a translator's `hidden` takes: memory (B, Tk, D) and padding."""
        self.model, self.ids = model, ids
        self.source: dict[str, Any] = source
        self.past = model.new_past() if all(edit.is_rowwise for edit in edits) else None

    def read(self, tape: Tape) -> Tensor:
        """The logits of each row's next token, (B, V); the tape records those before it."""
        new = self.ids if self.past is None else self.ids[:, len(self.past) :]
        x = self.model.hidden(new, tape=tape, past=self.past, **self.source)
        return self.model.logits(x[:, -1])

    def append(self, token: Tensor) -> None:
        """A token (B,) to each row."""
        self.ids = torch.cat([self.ids, token[:, None]], dim=1)

    def select(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] is: other hypotheses, or fewer texts."""
        self.ids = self.ids[rows]
        self.source = {name: x if x is None else x[rows] for name, x in self.source.items()}
        if self.past is not None:
            self.past.select(rows)


@dataclass(frozen=True)
class DecodedToken:
    """One token as it is chosen: its distribution, and the attention of the query before it."""

    id: int
    logits: Tensor  # (V,), before any filter
    attn: Tensor  # (L, H, Tk): the row of that query; of a translator, of cross-attention
    filtered: dict[str, Tensor] = field(default_factory=dict)  # (V,) each: see `filtered`
    self_attn: Tensor | None = None  # (L, H, t): of a translator's decoder, if it is recorded


Choose = Callable[[int, Tensor], tuple[int, dict[str, Tensor]]]  # n, logits (V,) -> id, filtered


def _decoding(
    prefix: Prefix, n_token: int, choose: Choose, ends: Container[int], tape: Tape
) -> Iterator[DecodedToken]:
    """The loop that decodes one text: read, choose, append; up to `n_token` or one of `ends`."""
    kind = prefix.model.kinds[-1]
    for n in range(n_token):
        record = replace(tape)
        logits = prefix.read(record)[0]
        chosen, distributions = choose(n, logits)
        rows = {each: last_rows(record, each) for each in {step.kind for step in record}}
        attn = rows[kind][0] if kind in rows else logits.new_zeros(0, 0, 0)
        own = rows["decoder"][0] if kind == "cross" and "decoder" in rows else None
        yield DecodedToken(chosen, logits, attn, distributions, own)
        if chosen in ends:
            return
        prefix.append(prefix.ids.new_tensor([chosen]))


def translating(
    model: Translator,
    source: Tensor,
    frame: Frame,
    *,
    max_tokens: int | None = None,
    edits: Sequence[Edit] = (),
    kinds: Collection[Kind] = CROSS,
) -> Iterator[DecodedToken]:
    """Greedy decoding of one sentence: source (1, Tk) -> its tokens, </s> included."""
    memory = model.encode(source, Tape(layers=(), edits=edits))
    begin = torch.full((1, 1), frame.begin, device=source.device)
    prefix = Prefix(model, begin, edits, memory=memory)

    def best(n: int, logits: Tensor) -> tuple[int, dict[str, Tensor]]:
        return int(logits.argmax()) if n or frame.first is None else frame.first, {}

    tape = Tape(kinds=kinds, edits=edits)
    yield from _decoding(prefix, longest(model, max_tokens), best, (frame.end,), tape)


def longest(model: Translator, max_tokens: int | None) -> int:
    """How many tokens may follow <s>; `max_tokens` includes <s>."""
    return min(max_tokens or model.config.n_ctx, model.config.n_ctx) - 1


def last_rows(tape: Tape, kind: Kind) -> Tensor:
    """The attention of the last query in all recorded layers of a kind: (B, L, H, Tk)."""
    return torch.stack([step.attn[:, :, -1] for step in tape if step.kind == kind], dim=1)


def translate(
    model: Translator,
    source: Tensor,
    frame: Frame,
    *,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    edits: Sequence[Edit] = (),
) -> list[list[int]]:
    """Greedy decoding: source (B, Tk) -> the target ids of each, without <s> and </s>."""
    tape = Tape(layers=(), edits=edits)
    memory = model.encode(source, tape, padding)
    begin = torch.full((source.size(0), 1), frame.begin, device=source.device)
    prefix = Prefix(model, begin, edits, memory=memory, padding=padding)
    done = torch.zeros(source.size(0), dtype=torch.bool, device=source.device)
    for n in range(longest(model, max_tokens)):
        best = prefix.read(tape).argmax(-1)
        if frame.first is not None and n == 0:
            best = torch.full_like(best, frame.first)
        best = best.masked_fill(done, frame.end)
        prefix.append(best)
        done |= best == frame.end
        if done.all():
            break
    return [[i for i in row[1:] if i != frame.end] for row in prefix.ids.tolist()]


class Beam(NamedTuple):
    """The width of a beam search, and what it prefers.

    The score of a hypothesis is its log-probability, that of </s> included, divided by its number
    of tokens to the power of `length_penalty` (Wu et al. 2016, section 7, without coverage).
    """

    n_beam: int
    length_penalty: float = 1.0
    max_tokens: int | None = None  # <s> included


class BeamStep(NamedTuple):
    """One step of a beam search: the 2 K best continuations of each sentence's K hypotheses."""

    total: Tensor  # (B, 2 K): log-probability so far, in descending order
    parent: Tensor  # (B, 2 K): which of the K hypotheses is continued
    token: Tensor  # (B, 2 K)
    kept: Tensor  # (B, K): which of the 2 K are continued further
    attn: Tensor | None  # (B, K, L, H, Tk): each hypothesis' attention, if it is recorded


def beam_search(
    model: Translator,
    source: Tensor,
    frame: Frame,
    beam: Beam,
    *,
    padding: Tensor | None = None,
) -> list[Hypothesis]:
    """The best hypothesis of each sentence: source (B, Tk) -> score and ids."""
    return [best[0] for best in returned(beam_steps(model, source, frame, beam, padding=padding))]


def beam_steps(
    model: Translator,
    source: Tensor,
    frame: Frame,
    beam: Beam,
    *,
    padding: Tensor | None = None,
    tape: Tape = RECORD_NOTHING,
) -> Generator[BeamStep, None, list[list[Hypothesis]]]:
    """A beam search step by step. Returns the hypotheses of each sentence, the best first.

    A finished sentence leaves the batch, and so the following steps.
    """
    memory = model.encode(source, Tape(layers=(), edits=tape.edits), padding)
    padded = None if padding is None else padding.repeat_interleave(beam.n_beam, dim=0)
    wide = memory.repeat_interleave(beam.n_beam, dim=0)
    begin = torch.full((wide.size(0), 1), frame.begin, device=memory.device)
    prefix = Prefix(model, begin, tape.edits, memory=wide, padding=padded)
    search = _BeamSearch(prefix, frame, beam)
    limit = longest(model, beam.max_tokens)
    for length in range(1, limit + 1):
        record = replace(tape)
        step = search.weigh(prefix.read(record), record)
        yield step
        search.end(step, is_last=length == limit)
        search.extend(step)
        if length == limit or not search.drop_finished():
            break
    return search.ended


class _BeamSearch:
    """K hypotheses for each sentence of a batch: those that are continued, and those that ended."""

    def __init__(self, prefix: Prefix, frame: Frame, beam: Beam) -> None:
        K = beam.n_beam
        B = prefix.ids.size(0) // K
        self.prefix, self.frame, self.beam, self.K = prefix, frame, beam, K
        self.running = torch.full((B, K), -torch.inf, device=prefix.ids.device)  # log-probabilities
        self.running[:, 0] = 0.0
        self.ended: list[list[Hypothesis]] = [[] for _ in range(B)]
        self.sentences = list(range(B))  # whose best hypothesis may still come

    @property
    def length(self) -> int:
        """The number of tokens after <s>."""
        return self.prefix.ids.size(1) - 1

    def weigh(self, logits: Tensor, tape: Tape) -> BeamStep:
        """The best continuations by their logits (B K, V)."""
        B, K = len(self.sentences), self.K
        log_p = logits.log_softmax(-1).view(B, K, -1)
        if self.frame.first is not None and self.length == 0:  # it is given, and costs nothing
            log_p = torch.full_like(log_p, -torch.inf)
            log_p[..., self.frame.first] = 0.0
        total, flat = (self.running[:, :, None] + log_p).flatten(1).topk(2 * K)  # (B, 2 K)
        parent, token = flat // log_p.size(-1), flat % log_p.size(-1)
        kept = total.masked_fill(token == self.frame.end, -torch.inf).topk(K).indices
        rows = last_rows(tape, "cross") if tape.attended else None
        attn = None if rows is None else rows.view(B, K, *rows.shape[1:])
        return BeamStep(total, parent, token, kept, attn)

    def end(self, step: BeamStep, *, is_last: bool) -> None:
        """Note the hypotheses that end with this step: at the limit, all K."""
        K, end, n = self.K, self.frame.end, self.length + 1
        for b, sentence in enumerate(self.sentences):
            best = (x[b, :K].tolist() for x in (step.total, step.parent, step.token))
            for total, parent, token in zip(*best, strict=True):
                if token == end or is_last:
                    ids = self.prefix.ids[b * K + parent, 1:].tolist() + [token] * (token != end)
                    score = total / n**self.beam.length_penalty
                    self.ended[sentence].append((score, ids))
            self.ended[sentence].sort(key=lambda hypothesis: -hypothesis[0])
            del self.ended[sentence][K:]

    def extend(self, step: BeamStep) -> None:
        """Continue the K best hypotheses that have not ended."""
        going = step.total.masked_fill(step.token == self.frame.end, -torch.inf)
        self.running = going.gather(1, step.kept)
        rows = self._rows(range(len(self.sentences)))[:, :1] + step.parent.gather(1, step.kept)
        self.prefix.select(rows.flatten())
        self.prefix.append(step.token.gather(1, step.kept).flatten())

    def drop_finished(self) -> bool:
        """Keep the sentences that a better hypothesis may still come for; whether there are any."""
        hopes = (self.running[:, 0] / self.length**self.beam.length_penalty).tolist()
        alive = [
            b
            for b, sentence in enumerate(self.sentences)
            if len(self.ended[sentence]) < self.K or self.ended[sentence][-1][0] < hopes[b]
        ]
        if 0 < len(alive) < len(self.sentences):
            self.prefix.select(self._rows(alive).flatten())
            self.sentences, self.running = [self.sentences[b] for b in alive], self.running[alive]
        return bool(alive)

    def _rows(self, sentences: Sequence[int]) -> Tensor:
        """The rows of some sentences' hypotheses in the batch: (sentences, K)."""
        first = torch.tensor(sentences, device=self.running.device)[:, None] * self.K
        return first + torch.arange(self.K, device=self.running.device)


def returned(
    steps: Generator[Yielded, None, Result], watch: Callable[[Yielded], object] = lambda step: None
) -> Result:
    """What a generator returns; `watch` is called with each yielded value, and may raise."""
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

    Temperature 0 takes the most probable token; top_k 0 and top_p 1 keep every token.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


def filtered(logits: Tensor, sampling: Sampling) -> dict[str, Tensor]:
    """The probabilities (V,) after each filter, in their order: temperature, top_k, top_p.

    top_p keeps the fewest tokens whose probabilities sum to it (Holtzman et al. 2020).
    """
    logits = logits.float()
    if sampling.temperature == 0:
        greedy = torch.zeros_like(logits)
        greedy[logits.argmax()] = 1.0
        return {"temperature": greedy, "top_k": greedy, "top_p": greedy}
    # In float64: a float32 turns a temperature below 1e-45 into 0, and 0 / 0 is no number.
    below = (logits - logits.max()).double()  # 0 at the most probable token
    tempered = (below / sampling.temperature).softmax(-1).float()
    order = tempered.argsort(descending=True, stable=True)
    top_k = tempered.clone()
    if sampling.top_k:
        top_k[order[sampling.top_k :]] = 0
        top_k /= top_k.sum()
    top_p = top_k.clone()
    before = top_k[order].cumsum(-1) - top_k[order]  # the sum over the more probable tokens
    if sampling.top_p < 1:
        top_p[order[1:][before[1:] >= sampling.top_p]] = 0  # the first is always kept
        top_p /= top_p.sum()
    return {"temperature": tempered, "top_k": top_k, "top_p": top_p}


def generating(
    model: Decoder,
    ids: Tensor,
    *,
    max_new_tokens: int,
    sampling: Sampling = Sampling(),
    ends: Container[int] = (),
    forced: Sequence[int] = (),
    tape: Tape = RECORD_ALL,
) -> Iterator[DecodedToken]:
    """A continuation: ids (1, T) -> each new token, one of `ends` included.

    `forced` gives the first tokens; those after them are drawn as they would be without it.
    """
    draw = torch.Generator().manual_seed(sampling.seed)

    def drawn(n: int, logits: Tensor) -> tuple[int, dict[str, Tensor]]:
        distributions = filtered(logits, sampling)
        chosen = int(torch.multinomial(distributions["top_p"].cpu(), 1, generator=draw))
        return forced[n] if n < len(forced) else chosen, distributions

    room = min(max_new_tokens, model.config.n_ctx - ids.size(1))
    yield from _decoding(Prefix(model, ids, tape.edits), room, drawn, ends, tape)
