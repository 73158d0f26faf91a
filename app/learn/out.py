"""A step's figure as the page and its JSON twin have it: computed, or why it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from attention_atlas.app import errors
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.models import ModelSummary, summary
from attention_atlas.app.errors import Problem
from attention_atlas.app.language import in_words
from attention_atlas.app.learn.catalogue import FIGURES
from attention_atlas.app.learn.course import AnnotatedFigure
from attention_atlas.app.learn.figures import Cell, Figure, Heads, Measured, Panel
from attention_atlas.app.learn.heads import Look, is_observed, looked
from attention_atlas.app.learn.html import Html
from attention_atlas.app.learn.layers import KIND_NAMES
from attention_atlas.app.service import Service
from markupsafe import Markup, escape
from pydantic import BaseModel, Field


class ShareOut(BaseModel):
    word: str
    attn: float
    special: bool


class PanelOut(BaseModel):
    """A head on a sentence, and where its query word looks."""

    model: str
    text: str
    default: str = Field(description="the step's own sentence")
    text_pair: str | None
    target: str | None
    kind: str
    layer: int
    head: int
    query: int = Field(description="index of the query word's last token")
    number: int = Field(description="of the query word among the words of the query axis")
    word: str
    title: str = Field(description="what tells it from the other panels: its text, else its head")
    shares: list[ShareOut] = Field(description="the query word's attention, word by word")
    top: ShareOut
    holds: bool = Field(description="whether the step's claim is true in this sentence")
    api: str
    link: str


class NumbersOut(BaseModel):
    columns: list[str]
    rows: list[list[Cell]]
    options: dict[str, Any]


class OptionOut(BaseModel):
    """Something to choose in a prediction, and what the run gives it."""

    word: str
    value: float


class FigureOut(BaseModel):
    name: str
    draw: str = Field(description="a view of heads, or how numbers are drawn")
    texts: list[str] = Field(description="the sentences shown; none where no sentence is needed")
    defaults: list[str] = Field(description="the step's own sentences")
    panels: list[PanelOut] = []
    numbers: NumbersOut | None = None
    drawing: Html = Field(Markup(""), description="SVG made on the server")
    model: ModelSummary | None = Field(None, description="of a drawing of the whole model")
    plays: bool = False
    values: dict[str, str] = Field({}, description="what fills the annotation")
    holds: bool = Field(False, description="whether the observation is made in what is shown")
    options: list[OptionOut] = Field([], description="of a prediction, in the order shown")
    answer: int | None = Field(None, description="the option with the largest value")
    always: Html = Markup("")
    observed: Html = Markup("")
    api: list[str] = Field([], description="addresses of the numbers")
    link: str = Field("", description="the page of the app that shows this")
    problem: Problem | None = None


def figure_out(service: Service, annotated: AnnotatedFigure, texts: Mapping[str, str]) -> FigureOut:
    """A step's figure on the reader's sentences, or on its own; problems are part of the answer."""
    figure = FIGURES[annotated.name]
    own = defaults(figure)
    shown = [texts.get(name) or default for name, default in zip(TEXTS, own, strict=False)]
    plain = FigureOut(name=annotated.name, draw=_draw(figure), texts=shown, defaults=own)
    try:
        made = _made(service, figure, plain)
    except errors.AppError as error:
        return plain.model_copy(update={"problem": errors.problem(error)})
    always, observed = (
        filled(html, made.values) for html in (annotated.always, annotated.observed)
    )
    return made.model_copy(
        update={"always": always, "observed": observed if made.holds else Markup("")}
    )


SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
TEXTS = ("text", "text_b")  # the reader's sentences in the address, panel by panel


def defaults(figure: Figure) -> list[str]:
    """The step's own sentences, each once: a sentence that several panels share has one field."""
    if isinstance(figure, Measured):
        return [text for text in (figure.text, figure.text_b) if text]
    return list(dict.fromkeys(panel.text for panel in figure.panels))[: len(TEXTS)]


def filled(html: Markup, values: Mapping[str, str]) -> Markup:
    """Each {name} in the annotation with the run's value."""

    def value(match: re.Match[str]) -> str:
        words = values[match[1]]
        return words if isinstance(words, Markup) else f"<b>{escape(words)}</b>"

    return Markup(re.sub(r"\{(\w+)\}", value, str(html)))


def _draw(figure: Figure) -> str:
    return figure.view if isinstance(figure, Heads) else figure.draw


def _made(service: Service, figure: Figure, plain: FigureOut) -> FigureOut:
    if isinstance(figure, Measured):
        return _measured(service, figure, plain)
    return _heads(service, figure, plain)


def _heads(service: Service, figure: Heads, plain: FigureOut) -> FigureOut:
    looks: list[Look] = []
    for panel, text in zip(figure.panels, _texts(figure, plain.texts), strict=True):
        same = looks[0].head_place if figure.same_head and looks else None
        looks.append(looked(service, panel, text, same))
    rows = zip(figure.panels, _texts(figure, plain.texts), looks, strict=True)
    is_one = len(plain.texts) == 1
    panels = [panel_out(panel, text, look, figure.view, is_one) for panel, text, look in rows]
    values: dict[str, str] = {}
    for i, made in enumerate(panels):
        values |= {f"{name}{'' if i == 0 else i + 1}": v for name, v in panel_values(made).items()}
    shares = panels[figure.predicts].shares
    plain_shares = [share for share in shares if not share.special]
    options = _options([s.word for s in plain_shares], [s.attn for s in plain_shares])
    return plain.model_copy(
        update={
            "panels": panels,
            "values": values,
            "plays": figure.plays,
            "holds": is_observed(figure, looks),
            **_chosen(options),
            "api": [panel.api for panel in panels],
            "link": panels[0].link,
        }
    )


def _texts(figure: Heads, shown: list[str]) -> list[str]:
    """A sentence for each panel; one sentence goes to all panels that have the same."""
    own = list(dict.fromkeys(panel.text for panel in figure.panels))
    panels = [panel.text for panel in figure.panels]
    return [shown[own.index(text)] if own.index(text) < len(shown) else text for text in panels]


def panel_out(panel: Panel, text: str, look: Look, view: str, is_one: bool = False) -> PanelOut:
    """A panel; where `is_one` text is shown in all panels, its head is its title."""
    kind, layer, head = look.head_place
    spec = {"model": panel.model, "text": text}
    spec |= {"text_pair": panel.text_pair} if panel.text_pair is not None else {}
    head_query = {**spec, "kind": kind, "layer": layer, "head": head}
    view = {"grid": "matrix", "scores": "matrix"}.get(view, view)
    return PanelOut(
        **spec | {"text_pair": panel.text_pair},
        default=panel.text,
        target=look.target,
        kind=kind,
        layer=layer,
        head=head,
        query=look.query,
        number=look.number,
        word=look.word,
        title=f"{in_words(KIND_NAMES[kind])} · L{layer} H{head}" if is_one else text,
        shares=[ShareOut(**share._asdict()) for share in look.shares],
        top=ShareOut(**look.top._asdict()),
        holds=look.holds,
        api=f"{PREFIX}/attention?{urlencode({**head_query, 'merge': 'words'})}",
        link=f"/explore?{urlencode({**head_query, 'query': look.query, 'view': view})}",
    )


def panel_values(panel: PanelOut) -> dict[str, str]:
    return {
        "query": panel.word,
        "top": panel.top.word,
        "attn": f"{panel.top.attn:.2f}",
        "head": f"L{panel.layer} H{panel.head}",
        "model": panel.model,
        "target": panel.target or "",
    }


def _options(words: Sequence[str], values: Sequence[float]) -> list[OptionOut]:
    """Words to choose from; a word that occurs several times is numbered: the₁, the₂."""
    options = []
    for i, (word, value) in enumerate(zip(words, values, strict=True)):
        n = str(words[: i + 1].count(word)).translate(SUBSCRIPT)
        options.append(OptionOut(word=word + n * (words.count(word) > 1), value=value))
    return options


def _chosen(options: list[OptionOut]) -> dict[str, Any]:
    """The options of a prediction, and the largest of them; none where there is no choice."""
    if len(options) < 2:
        return {}
    answer = max(range(len(options)), key=lambda i: options[i].value)
    return {"options": options, "answer": answer}


def _measured(service: Service, figure: Measured, plain: FigureOut) -> FigureOut:
    numbers = figure.measure(service, *(plain.texts or [""]))
    columns = [in_words(column) for column in numbers.columns]
    rows = [[in_words(c) if isinstance(c, str) else c for c in row] for row in numbers.rows]
    choices = list(numbers.choices)
    if not choices and figure.draw == "bars":
        choices = [(str(row[0]), row[-1]) for row in rows if isinstance(row[-1], float)]
    options = _options([in_words(name) for name, _ in choices], [value for _, value in choices])
    if options == sorted(options, key=lambda option: -option.value):  # do not give it away
        options.sort(key=lambda option: _natural(option.word))
    model = None
    if figure.model:
        with service.lent(figure.model) as loaded:
            model = summary(loaded)
    return plain.model_copy(
        update={
            "numbers": NumbersOut(columns=columns, rows=rows, options=dict(numbers.options)),
            "drawing": numbers.drawing,
            "values": dict(numbers.values),
            "holds": numbers.holds,
            "model": model,
            **_chosen(options),
            "api": [numbers.api] if numbers.api else [],
            "link": numbers.link,
        }
    )


def _natural(words: str) -> list[tuple[str, int]]:
    """A key that sorts by words, and the numbers in them by their size."""
    return [(rest, int(part or 0)) for rest, part in re.findall(r"(\D*)(\d*)", words.casefold())]
