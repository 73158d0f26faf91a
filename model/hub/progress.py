"""How far the opening of a model is, told step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Step:
    """One stage of opening a model: the file it is at, how many bytes of how many."""

    stage: Literal["looking", "downloading", "converting", "loading", "trying"]
    file: str = ""
    bytes: int = 0
    total: int = 0


Progress = Callable[[Step], None]


def silent(step: Step) -> None:
    """Report nothing."""
