"""The course: its chapters, one step at a time, a chapter for print, and the glossary."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app import errors
from attention_atlas.app.language import of_request
from attention_atlas.app.learn.answers import ANSWERS
from attention_atlas.app.learn.course import (
    Chapter,
    Question,
    Step,
    chapter_of,
    course,
    glossary,
    returned,
)
from attention_atlas.app.learn.html import Html
from attention_atlas.app.learn.out import TEXTS, FigureOut, figure_out, filled
from attention_atlas.app.learn.source import lines_of
from attention_atlas.app.pages.engine import Content, PageQuery, answered, page
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Query, Request
from markupsafe import Markup
from pydantic import BaseModel, Field

router = APIRouter(tags=["pages"])


class StepLink(BaseModel):
    chapter: int
    step: str
    title: str
    href: str


class ChapterLink(BaseModel):
    number: int
    title: str
    lead: Html
    href: str
    steps: list[StepLink]


class OptionText(BaseModel):
    key: str
    html: Html


class QuestionOut(BaseModel):
    """A question; `answer` is the key of the right option, computed from a run."""

    id: str
    chapter: int
    html: Html
    options: list[OptionText]
    answer: str
    feedback: Html


class CodeOut(BaseModel):
    path: str
    symbol: str
    line: int
    code: str
    html: Html


class StepOut(BaseModel):
    id: str
    title: str
    prose: Html
    predict: Html
    attempt: Html = Field(description="what to try")
    terms: list[str] = Field(description="entries of the glossary that the formulas name")
    figure: FigureOut | None
    questions: list[QuestionOut]
    code: list[CodeOut]


class EntryOut(BaseModel):
    id: str
    term: str
    english: str
    html: Html


class LearnPage(Content):
    chapters: list[ChapterLink]


class ChapterPage(LearnPage):
    """A whole chapter, for reading and for print."""

    chapter: int
    title: str = ""
    lead: Html = Markup("")
    steps: list[StepOut] = []


class StepPage(LearnPage):
    chapter: int
    title: str = ""
    step: StepOut | None = None
    number: int = Field(0, description="of the step in its chapter, from 0")
    before: StepLink | None = None
    after: StepLink | None = None
    terms: dict[str, str] = Field({}, description="glossary entries of the formulas, by their id")


class GlossaryPage(LearnPage):
    entries: list[EntryOut]


class StepQuery(PageQuery):
    text: str = ""
    text_b: str = ""


@page("/learn", "learn.html", LearnPage, router)
async def learn(request: Request) -> LearnPage:
    """The chapters of the course and their steps."""
    return LearnPage(chapters=chapter_links())


@page("/learn/glossary", "learn_glossary.html", GlossaryPage, router)
async def learn_glossary(request: Request) -> GlossaryPage:
    """The terms of the course in the page's language, with their English names."""
    entries = [
        EntryOut(id=e.id, term=e.term, english=e.english, html=e.html)
        for e in glossary(of_request.get())
    ]
    return GlossaryPage(chapters=chapter_links(), entries=entries)


@page("/learn/{chapter}", "learn_chapter.html", ChapterPage, router)
async def learn_chapter(request: Request, chapter: str) -> ChapterPage:
    """A whole chapter: the text, the figures' numbers and the questions."""
    service: Service = request.app.state.service
    fields = {"chapters": chapter_links(), "chapter": int(chapter) if chapter.isdecimal() else -1}
    return await answered(ChapterPage, fields, _chapter(service, chapter))


@page("/learn/{chapter}/{step}", "learn_step.html", StepPage, router)
async def learn_step(
    request: Request, chapter: str, step: str, query: Annotated[StepQuery, Query()]
) -> StepPage:
    """One step: its text, and its figure computed on the reader's sentence."""
    service: Service = request.app.state.service
    fields = {"chapters": chapter_links(), "chapter": int(chapter) if chapter.isdecimal() else -1}
    return await answered(StepPage, fields, _step(service, chapter, step, query))


def address(chapter: int, step: str) -> str:
    return f"/learn/{chapter}/{step}"


def chapter_links() -> list[ChapterLink]:
    return [
        ChapterLink(
            number=c.number,
            title=c.title,
            lead=c.lead,
            href=f"/learn/{c.number}",
            steps=[step_link(c, step) for step in c.steps],
        )
        for c in course(of_request.get())
    ]


def step_link(chapter: Chapter, step: Step) -> StepLink:
    href = address(chapter.number, step.id)
    return StepLink(chapter=chapter.number, step=step.id, title=step.title, href=href)


async def _chapter(service: Service, number: str) -> dict[str, Any]:
    chapter = _chapter_of(number)
    steps = await service.compute(lambda: [_step_out(service, chapter, s) for s in chapter.steps])
    return {"title": chapter.title, "lead": chapter.lead, "steps": steps}


async def _step(service: Service, number: str, name: str, query: StepQuery) -> dict[str, Any]:
    chapter = _chapter_of(number)
    numbers = {step.id: i for i, step in enumerate(chapter.steps)}
    if name not in numbers:
        raise errors.UnknownStep(
            Message(
                "unknown-step",
                "chapter {chapter} has no step {step!r}; there are {have}",
                chapter=chapter.number,
                step=name[:60],
                have=", ".join(numbers),
            ),
            "step",
        )
    step = chapter.steps[numbers[name]]
    texts = {field: getattr(query, field) for field in TEXTS}
    made = await service.compute(lambda: _step_out(service, chapter, step, texts))
    words = {entry.id: entry.term for entry in glossary(of_request.get())}
    links = [step_link(c, s) for c in course(of_request.get()) for s in c.steps]
    i = [link.href for link in links].index(address(chapter.number, step.id))
    return {
        "title": chapter.title,
        "step": made,
        "number": numbers[name],
        "before": links[i - 1] if i else None,
        "after": links[i + 1] if i + 1 < len(links) else None,
        "terms": {term: words[term] for term in made.terms},
    }


def _chapter_of(number: str) -> Chapter:
    chapter = chapter_of(of_request.get(), number)
    if chapter is None:
        last = course(of_request.get())[-1].number
        raise errors.UnknownStep(
            Message(
                "unknown-chapter",
                "there is no chapter {chapter!r}; there are 0 to {last}",
                chapter=number[:60],
                last=last,
            ),
            "chapter",
        )
    return chapter


def _step_out(
    service: Service, chapter: Chapter, step: Step, texts: dict[str, str] | None = None
) -> StepOut:
    figure = figure_out(service, step.figure, texts or {}) if step.figure else None
    questions = [(chapter.number, question) for question in step.questions]
    if questions:
        questions += returned(course(of_request.get()), chapter)
    return StepOut(
        id=step.id,
        title=step.title,
        prose=step.prose,
        predict=filled(step.predict, figure.values) if figure and figure.values else step.predict,
        attempt=step.attempt,
        terms=list(step.terms),
        figure=figure,
        questions=[_question_out(service, number, question) for number, question in questions],
        code=[_code_out(*part) for part in step.code],
    )


def _question_out(service: Service, chapter: int, question: Question) -> QuestionOut:
    """A question with its right answer; none where its model is not there."""
    try:
        answer = ANSWERS[question.id](service)
    except errors.AppError:
        answer = ""
    return QuestionOut(
        id=question.id,
        chapter=chapter,
        html=question.text,
        options=[OptionText(key=key, html=html) for key, html in question.options],
        answer=answer,
        feedback=question.feedback,
    )


def _code_out(name: str, html: Markup) -> CodeOut:
    path, _, symbol = name.partition(" ")
    line, code = lines_of(path, symbol)
    return CodeOut(path=path, symbol=symbol, line=line, code=code, html=html)
