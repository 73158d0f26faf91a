"""Drawings of a run: the heads of a layer put together, the activation of its feed-forward part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import erf, sqrt

from attention_atlas.app.learn.svg import arrow, element, path, rect, svg, text
from attention_atlas.model.messages import Message
from markupsafe import Markup

WIDTH = 400
GAP = 3  # between the outputs of two heads
BAND = 17  # pixels of a head's rows of W_O, its gap included
BARS = 150  # where the bars of lengths begin
LONGEST = 200  # pixels of all lengths added up


def concatenation(
    word: str, z: Sequence[Sequence[float]], norms: Sequence[float], output: float
) -> Markup:
    """The heads' outputs side by side, the rows of W_O that meet each, and what each adds."""
    H, d = len(z), len(z[0])
    scale = LONGEST / max(sum(norms), output)
    end = 116 + H * BAND
    parts = [
        text(0, 14, Message("drawing", "z of all heads side by side: {H} × {d} numbers", H=H, d=d)),
        element("g", _strip(z), data_term="output"),
        arrow(74, 66, 74, 90),
        text(84, 82, Message("drawing", "times W_O, whose rows belong to heads")),
        text(30, 110, Message("drawing", "rows of W_O"), "drawn-small"),
        text(BARS, 110, Message("drawing", "length of what the head adds"), "drawn-small"),
        *[_band(j, norm, scale, norm == max(norms)) for j, norm in enumerate(norms)],
        text(BARS - 12, end + 22, Message("drawing", "lengths added up"), text_anchor="end"),
        *_end_to_end(norms, scale, end + 10),
        text(BARS - 12, end + 44, Message("drawing", "length of the sum"), text_anchor="end"),
        rect((BARS, end + 33, output * scale, 14), "drawn-most"),
        text(BARS + output * scale + 6, end + 44, f"{output:.2f}"),
    ]
    about = Message(
        "drawing",
        "For “{word}”: the outputs of {H} heads side by side, multiplied by W_O, are the sum of "
        "one vector from each head. The lengths are in the table.",
        word=word,
        H=H,
    )
    title = Message("drawing", "Concatenation of heads and W_O")
    return svg("concatenation", (WIDTH, end + 54), title, about, parts)


def _strip(z: Sequence[Sequence[float]]) -> Markup:
    """Each head's numbers as cells: the stronger the colour, the larger the number."""
    H, d = len(z), len(z[0])
    head = (WIDTH - GAP * (H - 1)) / H
    most = max(abs(value) for row in z for value in row) or 1.0
    cells = Markup("")
    for j, row in enumerate(z):
        x = j * (head + GAP)
        for i, value in enumerate(row):
            shade = f"{(abs(value) / most) ** 0.7:.2f}"
            class_ = "drawn-plus" if value >= 0 else "drawn-minus"
            cells += rect((x + i * head / d, 22, head / d, 22), class_, fill_opacity=shade)
        cells += rect((x, 22, head, 22), "drawn-frame")
        cells += text(x + head / 2, 58, f"{j}", "drawn-small", text_anchor="middle")
    return cells


def _band(j: int, norm: float, scale: float, is_most: bool) -> Markup:
    """A head's rows of W_O, and the length of what they make of its output."""
    y = 116 + j * BAND
    content = [
        text(24, y + 12, f"{j}", "drawn-small", text_anchor="end"),
        rect((30, y, 88, BAND - 3), "drawn-matrix"),
        arrow(122, y + 7, BARS - 6, y + 7),
        rect((BARS, y, norm * scale, BAND - 3), "drawn-most" if is_most else "drawn-bar"),
        text(BARS + norm * scale + 6, y + 12, f"{norm:.2f}", "drawn-small"),
    ]
    return element("g", Markup("").join(content), data_term="head")


def _end_to_end(norms: Sequence[float], scale: float, y: float) -> list[Markup]:
    starts = accumulate(norms, initial=0.0)
    bars = [
        rect((BARS + start * scale, y, norm * scale, 14), "drawn-part")
        for start, norm in zip(starts, norms, strict=False)
    ]
    return [*bars, text(BARS + sum(norms) * scale + 6, y + 12, f"{sum(norms):.2f}")]


# The activation of a feed-forward network.

UNIT = 46.0  # pixels of 1 on the axis of what enters f
ZERO = 208.0  # where it is 0
HIGH = 42.0  # pixels of 1 on the axis of f


def activation(histogram: tuple[Sequence[float], Sequence[int]], caption: Message) -> Markup:
    """ReLU and GELU, and under the same axis the values of the run that enter the activation."""
    edges, counts = histogram
    below = sum(n for n, edge in zip(counts, edges, strict=False) if edge < 0) / sum(counts)
    parts = [
        path(f"M{_x(-4)} 190H{_x(4)}M{ZERO} 20V206", "drawn-axis"),
        *[text(ZERO - 8, 194 - HIGH * y, f"{y}", "drawn-small", text_anchor="end") for y in (2, 4)],
        path(_curve(lambda x: max(x, 0.0)), "drawn-relu"),
        path(_curve(gelu), "drawn-gelu"),
        *_legend(),
        element("g", text(_x(-4), 232, caption), data_term="residual"),
        element("g", _bars(edges, counts), data_term="residual"),
        path(f"M{_x(-4)} 330H{_x(4)}", "drawn-axis"),
        *[text(_x(x), 346, f"{x}".replace("-", "−"), text_anchor="middle") for x in range(-4, 5)],
        text(_x(-3.9), 266, Message("drawing", "{n} % below 0", n=round(100 * below))),
        text(_x(1.2), 266, Message("drawing", "{n} % above 0", n=100 - round(100 * below))),
    ]
    about = Message(
        "drawing",
        "The curves of ReLU and GELU from −4 to 4, and under them a histogram of the values that "
        "enter the activation in this run: {n} % are below 0.",
        n=round(100 * below),
    )
    title = Message("drawing", "ReLU, GELU and the values that enter them")
    return svg("activation", (WIDTH, 354), title, about, parts)


def gelu(x: float) -> float:
    return x * (1 + erf(x / sqrt(2))) / 2


def _x(value: float) -> float:
    return ZERO + UNIT * value


def _curve(f: Callable[[float], float]) -> str:
    points = [i / 10 for i in range(-40, 41)]
    return "M" + "L".join(f"{_x(x):.1f} {190 - HIGH * f(x):.1f}" for x in points)


def _legend() -> list[Markup]:
    """Which curve is which."""
    lines = (("drawn-gelu", "GELU", 40), ("drawn-relu", "ReLU", 62))
    return [
        part
        for class_, name, y in lines
        for part in (path(f"M24 {y}H56", class_), text(64, y + 4.5, name))
    ]


def _bars(edges: Sequence[float], counts: Sequence[int]) -> Markup:
    most = max(counts)
    bars = Markup("")
    for edge, n in zip(edges, counts, strict=False):
        height = 86 * n / most
        class_ = "drawn-minus" if edge < 0 else "drawn-plus"
        bars += rect((_x(edge) + 0.5, 330 - height, UNIT / 4 - 1, height), class_)
    return bars


# What a norm averages over.

CELL, ROW = 9, 17  # pixels of a dimension and of a token
LEFT, BETWEEN = 82, 22  # pixels before the first picture, and between the two
MOST_TOKENS = 14
TAKEN = 0.45  # of the way down and across: the row and the column that are framed


def directions(names: Sequence[str], state: Sequence[Sequence[float]]) -> Markup:
    """The same numbers twice: a row is framed for a layer norm, a column for a batch norm."""
    names, state = names[:MOST_TOKENS], state[:MOST_TOKENS]
    n, m = len(names), len(state[0])
    right = LEFT + m * CELL + BETWEEN
    i, j, top = int(TAKEN * n), int(TAKEN * m), 24
    labels = [
        text(LEFT - 6, top + k * ROW + 13, name, "drawn-small", text_anchor="end")
        for k, name in enumerate(names)
    ]
    parts = [
        text(LEFT, 14, Message("drawing", "layer norm: a row"), "drawn-strong"),
        text(
            right + m * CELL,
            14,
            Message("drawing", "batch norm: a column"),
            "drawn-strong",
            text_anchor="end",
        ),
        *labels,
        _cells(state, (LEFT, top), lambda a, b: a == i),
        _cells(state, (right, top), lambda a, b: b == j),
        rect((LEFT - 1, top + i * ROW - 1, m * CELL + 2, ROW + 1), "drawn-taken"),
        rect((right + j * CELL - 1, top - 1, CELL + 1, n * ROW + 2), "drawn-taken"),
        text(LEFT, top + n * ROW + 16, Message("drawing", "dimensions →"), "drawn-small"),
    ]
    about = Message(
        "drawing",
        "The same numbers twice, tokens down and dimensions across. A layer norm takes the mean "
        "and the spread of one row, a batch norm those of one column.",
    )
    title = Message("drawing", "What each norm averages over")
    return svg("norms", (WIDTH, top + n * ROW + 22), title, about, parts)


def _cells(
    state: Sequence[Sequence[float]],
    corner: tuple[float, float],
    is_taken: Callable[[int, int], bool],
) -> Markup:
    """Numbers as colours; those that are not taken are pale."""
    high = max(abs(value) for row in state for value in row) or 1.0
    return Markup("").join(
        rect(
            (corner[0] + j * CELL, corner[1] + i * ROW, CELL - 1, ROW - 1),
            "drawn-plus" if value > 0 else "drawn-minus",
            fill_opacity=(abs(value) / high) ** 0.5 * (1.0 if is_taken(i, j) else 0.4),
        )
        for i, row in enumerate(state)
        for j, value in enumerate(row)
    )
