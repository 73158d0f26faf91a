"""Drawings of matrices: attention row by row, heads side by side, the shapes of a computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attention_atlas.app.learn.svg import element, path, rect, svg, text, width_of
from attention_atlas.model.messages import Message
from markupsafe import Markup

WIDTH = 400
NAMES, LINE = 92, 24  # pixels of a row's name, and of a row
LENGTH = WIDTH - NAMES - 24  # of the 1 that a query shares out
COLUMNS, SIDE, NEXT, DOWN = 3, 96, 134, 160  # of the heads' pictures: a row of them, pixels
LEAST = 0.02  # attention that a cell is drawn for


class Sharing(NamedTuple):
    """A query word, and its attention to each word."""

    word: str
    shares: Sequence[float]
    is_chosen: bool


def shared(rows: Sequence[Sharing], words: Sequence[str]) -> Markup:
    """A bar of the same length for each query, cut into its shares."""
    end = 22 + len(rows) * LINE
    parts = [
        path(f"M{NAMES} 18V{end}M{NAMES + LENGTH} 18V{end}", "drawn-axis"),
        text(NAMES, 12, "0", "drawn-small", text_anchor="middle"),
        text(NAMES + LENGTH, 12, "1", "drawn-small", text_anchor="middle"),
        *[_cut(row, words, 22 + i * LINE) for i, row in enumerate(rows)],
    ]
    about = Message(
        "drawing",
        "For each of {n} words a bar of length 1, cut into the shares of the words that it looks "
        "at; the largest is named. The table has them.",
        n=len(rows),
    )
    title = Message("drawing", "Each query shares out 1")
    return svg("shared", (WIDTH, end + 2), title, about, parts)


def _cut(row: Sharing, words: Sequence[str], y: float) -> Markup:
    most = max(range(len(words)), key=row.shares.__getitem__)
    name = "drawn-strong" if row.is_chosen else ""
    parts = [text(NAMES - 8, y + 14, row.word, name, text_anchor="end")]
    x = float(NAMES)
    for i, share in enumerate(row.shares):
        width = share * LENGTH
        parts.append(rect((x, y, width, LINE - 5), "drawn-most" if i == most else "drawn-part"))
        if i == most and width_of(words[i], 12.5) + 8 < width:
            inside = "drawn-inside"
            parts.append(text(x + width / 2, y + 14, words[i], inside, text_anchor="middle"))
        x += width
    if row.is_chosen:
        parts.append(rect((NAMES, y, LENGTH, LINE - 5), "drawn-outline"))
    return element("g", Markup("").join(parts), data_term="attention")


class Pattern(NamedTuple):
    """One head on one text: its role, its name, its score, and its attention."""

    role: str | Message
    name: str
    score: float
    attn: Sequence[Sequence[float]]


def patterns(heads: Sequence[Pattern]) -> Markup:
    """The attention of several heads, each by itself; rows are queries, columns keys."""
    n_row = -(-len(heads) // COLUMNS)
    parts = [
        _pattern(head, (i % COLUMNS) * NEXT, (i // COLUMNS) * DOWN) for i, head in enumerate(heads)
    ]
    about = Message(
        "drawing",
        "The attention of {n} heads as small squares; rows are queries, columns keys. What each "
        "does, and its score, is in the table.",
        n=len(heads),
    )
    title = Message("drawing", "Heads and what they are called")
    return svg("patterns", (WIDTH, n_row * DOWN), title, about, parts)


def _pattern(head: Pattern, x: float, y: float) -> Markup:
    cell = SIDE / max(len(head.attn), len(head.attn[0]))
    size = (len(head.attn[0]) * cell, len(head.attn) * cell)
    cells = [
        rect(
            (x + k * cell, y + 18 + q * cell, cell, cell),
            "drawn-plus",
            fill_opacity=f"{min(share, 1.0) ** 0.7:.2f}",
        )
        for q, row in enumerate(head.attn)
        for k, share in enumerate(row)
        if share >= LEAST
    ]
    parts = [
        text(x, y + 12, head.role, "drawn-strong"),
        *cells,
        rect((x, y + 18, *size), "drawn-frame"),
        text(x, y + 32 + size[1], head.name, "drawn-small"),
        text(x, y + 46 + size[1], f"{head.score:.2f}", "drawn-small"),
    ]
    return element("g", Markup("").join(parts), data_term="attention")


class Sizes(NamedTuple):
    T: int
    D: int
    d: int


def shapes(sizes: Sizes) -> Markup:
    """The matrices of a head on a text, one row of them a token, behind them those of a batch."""
    T, D, d = sizes
    high, row = min(20 + 5 * T, 84), max(min(20 + 5 * T, 84) / T, 2)
    wide, head, top = 104, 30, 166
    first = [
        _Matrix(wide, high, "X", f"{T} × {D}", True),
        _Matrix(head, wide, "W", f"{D} × {d}", False),
        _Matrix(head, high, "Q, K, V", f"{T} × {d}", True),
    ]
    second = [
        _Matrix(head, high, "Q", f"{T} × {d}", True),
        _Matrix(high, head, "Kᵀ", f"{d} × {T}", False),
        _Matrix(high, high, "A", f"{T} × {T}", True),
        _Matrix(head, high, "V", f"{T} × {d}", False),
        _Matrix(head, high, "Z", f"{T} × {d}", True),
    ]
    parts = [
        *_product(first, 0, row, "×="),
        *_product(second, top, row, "×=×="),
        text(184, top + high + 56, Message("drawing", "A: softmax of Q Kᵀ / √d"), "drawn-small"),
        *_legend(262),
    ]
    about = Message(
        "drawing",
        "X times W is Q, K or V; the softmax of Q times K transposed is A; A times V is Z. One row "
        "of X, Q, A and Z is filled: it belongs to one token. The sizes are in the table.",
    )
    title = Message("drawing", "Shapes of the matrices of a head")
    return svg("shapes", (WIDTH, top + high + 62), title, about, parts)


class _Matrix(NamedTuple):
    """A matrix in pixels, its name and its shape; `rows` where a row of it is a query token."""

    width: float
    height: float
    name: str
    shape: str
    rows: bool


def _product(matrices: Sequence[_Matrix], y: float, row: float, signs: str) -> list[Markup]:
    """Matrices in a line, with a sign between each two."""
    parts, x = [], 10.0
    for matrix, sign in zip(matrices, (*signs, ""), strict=True):
        parts.append(_sheet(matrix, x, y, row))
        x += matrix.width
        parts.append(text(x + 20, y + 22, sign, text_anchor="middle"))
        x += 30
    return parts


def _sheet(matrix: _Matrix, x: float, y: float, row: float) -> Markup:
    """A matrix with those of a batch behind it, but for the parameters, which are the same."""
    width, height, name, shape, rows = matrix
    behind = [rect((x + i, y + i, width, height), "drawn-matrix") for i in (8, 4)]
    start = row if 2 * row <= height else 0  # the second token
    middle = {"class_": "drawn-small", "text_anchor": "middle"}
    parts = [
        *(behind if name != "W" else []),
        rect((x, y, width, height), "drawn-sheet"),
        *([rect((x, y + start, width, row), "drawn-most")] if rows else []),
        text(x + width / 2, y + height + 22, name, "drawn-strong", text_anchor="middle"),
        text(x + width / 2, y + height + 37, shape, **middle),
    ]
    return element("g", Markup("").join(parts))


def _legend(x: float) -> list[Markup]:
    lines = [
        ("drawn-most", Message("drawing", "one token")),
        ("drawn-sheet", Message("drawing", "one text")),
        ("drawn-matrix", Message("drawing", "further texts")),
    ]
    return [
        part
        for i, (class_, words) in enumerate(lines)
        for part in (
            rect((x + 20, 4 + i * 22, 16, 12), class_),
            text(x + 42, 14 + i * 22, words, "drawn-small"),
        )
    ]
