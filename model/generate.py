"""Decoding: functions over a model."""

from __future__ import annotations

import torch
from torch import Tensor

from model.adapters import HubEncoderDecoder
from model.recurrent import Recurrent
from model.tape import Tape
from model.transformer import GPT, EncoderDecoder

Translator = EncoderDecoder | Recurrent | HubEncoderDecoder
Hypothesis = tuple[float, list[int]]  # what it scores, and its ids without <s> and </s>


def translate(
    model: Translator,
    source: Tensor,
    *,
    begin: int,
    end: int,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    tape: Tape | None = None,
) -> list[list[int]]:
    """Greedy decoding: source (B, Tk) -> for each its target ids, without <s> and </s>.

    A tape may edit every step; what it would keep of so many steps is not asked for here.
    """
    limit = min(max_tokens or model.config.n_ctx, model.config.n_ctx) - 1
    memory = model.encode(source, tape, padding)
    ids = torch.full((source.size(0), 1), begin, device=source.device)
    done = torch.zeros(source.size(0), dtype=torch.bool, device=source.device)
    for _ in range(limit):
        best = model.decode(ids, memory, tape, padding)[:, -1].argmax(-1)
        best = best.masked_fill(done, end)
        ids = torch.cat([ids, best[:, None]], dim=1)
        done |= best == end
        if done.all():
            break
    return [[i for i in row[1:] if i != end] for row in ids.tolist()]


def beam_search(
    model: Translator,
    source: Tensor,
    *,
    n_beam: int,
    begin: int,
    end: int,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    length_penalty: float = 1.0,
) -> list[Hypothesis]:
    """The best of `n_beam` hypotheses kept at each step: source (B, Tk) -> for each the best one.

    A hypothesis scores its log-probability, that of </s> included, divided by its number of
    tokens to the power of `length_penalty` (Wu et al. 2016, section 7, without coverage).
    """
    B, K = source.size(0), n_beam
    limit = min(max_tokens or model.config.n_ctx, model.config.n_ctx) - 1
    memory = model.encode(source, None, padding).repeat_interleave(K, dim=0)
    padding = None if padding is None else padding.repeat_interleave(K, dim=0)
    ids = torch.full((B * K, 1), begin, device=source.device)
    running = torch.full((B, K), -torch.inf, device=source.device)  # log-probability so far
    running[:, 0] = 0.0
    ended: list[list[Hypothesis]] = [[] for _ in range(B)]
    going = list(range(B))  # sentences whose best hypothesis may still come
    for n in range(1, limit + 1):
        x = model.hidden(ids, memory, None, padding)[:, -1]  # (B K, D)
        log_p = model.logits(x).log_softmax(-1).view(len(going), K, -1)
        total, flat = (running[:, :, None] + log_p).flatten(1).topk(2 * K)  # (B, 2 K)
        parent, token = flat // log_p.size(-1), flat % log_p.size(-1)
        for b, sentence in enumerate(going):
            of_b = zip(total[b, :K].tolist(), parent[b].tolist(), token[b].tolist(), strict=False)
            found = [(p / n**length_penalty, b * K + at) for p, at, i in of_b if i == end]
            ended[sentence] += [(score, ids[at, 1:].tolist()) for score, at in found]
            ended[sentence].sort(key=lambda hypothesis: -hypothesis[0])
            del ended[sentence][K:]
        total = total.masked_fill(token == end, -torch.inf)  # at most K of 2 K: K others are left
        running, best = total.topk(K)
        rows = torch.arange(len(going), device=ids.device)[:, None] * K + parent.gather(1, best)
        ids = torch.cat([ids[rows.flatten()], token.gather(1, best).view(-1, 1)], dim=1)
        hopes = (running[:, 0] / n**length_penalty).tolist()
        last = n == limit
        for b, sentence in enumerate(going):
            if last and not ended[sentence]:
                ended[sentence] = [(hopes[b], ids[b * K, 1:].tolist())]
        kept = [b for b, s in enumerate(going) if len(ended[s]) < K or ended[s][-1][0] < hopes[b]]
        if last or not kept:
            break
        if len(kept) < len(going):
            going, running = [going[b] for b in kept], running[kept]
            rows = torch.tensor(kept, device=ids.device)[:, None] * K
            rows = (rows + torch.arange(K, device=ids.device)).flatten()
            ids, memory = ids[rows], memory[rows]
            padding = None if padding is None else padding[rows]
    return [row[0] for row in ended]


def generate(model: GPT, ids: Tensor, *, max_new_tokens: int) -> Tensor:
    """Greedy continuation with a KV cache: ids (1, T) -> (1, T + new)."""
    past = model.new_past()
    new = ids
    for _ in range(min(max_new_tokens, model.config.n_ctx - ids.size(1))):
        new = model(new, past=past)[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, new], dim=1)
    return ids
