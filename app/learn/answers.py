"""The right answer of each question, computed from a run when the page is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from attention_atlas.app.learn.batches import masked_row
from attention_atlas.app.learn.catalogue import (
    BANK,
    BORN,
    CASHED,
    CERRADO,
    ENGLISH,
    INVENTED,
    KNOWN,
    MASK,
    NEXT,
    SPANISH,
)
from attention_atlas.app.learn.heads import looked
from attention_atlas.app.learn.layers import (
    another_order,
    other_numbers_of_heads,
    parts_of_a_layer,
    states,
)
from attention_atlas.app.learn.measures import apart, with_and_without_scale
from attention_atlas.app.learn.more import length_of
from attention_atlas.app.learn.tasks import translated
from attention_atlas.app.learn.writing import known_and_invented, shots, tied_head
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.corruption import corrupted
from attention_atlas.model.record import Selection
from attention_atlas.model.spec import Spec

Answer = Callable[[Service], str]


def row_sum(service: Service) -> str:
    """What a query's attention adds up to."""
    total = sum(share.attn for share in looked(service, BANK, BANK.text).shares)
    return "one" if abs(total - 1) < 1e-4 else "other"


def keys_of_cross(service: Service) -> str:
    """Whether the words that a translated word looks at are those of the source."""
    look = looked(service, CERRADO, CERRADO.text)
    words = {share.word for share in look.shares if not share.special}
    return "source" if words <= set(CERRADO.text.replace(".", " .").split()) else "target"


def effect_of_scale(service: Service) -> str:
    """Whether the softmax without the scale is sharper."""
    return "sharper" if with_and_without_scale(service, CASHED, CASHED.text).holds else "flatter"


def output_is_a_mean(service: Service) -> str:
    """Whether z is the sum of the values, weighted by attention."""
    _, answer, _ = apart(service, CASHED, CASHED.text)
    attn, v, z = (torch.tensor(answer.tensors[name]) for name in ("attn", "v", "z"))
    return "values" if torch.allclose(attn @ v, z, atol=1e-4) else "keys"


def weights_for_twice_the_length(service: Service) -> str:
    """How the number of attention weights grows when the text is twice as long."""
    once, twice = (length_of(service, "gpt", text) for text in (" bank" * 8, " bank" * 16))
    added = length_of(service, "gpt", " bank" * 7) - 7  # special tokens, which do not double
    ratio = (twice - added) ** 2 / (once - added) ** 2
    return {2: "two", 4: "four", 8: "eight"}[round(ratio)]


def softmax_of_shifted(service: Service) -> str:
    """What happens to the softmax when the same number is added to all scores."""
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0])
    same = torch.allclose(scores.softmax(-1), (scores + 5).softmax(-1))
    return "same" if same else "sharper"


def zero_leaks(service: Service) -> str:
    """Whether masked keys get attention where their score is 0."""
    return "zero-leaks" if masked_row(service, NEXT, NEXT.text).holds else "sign"


def first_row(service: Service) -> str:
    """Where the first token of a decoder looks."""
    with service.lent(NEXT.model, text=NEXT.text) as loaded:
        _, record = service.record(
            loaded, Spec(NEXT.text), Selection("attn", "decoder", (0,), (0,))
        )
    return "itself" if record.attn[0, 0, 0].tolist()[0] == 1 else "even"


def numbers_of_heads(service: Service) -> str:
    """Whether more heads at the same width make more attention weights."""
    rows = other_numbers_of_heads(service, BANK.text).rows
    few, many = (float(row[2] or 0) for row in (rows[0], rows[-1]))
    return "weights" if many > few else "parameters"


def sum_of_parts(service: Service) -> str:
    """Whether the heads' parts sum to W_O of their concatenation."""
    return "sum" if parts_of_a_layer(service, BANK, BANK.text).holds else "mean"


def order_without_positions(service: Service) -> str:
    """Whether a model without positions can tell two orders of the same words apart."""
    return "none" if another_order(service, "I like NLP").holds else "some"


def direction_of_layer_norm(service: Service) -> str:
    """Over what a layer norm makes the spread 1."""
    return "token" if states(service, BANK.text).holds else "batch"


def masked_kind(service: Service) -> str:
    """Which kind of attention of the translator has cells that are not allowed."""
    with service.lent("translator", text=CERRADO.text) as loaded:
        for kind in loaded.kinds:
            _, record = service.record(loaded, Spec(CERRADO.text), Selection("attn", kind))
            if not record.mask.all():
                return kind
    return "none"


def read_in_forcing(service: Service) -> str:
    """Whether the words that a decoder reads in teacher forcing are given."""
    steps = translated(service, SPANISH, ENGLISH).reference
    return "given" if all(step.forced for step in steps[:-1]) else "own"


def seen_by_mask(service: Service) -> str:
    """On which sides of [MASK] BERT's attention is above 0."""
    look = looked(service, MASK, MASK.text)
    sides = {i < look.number for i, s in enumerate(look.shares) if s.attn > 0 and i != look.number}
    return "both" if len(sides) == 2 else "before" if True in sides else "after"


def usual_fate(service: Service) -> str:
    """What becomes of most chosen tokens, drawn many times."""
    ids, rng = np.arange(10, 20_010), np.random.default_rng(0)
    drawn = corrupted(ids, ids > 0, rng, mask=0, first=1, vocab_size=30_000)
    return Counter(drawn.fates).most_common(1)[0][0]


def tied(service: Service) -> str:
    """Whether GPT's logits are dot products with the embedding."""
    return "embedding" if tied_head(service, BORN).holds else "attention"


def weights_after_examples(service: Service) -> str:
    """Whether reading examples leaves the weights as they are."""
    with service.lent("gpt") as loaded:
        before = loaded.decoder.state_dict()["embedding.weight"].clone()
        shots(service, "")
        same = torch.equal(before, loaded.decoder.state_dict()["embedding.weight"])
    return "none" if same else "all"


def sureness_without_ground(service: Service) -> str:
    """Whether the model is about as sure after an invented name as after a known one."""
    return "no" if known_and_invented(service, KNOWN, INVENTED).holds else "yes"


def graph_of_attention(service: Service) -> str:
    """What a row of attention is in a graph whose nodes are the words."""
    total = sum(share.attn for share in looked(service, BANK, BANK.text).shares)
    return "edges" if abs(total - 1) < 1e-4 else "nodes"


ANSWERS: dict[str, Answer] = {
    "row-sum": row_sum,
    "cross-keys": keys_of_cross,
    "twice-as-long": weights_for_twice_the_length,
    "shifted-scores": softmax_of_shifted,
    "why-infinity": zero_leaks,
    "first-row": first_row,
    "more-heads": numbers_of_heads,
    "w-o": sum_of_parts,
    "no-positions": order_without_positions,
    "layer-norm": direction_of_layer_norm,
    "masked-kind": masked_kind,
    "teacher": read_in_forcing,
    "mask-sees": seen_by_mask,
    "kept-share": usual_fate,
    "tied-head": tied,
    "more-shots": weights_after_examples,
    "sure": sureness_without_ground,
    "graph-edges": graph_of_attention,
    "no-scale": effect_of_scale,
    "output": output_is_a_mean,
}
