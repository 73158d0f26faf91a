"""How a page about one model starts: the models that it is for, the one shown, its examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from attention_atlas.app import errors
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.pages.engine import Choice, Example, QueryT, examples_for, opened
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message

UNABLE = {
    "translate": Message("not-able", "does not translate"),
    "generate": Message("not-able", "does not generate text"),
    "fill-mask": Message("not-able", "does not fill in blanks"),
}


@dataclass(frozen=True)
class Audience:
    """The models that a page is for."""

    page: str  # whose examples
    suits: Callable[[ModelSummary], bool]
    none: Message  # where no model suits
    why_not: Callable[[ModelSummary], str]  # one does not suit


@dataclass(frozen=True)
class Start(Generic[QueryT]):
    """What the address chooses, with what it leaves out taken from an example."""

    service: Service
    query: QueryT
    choice: Choice
    every: list[ModelSummary]
    models: list[ModelSummary]  # those that the page is for
    model: ModelSummary
    examples: list[Example]
    example: int | None

    @property
    def fields(self) -> dict[str, Any]:
        """Those that all these pages have."""
        return {
            "models": self.models,
            "model": self.model.name,
            "examples": self.examples,
            "example": self.example,
            "ignored": self.choice.ignored,
        }


def for_task(page: str, task: str) -> Audience:
    """The models that have a task."""
    none = Message(
        "no-suitable-model", "no loaded model is for {task}; /models lists the models", task=task
    )
    return Audience(page, lambda model: task in model.tasks, none, lambda model: UNABLE[task])


async def started(
    service: Service,
    query: QueryT,
    audience: Audience,
    *,
    beside: str = "",
    typed: tuple[str, ...] = (),
) -> Start[QueryT]:
    """Open the address's models and choose the one to show. NotReady if no model suits.

    `beside`: a second model; `typed`: the fields that count as typed, if not the text alone.
    """
    ignored = await opened(service, query.model, beside)
    every = summaries(service)
    models = [model for model in every if audience.suits(model)]
    if not models:
        raise errors.NotReady(audience.none)
    examples = examples_for(models, audience.page)
    choice = Choice(query, ignored)
    model = choice.model(models, {each.name: audience.why_not(each) for each in every})
    query, example = choice.take_example(query, examples, every, typed)
    return Start(service, query, choice, every, models, model, examples, example)
