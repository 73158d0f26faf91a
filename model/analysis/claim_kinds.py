"""The kinds of claims by their names in the files of examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_atlas.model.analysis.claims import (
    Aligns,
    Attends,
    Checked,
    Continues,
    Fills,
    Follows,
    Leaks,
    Pair,
    Reorders,
    Scores,
    SwitchedOff,
)
from attention_atlas.model.analysis.class_claims import Classifies
from attention_atlas.model.analysis.restores import Restores

CLAIMS: dict[str, type[Checked]] = {
    "attends": Attends,
    "scores": Scores,
    "fills": Fills,
    "follows": Follows,
    "continues": Continues,
    "aligns": Aligns,
    "pair": Pair,
    "switched_off": SwitchedOff,
    "leaks": Leaks,
    "reorders": Reorders,
    "restores": Restores,
    "classifies": Classifies,
}


def claim_of(data: Mapping[str, Any]) -> Checked:
    """A claim from JSON: `is` names its class, the rest are its fields."""
    given = {name: tuple(x) if isinstance(x, list) else x for name, x in data.items()}
    name = str(given.pop("is"))
    return CLAIMS[name](**given)
