"""SVG for drawings made on the server: coloured by classes, so that it follows the page's theme."""

from __future__ import annotations

from collections.abc import Iterable

from attention_atlas.app.language import in_words
from markupsafe import Markup, escape

NARROW, WIDE = 0.56, 1.0  # of a character's width in ems: Latin, Chinese


def width_of(text: str, size: float) -> float:
    """About how wide a text is."""
    return size * sum(WIDE if ord(c) > 0x2E80 else NARROW for c in text)


def number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def element(tag: str, content: Markup | str = "", /, **attributes: float | str | None) -> Markup:
    """class_ is class; another underscore is a hyphen; None leaves an attribute out."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    written = Markup("").join(
        Markup(' {}="{}"').format(name, number(value) if isinstance(value, int | float) else value)
        for name, value in named.items()
        if value is not None
    )
    return Markup("<{}{}>{}</{}>").format(Markup(tag), written, content, Markup(tag))


def rect(box: tuple[float, float, float, float], class_: str, **more: float | str | None) -> Markup:
    x, y, width, height = box
    return element("rect", x=x, y=y, width=width, height=height, class_=class_, **more)


def text(x: float, y: float, words: str, class_: str = "", **more: float | str | None) -> Markup:
    return element("text", escape(in_words(words)), x=x, y=y, class_=class_ or None, **more)


def path(d: str, class_: str) -> Markup:
    return element("path", d=d, class_=class_)


def arrow(x0: float, y0: float, x1: float, y1: float, class_: str = "") -> Markup:
    """A straight arrow along one axis, its head included."""
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    base_x, base_y = x1 - 7 * dx, y1 - 7 * dy
    head = f"M{x1:g} {y1:g}L{base_x + 4 * dy:g} {base_y + 4 * dx:g}"
    head += f"L{base_x - 4 * dy:g} {base_y - 4 * dx:g}Z"
    line = path(f"M{x0:g} {y0:g}L{base_x:g} {base_y:g}", f"drawn-line {class_}".strip())
    return line + path(head, f"drawn-head {class_}".strip())


def box(x: float, y: float, size: tuple[float, float], words: str, class_: str) -> Markup:
    """A rounded box with a text in its middle."""
    width, height = size
    label = text(x + width / 2, y + height / 2 + 4.5, words, text_anchor="middle")
    return element("g", rect((x, y, width, height), "", rx=6) + label, class_=f"box {class_}")


def svg(
    name: str, size: tuple[int, int], title: str, about: str, parts: Iterable[Markup]
) -> Markup:
    """A drawing with its title, and what it shows for those who do not see it."""
    names = {"title": f"{name}-title", "desc": f"{name}-desc"}
    head = element("title", escape(in_words(title)), id=names["title"])
    head += element("desc", escape(in_words(about)), id=names["desc"])
    return element(
        "svg",
        head + Markup("").join(parts),
        class_=f"drawn drawn-{name}",
        viewBox=f"-1 -1 {size[0] + 2} {size[1] + 2}",
        role="img",
        aria_labelledby=names["title"],
        aria_describedby=names["desc"],
    )
