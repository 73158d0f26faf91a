"""What JSON may hold: no more values than a model has; of a config, finite numbers of its size."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from attention_atlas.model.hub.reasons import BadModel, Reason

MOST = 2**40  # of any whole number in a config; some count the parameters
MOST_LABELS = 100_000
LONGEST_KEY = 60  # characters; a key of a megabyte would be copied for each number below it


def check_values(data: bytes, file: str, most: int) -> None:
    """Before it is parsed: JSON of no more values, by the characters that come between them."""
    if sum(map(data.count, (b",", b"[", b"{"))) > most:
        text = "{file} holds more than {n} values"
        raise BadModel("too-large", text, file=file, n=f"{most:,}")


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


def _numbers(content: dict[str, Any], key: str) -> Iterator[tuple[str, int | float]]:
    """The numbers of a config with their keys: "encoder.hidden_size".

    Not by recursion: each number would pass through as many generators as it is deep.
    """
    stack = [(_entries(content), key)]
    while stack:
        entries, key = stack[-1]
        for name, each in entries:
            full = str(name)[:LONGEST_KEY]
            full = f"{key}.{full}"[-LONGEST_KEY:] if key else full
            if isinstance(each, dict | list):
                stack.append((_entries(each), full))
                break
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield full, each
        else:
            stack.pop()


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else iter(enumerate(value))
