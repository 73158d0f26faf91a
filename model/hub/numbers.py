"""The numbers of a config: each finite, and no larger than any model has it."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from attention_atlas.model.hub.reasons import BadModel, Reason

MOST = 2**40  # of any whole number in a config; some count the parameters
MOST_LABELS = 100_000
LONGEST_KEY = 60  # characters; a key of a megabyte would be copied for each number below it


def check_numbers(content: dict[str, Any]) -> None:
    """Every number of a config, however deep, is finite and no larger than any model has it."""
    for key, n in _numbers(content, ""):
        name = key.split(".")[-1]
        if not isfinite(n) if isinstance(n, float) else abs(n) > MOST:
            reason: Reason = "damaged" if isinstance(n, float) else "too-large"
            text = "config.json says {key} {n}, which no model has"
            raise BadModel(reason, text, key=key, n=str(n)[:40])
        if name == "num_labels" and n > MOST_LABELS:
            text = "config.json says {key} {n}; at most {most} are taken"
            raise BadModel("too-large", text, key=key, n=f"{n:,}", most=f"{MOST_LABELS:,}")


def _numbers(value: Any, key: str) -> Iterator[tuple[str, int | float]]:
    """The numbers of a config with their keys: "encoder.hidden_size"."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, each in inside:
        full = f"{key}.{str(name)[:LONGEST_KEY]}"[-LONGEST_KEY:] if key else str(name)[:LONGEST_KEY]
        if isinstance(each, dict | list):
            yield from _numbers(each, full)
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield full, each
