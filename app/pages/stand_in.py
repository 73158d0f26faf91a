"""What a page takes when it cannot show the model, or the sentence, of the context it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attention_atlas.app import language
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.errors import FieldError, field_error
from attention_atlas.model.messages import Message
from pydantic import BaseModel, Field

MEAN = "mean"  # of all heads, in an address
SIDES = ("query", "key")  # of the locked token
IGNORED = "{field} {value}: {why}"
UNKNOWN = "{field} {value} does not exist: {why}"
NOT_THERE = "does-not-exist"  # the code of a value that is ignored
NAMES = {"en": Message("language-name", "English"), "es": Message("language-name", "Spanish")}


class Step(BaseModel):
    """A step of decoding, as an address has it."""

    step: int = Field(ge=0)


def shown_instead(why: str, taken: str) -> Message:
    return Message("stands-in", "{why}; {taken} is shown instead", why=why, taken=taken)


def used_instead(why: str, default: object) -> str:
    """Why a number is not accepted, and the one that is used."""
    if not isinstance(default, int | float):
        return why
    return Message("used-instead", "{why}; {taken} is used instead", why=why, taken=default)


def within(fields: Mapping[str, Any], n_step: int) -> dict[str, Any]:
    """The last step and a word about it, in place of a step beyond the last."""
    step, last = fields["step"], max(0, n_step - 1)
    if step <= last:
        return {}
    why = listed([str(i) for i in range(last + 1)])
    message = Message(NOT_THERE, UNKNOWN, field="step", value=step, why=why)
    return {"step": last, "ignored": [*fields["ignored"], field_error("step", message)]}


def lock(among: Callable[[str, Sequence[str]], str], n_token: int) -> dict[str, Any]:
    """The token that an address locks, if the text has it; `among` chooses and names the rest."""
    query = among("query", ["", *map(str, range(n_token))])
    return {"query": int(query) if query else None, "side": among("side", SIDES)}


def with_taken(error: FieldError, page: BaseModel) -> FieldError:
    """What of an address is ignored, and what the page has taken in its place."""
    taken = getattr(page, error.field, None)
    if taken is None and error.field == "head":
        taken = MEAN
    if error.code == NOT_THERE and taken is None and error.field in ("query", "query_b"):
        none = Message("none-locked", "{why}; no token is locked", why=error.message)
        return error.model_copy(update={"message": language.in_words(none)})
    if error.code != NOT_THERE or not isinstance(taken, str | int) or taken == "":
        return error
    instead = shown_instead(error.message, str(taken))
    return error.model_copy(update={"message": language.in_words(instead)})


def language_of(model: ModelSummary | None) -> str:
    """The language that a bundled model reads; empty where that is not known."""
    if model is None or model.source != "bundled":
        return ""
    return "es" if "translate" in model.tasks else "en"


def other_language(before: ModelSummary | None, taken: ModelSummary) -> Message | None:
    """Why a sentence for one model is not for another: it is in another language."""
    language = language_of(taken)
    if not language or language_of(before) in ("", language):
        return None
    return Message(
        "other-language",
        "{taken} reads {language}; an example is shown instead",
        taken=taken.name,
        language=NAMES[language],
    )


def listed(names: Sequence[str]) -> str:
    """Which values there are."""
    if len(names) < 4:
        return ", ".join(names)
    if names[-1] == MEAN:
        return Message("or", "{span} or {other}", span=listed(names[:-1]), other=MEAN)
    return Message("span", "{first} to {last}", first=names[0], last=names[-1])
