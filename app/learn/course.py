"""The course as its Markdown files have it: chapters, steps, questions; and the glossary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attention_atlas.app.learn.markdown import (
    FORMULA,
    TERM,
    Block,
    Section,
    groups,
    inline,
    rendered,
    sections,
    terms_in,
)
from markupsafe import Markup

HERE = Path(__file__).parent
GLOSSARY = "glossary"
QUESTIONS, CODE = "questions", "code"  # the steps that end every chapter
BLOCK = re.compile(rf'<div class="{FORMULA}".*?</div>', re.DOTALL)
LATER = (1, 3)  # chapters after which a chapter's questions come back


@dataclass(frozen=True)
class Prose:
    html: Markup


@dataclass(frozen=True)
class AnnotatedFigure:
    """A figure by its name, and the annotation on it.

    `always` holds for any sentence; `observed` is shown where the observation is made.
    """

    name: str
    always: Markup
    observed: Markup


@dataclass(frozen=True)
class Question:
    id: str
    text: Markup
    options: tuple[tuple[str, Markup], ...]  # key, words
    feedback: Markup


@dataclass(frozen=True)
class Step:
    id: str
    title: str
    prose: Markup
    figure: AnnotatedFigure | None
    predict: Markup
    attempt: Markup  # "try this"
    questions: tuple[Question, ...]
    code: tuple[tuple[str, Markup], ...]  # "file symbol", what it does
    terms: tuple[str, ...]  # that its formulas name


@dataclass(frozen=True)
class Chapter:
    number: int
    title: str
    lead: Markup
    steps: tuple[Step, ...]

    @property
    def questions(self) -> tuple[Question, ...]:
        return tuple(question for step in self.steps for question in step.questions)


@dataclass(frozen=True)
class Entry:
    """A term, its English name where the page is in another language, and what it means."""

    id: str
    term: str
    english: str
    html: Markup


@cache
def course(code: str) -> tuple[Chapter, ...]:
    """All chapters in a language, parsed once."""
    files = sorted((HERE / code).glob("[0-9][0-9]-*.md"))
    return tuple(_chapter(int(path.name[:2]), path.read_text("utf-8")) for path in files)


@cache
def glossary(code: str) -> tuple[Entry, ...]:
    _, entries = sections((HERE / code / f"{GLOSSARY}.md").read_text("utf-8"))
    return tuple(_entry(section) for section in entries if section.id)


def _entry(section: Section) -> Entry:
    term, _, english = section.title.partition(" | ")
    html = Markup("").join(linked(block.html) for block in section.blocks)
    return Entry(section.id, term, english, html)


def chapter_of(code: str, number: str) -> Chapter | None:
    return next((c for c in course(code) if str(c.number) == number), None)


def returned(chapters: tuple[Chapter, ...], chapter: Chapter) -> list[tuple[int, Question]]:
    """The questions of earlier chapters that come back in this one, and their chapter."""
    due = [c for c in chapters if chapter.number - c.number in LATER]
    return [(c.number, question) for c in due for question in c.questions]


def linked(html: Markup) -> Markup:
    """Links to terms lead to the glossary."""
    to = r'class="term" href="/learn/glossary#\1"'
    return Markup(re.sub(rf'href="{TERM}([\w-]+)"', to, str(html)))


def _chapter(number: int, text: str) -> Chapter:
    title, (head, *steps) = sections(text)
    lead = Markup("").join(block.html for block in head.blocks)
    return Chapter(number, title, linked(lead), tuple(map(_step, steps)))


def _step(section: Section) -> Step:
    def of(kind: str) -> list[Block]:
        return [block for block in section.blocks if block.kind == kind]

    def html(kind: str) -> Markup:
        return Markup("").join(linked(block.html) for block in of(kind))

    prose = html("text")
    figures = [_figure(block) for block in of("figure")]
    if len(figures) > 1:
        raise ValueError(f"{section.id} has {len(figures)} figures: a step has one")
    return Step(
        section.id,
        section.title,
        prose,
        figures[0] if figures else None,
        html("predict"),
        html("try"),
        tuple(_question(block) for block in of("question")),
        tuple((block.name, linked(block.html)) for block in of("code")),
        tuple(terms_in("".join(BLOCK.findall(prose)))),
    )


def _figure(block: Block) -> AnnotatedFigure:
    first, *more = [linked(rendered(group)) for group in groups(block.tokens)] or [Markup("")]
    return AnnotatedFigure(block.name, first, Markup("").join(more))


def _question(block: Block) -> Question:
    parts = groups(block.tokens)
    texts = [part for part in parts if part[0].type == "paragraph_open"]
    [options] = [part for part in parts if part[0].type == "bullet_list_open"]
    feedback = [part for part in parts if part[0].type == "blockquote_open"]
    lines = [token.content for token in options if token.type == "inline"]
    pairs = [line.partition(": ") for line in lines]
    return Question(
        block.name,
        linked(Markup("").join(map(rendered, texts))),
        tuple((key, linked(inline(words))) for key, _, words in pairs),
        linked(Markup("").join(rendered(part[1:-1]) for part in feedback)),
    )
