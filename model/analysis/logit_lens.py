"""The logit lens: what a model would predict after each layer, by its own last norm and head.

Of a middle layer this is a reading, not what the model does (nostalgebraist 2020): later layers may
expect its stream in other coordinates. After the last layer it is the prediction itself, which is
checked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from attention_atlas.model.analysis.lab import LogitDifference, ReadText, predicted
from attention_atlas.model.messages import Message
from attention_atlas.model.run import candidates, read
from attention_atlas.model.spec import BadInput
from attention_atlas.model.tape import Tape
from torch import Tensor

TOLERANCE = 1e-3  # of the logits after the last layer from the model's own


class Reading(NamedTuple):
    """What is read after one layer."""

    candidates: list[dict[str, object]]
    rank: int  # of the metric's first token, from 0
    other_rank: int
    difference: float  # of the two tokens' logits


@torch.inference_mode()
def logit_lens(text: ReadText, metric: LogitDifference, n: int = 5) -> list[Reading]:
    """Readings of the embedding and after each layer. Raises BadInput where there is no lens."""
    model = text.loaded.model
    states = stream_at(text, metric.position)  # (L + 1, D)
    logits = model.logits(model.normed(states[None])[0]).float()  # (L + 1, V)
    own = model.logits(text.x[0, metric.position]).float()
    gap = (logits[-1] - own).abs().max().item()
    if not gap <= TOLERANCE * max(1.0, own.abs().max().item()):
        message = Message(
            "no-lens",
            "{model} has no logit lens: after its last layer it differs from the model's own "
            "logits by {gap:.3g}",
            model=text.loaded.name,
            gap=gap,
        )
        raise BadInput("model", message)
    return [
        Reading(
            candidates(text.loaded, row, n),
            rank=int((row > row[metric.a]).sum()),
            other_rank=int((row > row[metric.b]).sum()),
            difference=(row[metric.a] - row[metric.b]).item(),
        )
        for row in logits
    ]


def stream_at(text: ReadText, position: int) -> Tensor:
    """The residual stream of the predicting token, after the embedding and each layer: (L + 1, D).

    Raises BadInput for a model without one, or whose last norm is not known.
    """
    tape = Tape(keep=(), layers=(), edits=text.edits, hidden=True)
    read(text.loaded, text.sequences, tape)
    if not tape.streams or not text.loaded.model.norm_is_known:
        message = Message(
            "no-lens",
            "{model} has no logit lens: what its head reads after the last layer is not known",
            model=text.loaded.name,
        )
        raise BadInput("model", message)
    stacks = dict(zip(("source", "target"), tape.streams.values(), strict=False))
    return torch.stack([x[0, position] for x in stacks[predicted(text)]])
