"""What BERT's heads attend to: special tokens, everything alike, or a word's syntactic head."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from attention_atlas.model import metrics
from attention_atlas.model.analysis.statistics import Array, Measure, mean, measured
from attention_atlas.model.record import Token
from attention_atlas.model.tape import Tape
from attention_atlas.model.training import corpus
from attention_atlas.model.training.alignment_quality import joined
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.task import trained
from attention_atlas.model.training.word_quality import passages
from attention_atlas.model.transformer import Bert
from attention_atlas.model.zoo import Loaded
from torch import Tensor

RELATIONS = ("det", "nsubj", "obj", "amod")  # of Universal Dependencies
N_SENTENCE = 800
LONGEST = 40  # words
OFFSETS = tuple(k for k in range(-6, 7) if k)
N_TEXT = 64
MOST = 0.5  # of a head's attention
UNIFORM = 0.9  # of the entropy of attention to all tokens alike


def attention(loaded: Loaded, tokens: tuple[Token, ...]) -> Tensor:
    """(L, H, T, T)"""
    model, tape = trained(loaded, Bert), Tape()
    ids = torch.tensor([[token.id for token in tokens]], device=loaded.device)
    model.encode(ids, torch.zeros_like(ids), tape)
    return torch.cat([step.attn for step in tape])


@torch.inference_mode()
def head_shares(loaded: Loaded, task: BertTask, data: Path) -> dict[str, Measure]:
    """Heads that give special tokens over half of their attention, and heads near uniform."""
    texts = passages(task.held_out_documents, N_TEXT)
    if not texts:
        return {}
    special, level = [], []
    for passage in texts:
        tokens = task.tokenizer.encode(passage.text)[: loaded.config.n_ctx]
        attn = attention(loaded, tokens)
        key_is_special = torch.tensor([token.special for token in tokens], device=attn.device)
        special.append(metrics.special(attn, key_is_special).flatten().cpu().numpy())
        level.append((metrics.entropy(attn) / math.log(len(tokens))).flatten().cpu().numpy())
    detail = f"of {special[0].size} heads, each by its mean over the texts"

    def share(values: list[Array], limit: float) -> Measure:
        each = np.stack(values)  # (texts, heads)
        return measured(
            lambda i: float((each[i].mean(0) > limit).mean()), len(each), "texts", detail
        )

    return {
        "heads_on_specials": share(special, MOST),
        "heads_near_uniform": share(level, UNIFORM),
    }


@torch.inference_mode()
def relations(loaded: Loaded, task: BertTask, data: Path) -> dict[str, Measure]:
    """For each relation the head that most often attends most along it, in either direction.

    As Clark et al. 2019, section 4.2: attention is summed over a word's pieces as keys and averaged
    over them as queries; special tokens and the word itself do not count. The head and the
    direction are chosen on the sentences they are measured on.
    """
    trees = spread([tree for tree in corpus.trees(data) if 1 < len(tree) <= LONGEST], N_SENTENCE)
    hits: dict[str, list[Array]] = {name: [] for name in RELATIONS}
    offsets: dict[str, list[int]] = {name: [] for name in RELATIONS}
    for tree in trees:
        links = [(i, word) for i, word in enumerate(tree) if word.relation in hits]
        guess = most_attended(loaded, task, tree) if links else np.zeros((0, 0))
        for dependent, (_, governor, relation) in links:
            if governor is not None:
                up, down = guess[:, dependent] == governor, guess[:, governor] == dependent
                hits[relation].append(np.concatenate([up, down]))
                offsets[relation].append(governor - dependent)
    return {
        f"relation_{name}": _best(np.stack(hits[name]), np.array(offsets[name]), loaded)
        for name in RELATIONS
        if hits[name]
    }


def _best(hits: Array, offsets: Array, loaded: Loaded) -> Measure:
    """The best head and direction of (words, 2 * L * H), and the best fixed offset beside it."""
    best = int(hits.mean(0).argmax())
    down, place = divmod(best, hits.shape[1] // 2)
    layer, head = divmod(place, loaded.config.n_head)
    direction = "governor to dependent" if down else "dependent to governor"
    share, offset = max((float(np.mean(offsets == k)), k) for k in OFFSETS)
    return replace(
        mean(hits[:, best].tolist(), "words", f"L{layer} H{head}, {direction}"),
        compare=f"governor at {offset:+d}: {share:.3f}",
    )


def spread(trees: list[list[corpus.Word]], n: int) -> list[list[corpus.Word]]:
    """About n of them, from all parts of the file."""
    return trees[:: max(1, len(trees) // n)][:n]


def most_attended(loaded: Loaded, task: BertTask, tree: list[corpus.Word]) -> Array:
    """The word each word attends to most, by every head: (L * H, words)."""
    text, spans = joined([word.form for word in tree])
    tokens = task.tokenizer.encode(text)[: loaded.config.n_ctx]
    member = torch.tensor(
        [[a <= t.start < t.end <= b and not t.special for t in tokens] for a, b in spans]
    ).float()  # (words, T)
    attn = attention(loaded, tokens).flatten(0, 1).cpu()
    as_query = member / member.sum(1, keepdim=True).clamp(min=1)
    merged = as_query @ attn @ member.T  # (L * H, words, words)
    merged.diagonal(dim1=-2, dim2=-1).fill_(-1)
    return merged.argmax(-1).numpy()
