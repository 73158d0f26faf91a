"""The claim of the Lab's examples: of all heads, which restores a prediction best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.claims import Address, Inputs, Models, Seen
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Kind
from attention_atlas.model.zoo import Loaded
from torch import Tensor

LEAST_RESTORED = 0.15  # of the difference; a head that restores less does not tell a story


@dataclass(frozen=True)
class Restores:
    """The clean text prefers `answer`, the corrupted one `other`, and one head moves that most.

    Its output from the clean run is put into the corrupted run.
    """

    answer: str
    other: str

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, target = models(inputs["model"]), inputs.get("target")
        clean, corrupted = (
            lab.text_of(loaded, Spec(inputs[name], target=target)) for name in ("text", "text_b")
        )
        metric = lab.metric_of(clean, None, self.answer, self.other)
        ends = tuple(lab.value_of(text, metric) for text in (clean, corrupted))
        shares = {kind: self._shares(clean, corrupted, metric, kind, ends) for kind in loaded.kinds}
        kind, layer, head = best_of(loaded, shares, address)
        share = shares[kind][layer, head].item()
        values: dict[str, Any] = {
            "clean": round(ends[0], 2),
            "corrupted": round(ends[1], 2),
            "share": round(share, 4),
        }
        where: Address = {"how": "denoise", "answer": self.answer, "other": self.other}
        where |= {"kind": kind, "layer": layer, "head": head}
        return Seen(where, values, ends[0] > 0 > ends[1] and share >= LEAST_RESTORED)

    def _shares(
        self,
        clean: lab.ReadText,
        corrupted: lab.ReadText,
        metric: lab.LogitDifference,
        kind: Kind,
        ends: tuple[float, ...],
    ) -> Tensor:
        """Of the way from the corrupted metric to the clean one: (L, H)."""
        given = lab.replacements("denoise", kind, clean, corrupted)
        rows = torch.stack(list(lab.sweep(corrupted, metric, kind, given, "heads")))
        return lab.scaled(rows, ends[1], ends[0])


def best_of(
    loaded: Loaded, shares: dict[Kind, Tensor], address: Address | None
) -> tuple[Kind, int, int]:
    """The address's head, else that of the largest share."""
    if address is not None:
        kind = next(kind for kind in loaded.kinds if kind == address["kind"])
        return kind, int(address["layer"]), int(address["head"])
    kind = max(shares, key=lambda kind: shares[kind].max().item())
    layer, head = divmod(int(shares[kind].argmax()), shares[kind].size(1))
    return kind, layer, head
