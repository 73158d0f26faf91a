"""What a figure is: heads of a model on a sentence, or numbers measured on one.

A head is never named here. A panel claims that a word attends to others; the head that shows it
best is looked up in the weights, on the panel's own sentence, and kept for the reader's sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from attention_atlas.model.analysis.observations import Claim
from attention_atlas.model.tape import Kind
from markupsafe import Markup

View = Literal["lines", "matrix", "tokens", "anatomy", "table", "grid", "scores"]
Draw = Literal["table", "bars", "curves", "map", "diagram", "hand", "drawn"]
Rule = Literal["claim", "word", "different", "copy", "any"]
Cell = str | float | None
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def scientific(value: float) -> str:
    """A small number as a power of ten: 2 × 10⁻⁹."""
    digit, _, exponent = f"{value:.0e}".partition("e")
    power = str(int(exponent)).translate(SUPERSCRIPT)
    return "0" if value == 0 else f"{digit} × 10{power}".replace("-", "−")


def written(value: float) -> str:
    """A number in a table: whole, a power of ten, with one digit or with three."""
    if value == int(value):
        return f"{int(value):,}".replace("-", "−")
    if abs(value) < 0.0005:
        return scientific(value)
    return f"{value:.{1 if value == round(value, 1) else 3}f}".replace("-", "−")


@dataclass(frozen=True)
class Panel:
    """A sentence, a model, and the claim that chooses the head.

    `least` is the attention that the claim must have in the panel's own sentence. A panel that
    `takes_any` sentence does not need the claim's query word: without it, the last word is shown.
    """

    model: str
    text: str
    claim: Claim
    least: float = 0.25
    text_pair: str | None = None
    takes_any: bool = False

    @property
    def kind(self) -> Kind | None:
        return self.claim.kind


@dataclass(frozen=True)
class Heads:
    """Heads in one of the app's views; `same_head`: all panels show the first one's head.

    `rule` says in which sentences the observation is made: where the claim is true; or also where
    each query word looks mostly at one other `word`, at a `different` one in each panel, or at
    what followed an earlier `copy` of it; or in `any`, where it is about all heads.
    """

    panels: tuple[Panel, ...]
    view: View = "lines"
    rule: Rule = "claim"
    same_head: bool = False
    plays: bool = False  # a button moves through the queries, one at a time
    predicts: int = 0  # the panel that a prediction is about


@dataclass(frozen=True)
class Numbers:
    """A table, and what of it is drawn.

    bars: the last column; curves: every column over the first; map: all but the first, as colours;
    drawn: `drawing`, made on the server.
    `values` fill the annotation, `holds` says whether the observation is made in these numbers.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    api: str
    link: str
    values: dict[str, str] = field(default_factory=dict)
    holds: bool = True
    options: dict[str, Any] = field(default_factory=dict)  # of the drawing
    choices: tuple[tuple[str, float], ...] = ()  # of a prediction; bars are choices themselves
    drawing: Markup = Markup("")


Measure = Callable[..., Numbers]  # (service, text), or two texts


@dataclass(frozen=True)
class Measured:
    """Numbers measured on a sentence, or two; "" where none is needed."""

    measure: Measure
    draw: Draw
    text: str = ""
    text_b: str = ""
    model: str = ""  # of a drawing


Figure = Heads | Measured
