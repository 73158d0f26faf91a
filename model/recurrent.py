"""Attention before the Transformer: a recurrent encoder-decoder with additive attention.

    Bahdanau, Cho & Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate", section 3 and appendix A.

It uses the same tape as `EncoderDecoder`; its attention is of kind "cross", one layer with one
head. Shapes: B batch, Tq target and Tk source tokens, D d_model, d the width of the
alignment network (d_head), S the width of a state (Config.d_ff), V vocab_size.
"""

from __future__ import annotations

import torch
from attention_atlas.model.attention import Scoring, attend
from attention_atlas.model.protocol import Translator
from attention_atlas.model.tape import Kind, Tape, track
from attention_atlas.model.transformer import Config, padding_mask
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class AdditiveScore(nn.Module):
    """Appendix A.1.2: e = v · tanh(q + k), of q = W_Q s(t-1) and k = W_K h."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.v = nn.Linear(d, 1, bias=False)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """q (B, H, Tq, d), k (B, H, Tk, d) -> scores (B, H, Tq, Tk)."""
        return self.v(torch.tanh(q[..., :, None, :] + k[..., None, :, :])).squeeze(-1)

    def products(self, q: Tensor, k: Tensor) -> Tensor:
        """The terms of one query's scores: q (d,), k (Tk, d) -> (Tk, d)."""
        return self.v.weight[0] * torch.tanh(q + k)


class Recurrent(Translator):
    """A bidirectional GRU encoder; a GRU decoder that attends to all of the encoder's states."""

    family = "recurrent"
    kinds = ("cross",)
    tasks = ("translate",)
    positions = "recurrent"
    config: Config
    comparison = "additive"

    def __init__(self, config: Config) -> None:
        super().__init__()
        if (config.n_layer, config.n_head) != (1, 1) or config.d_ff % 2:
            raise ValueError("a recurrent model has 1 layer, 1 head and states of even width")
        self.config = config
        D, d, S = config.d_model, config.d_head, config.d_ff
        self.embedding = nn.Embedding(config.vocab_size, D)
        self.encoder = nn.GRU(D, S // 2, batch_first=True, bidirectional=True)
        self.start = nn.Linear(S // 2, S)
        self.W_Q, self.W_K = nn.Linear(S, d), nn.Linear(S, d, bias=False)
        self.score = AdditiveScore(d)
        self.decoder = nn.GRUCell(D + S, S)
        self.readout = nn.Linear(S + D + S, 2 * D)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.embedding.weight, std=D**-0.5)

    def encode(
        self, ids: Tensor, tape: Tape | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Source ids (B, Tk) -> memory (B, Tk, S). `padding` is True at real tokens."""
        x = self.dropout(self.embedding(ids))  # (B, Tk, D)
        if padding is None:
            return self.encoder(x)[0]
        lengths = padding.sum(1).cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.encoder(packed)[0], True, total_length=ids.size(1))
        return states

    def hidden(
        self,
        ids: Tensor,
        memory: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
        past: None = None,
    ) -> Tensor:
        """Target ids (B, Tq), which begin with <s>, and memory (B, Tk, S) -> x (B, Tq, D)."""
        y = self.dropout(self.embedding(ids))  # (B, Tq, D)
        k, v = self.W_K(memory)[:, None], memory[:, None]  # (B, 1, Tk, d or S)
        mask, whole = padding_mask(padding), track(tape, "cross", 0)
        state = torch.tanh(self.start(memory[:, 0, self.config.d_ff // 2 :]))  # (B, S)
        scoring, dropout = Scoring(score=self.score), 0.0 if self.training else None
        states, contexts = [], []
        for t in range(ids.size(1)):
            q = self.W_Q(state)[:, None, None]  # (B, 1, 1, d)
            step = whole.for_query(t) if whole is not None else None
            z = attend(q, k, v, mask=mask, scoring=scoring, dropout=dropout, track=step)
            context = z[:, 0, 0]  # (B, S)
            state = self.decoder(torch.cat([y[:, t], context], dim=-1), state)
            states.append(state)
            contexts.append(context)
        read = torch.cat([torch.stack(states, 1), y, torch.stack(contexts, 1)], dim=-1)
        x = self.readout(read).unflatten(-1, (-1, 2)).amax(-1)  # maxout, (B, Tq, D)
        return self.dropout(x)

    def new_past(self) -> None:
        """None: what it remembers is the state of its GRU."""

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V), with the embedding as the tied head."""
        return F.linear(x, self.embedding.weight)

    def scale(self, kind: Kind, layer: int) -> tuple[float, float | None]:
        return 1.0, None

    def products(self, q: Tensor, k: Tensor) -> Tensor:
        return self.score.products(q, k)
