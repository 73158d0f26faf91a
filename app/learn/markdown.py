"""Markdown with formulas, glossary links and `::: name` containers; formulas become MathML.

markdown-it-py parses, dollarmath of mdit-py-plugins finds formulas, latex2mathml renders them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

CONTAINERS = ("figure", "predict", "try", "question", "code")
TERM = "term:"  # [query](term:query) links to the glossary
FORMULA = "math block"  # the class that dollarmath gives a formula on its own lines
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
SYMBOLS = {  # a formula's symbol -> its glossary entry, which lights up its part of the picture
    **{"q": "query", "Q": "query", "k": "key", "K": "key", "v": "value", "V": "value"},
    **{"s": "score", "S": "score", "α": "attention", "A": "attention", "softmax": "softmax"},
    **{"z": "output", "Z": "output", "c": "context", "x": "residual", "X": "residual"},
    **{"d": "d_head", "D": "d_model", "T": "length", "M": "mask", "τ": "temperature"},
    **{"h": "state", "p": "position", "H": "head"},
}
CLOSED = re.compile(
    r'<(\w+) class="math inline">(?:(?!</math>).)*</math></span></\1>[,.:;!?)，。：；！？、）”]+'
)
UNSUITED = re.compile(r"\\(?:operatorname\*|!|boxed|tag)|\\begin\{aligned\}")


class Block(NamedTuple):
    """Prose, or a container: its name's first word, the rest of that line, and what it holds."""

    kind: str  # "text" or one of CONTAINERS
    name: str
    tokens: tuple[Token, ...]

    @property
    def html(self) -> Markup:
        return rendered(self.tokens)


class Section(NamedTuple):
    """A second-level heading `## id: title`, and its blocks; the first section has none."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@cache
def parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.use(
        dollarmath_plugin, renderer=lambda tex, how: mathml(tex, display=how["display_mode"])
    )
    for name in CONTAINERS:
        parser.use(container_plugin, name=name)
    return parser


def rendered(tokens: Sequence[Token]) -> Markup:
    html = kept_whole(parser().renderer.render(list(tokens), parser().options, {}))
    # a formula that is wider than the screen scrolls, by keyboard too
    return Markup(html.replace(f'<div class="{FORMULA}">', f'<div class="{FORMULA}" tabindex="0">'))


def inline(text: str) -> Markup:
    """One line of Markdown, without a paragraph around it."""
    return Markup(kept_whole(parser().renderInline(text)))


def kept_whole(html: str) -> str:
    """A formula stays on one line with the punctuation after it: no line begins with a comma."""
    return CLOSED.sub(r'<span class="whole">\g<0></span>', html)


@cache
def mathml(tex: str, *, display: bool) -> str:
    """LaTeX as MathML whose symbols name their entry in the glossary."""
    if UNSUITED.search(tex):
        raise ValueError(f"latex2mathml does not render this well: {tex}")
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(convert(tex, display="block" if display else "inline"))
    for symbol in root.iter():
        if term := SYMBOLS.get((symbol.text or "").strip()):
            symbol.set("data-term", term)
    text = ElementTree.tostring(root, encoding="unicode")
    names = terms_in(text)
    return f'<span class="formula" data-terms="{" ".join(names)}">{text}</span>'


def terms_in(html: str) -> list[str]:
    """The glossary entries that formulas name, each once, in the order of the text."""
    return list(dict.fromkeys(re.findall(r'data-term="(\w+)"', html)))


def sections(text: str) -> tuple[str, list[Section]]:
    """The title of a file, and its sections."""
    title, parts = "", [("", "", list[Block]())]
    tokens = iter(parser().parse(text))
    for token in tokens:
        if token.type == "heading_open" and token.tag in ("h1", "h2"):
            heading = next(tokens).content
            next(tokens)
            if token.tag == "h1":
                title = heading
            else:
                name, _, words = heading.partition(": ")
                parts.append((name, words, []))
            continue
        _append(parts[-1][2], token, tokens)
    return title, [Section(name, words, tuple(blocks)) for name, words, blocks in parts]


def _append(blocks: list[Block], token: Token, rest: Iterator[Token]) -> None:
    """Add a token to the prose, or a whole container as a block of its own."""
    if token.type.startswith("container_"):
        kind, _, name = token.info.strip().partition(" ")
        blocks.append(Block(kind, name.strip(), tuple(_until_closed(rest))))
    elif blocks and blocks[-1].kind == "text":
        blocks[-1] = blocks[-1]._replace(tokens=(*blocks[-1].tokens, token))
    else:
        blocks.append(Block("text", "", (token,)))


def _until_closed(tokens: Iterator[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.type.startswith("container_"):
            return
        yield token


def groups(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """A container's paragraphs, lists and quotations, each by itself."""
    parts: list[tuple[Token, ...]] = []
    depth, start = 0, 0
    for i, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            parts.append(tuple(tokens[start : i + 1]))
            start = i + 1
    return parts
