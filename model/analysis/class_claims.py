"""The claim of the Classify page's examples: the label that a head gives a text."""

from __future__ import annotations

from dataclasses import dataclass

from attention_atlas.model.analysis.claims import Address, Inputs, Models, Seen, place_of, spec_of
from attention_atlas.model.analysis.classify import classify
from attention_atlas.model.analysis.observations import Claim, best_head, observed


@dataclass(frozen=True)
class Classifies:
    """The head's first label, and in some head the token that it is read from is on some words."""

    truth: str
    keys: tuple[str, ...]

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, spec = models(inputs["model"]), spec_of(inputs)
        result = classify(loaded, spec)
        first = result.predictions["labels"][0]
        query = result.tokens[result.reads[0]].raw
        claim = Claim(query, self.keys)
        if address is None:
            best = best_head(loaded, spec, claim)
        else:
            best = observed(loaded, spec, claim, place_of({"kind": loaded.kinds[0], **address}))
        values = {
            "label": first["label"],
            "probability": round(first["probability"], 4),
            "token": query,
            "attn": best.attn,
            "right": first["label"] == self.truth,
        }
        return Seen({"layer": best.layer, "head": best.head}, values, len(result.reads) == 1)
