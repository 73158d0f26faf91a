"""The examples of each page, from a JSON file each, and the file written again.

`label`, `inputs`, `claim` and `note` of an example are written by hand. `address` and `values` are
found with the weights at hand by `make examples`; an example whose claim is false with these
weights has none, and is not offered.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from attention_atlas.model.analysis.claim_kinds import claim_of
from attention_atlas.model.analysis.claims import Checked
from pydantic import BaseModel

FOLDER = Path(__file__).parent
PAGES = (
    *("explore", "compare", "translate", "generate", "fill"),
    *("attention", "masks", "positions", "lab", "classify"),
)
MOST_RIGHT, MOST_WRONG = 3, 1  # of one kind of claim, where the model may be right or wrong


class Example(BaseModel):
    """An example of a page, as its file has it."""

    label: str
    inputs: dict[str, str]  # named as in the page's address
    claim: dict[str, Any]
    note: str = ""
    address: dict[str, str | int] | None = None  # what else the address has to open at
    values: dict[str, Any] = {}  # of the observation

    @property
    def checked(self) -> Checked:
        return claim_of(self.claim)

    @property
    def models(self) -> set[str]:
        return {self.inputs[name] for name in ("model", "model_b") if name in self.inputs}

    @property
    def opens_at(self) -> dict[str, str | int]:
        """All of the address."""
        return {**self.inputs, **(self.address or {})}


def path_of(page: str) -> Path:
    return FOLDER / f"{page}.json"


@cache
def stored(page: str) -> tuple[Example, ...]:
    """Every example of a page's file."""
    rows = json.loads(path_of(page).read_text("utf-8"))
    return tuple(Example.model_validate(row) for row in rows)


@cache
def offered(page: str) -> tuple[Example, ...]:
    """Those that are true with these weights; of a kind that the model may get wrong, a few."""
    by_kind: dict[str, list[Example]] = {}
    for example in stored(page):
        if example.address is not None:
            kind = example.claim["is"] if "right" in example.values else ""
            by_kind.setdefault(kind, []).append(example)
    plain = by_kind.pop("", [])
    chosen = [example for rows in by_kind.values() for example in _few(rows)]
    return (*chosen, *plain)


def first_text(page: str) -> str:
    """A text for models that no example is for."""
    return stored(page)[0].inputs["text"]


def _few(rows: list[Example]) -> list[Example]:
    """The first that the model gets right, then the first that it gets wrong."""
    right = [example for example in rows if example.values["right"]]
    wrong = [example for example in rows if not example.values["right"]]
    return right[:MOST_RIGHT] + wrong[:MOST_WRONG]


def write(page: str, examples: list[Example]) -> None:
    rows = [example.model_dump(exclude_defaults=True) for example in examples]
    text = json.dumps(rows, ensure_ascii=False, indent=2)
    path_of(page).write_text(f"{text}\n", "utf-8")
