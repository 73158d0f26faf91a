"""Pydantic's validation errors in our own words: no sentence of a library reaches a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attention_atlas.model.messages import Message

LONGEST_VALUE = 60  # characters of a value that are repeated in a message


class Wording(NamedTuple):
    """How a type of error is worded; `limit` is the name of the limit in Pydantic's context."""

    code: str
    template: str
    limit: str = ""


NOT_WHOLE = Wording("not-a-whole-number", "must be a whole number")
NOT_A_NUMBER = Wording("not-a-number", "must be a number")
NOT_A_BOOL = Wording("not-true-or-false", "must be true or false")
NOT_TEXT = Wording("not-text", "must be text")
NOT_A_LIST = Wording("not-a-list", "must be a list")
NOT_AN_OBJECT = Wording("not-an-object", "must be an object")
ONE_OF = Wording("not-one-of", "must be one of {limit}", "expected")
OTHER = Wording("not-accepted", "is not accepted")
WORDINGS = {
    "missing": Wording("missing", "is missing"),
    "extra_forbidden": Wording("unknown-field", "is not a field of this request"),
    "string_too_short": Wording("too-short", "needs at least {limit} characters", "min_length"),
    "string_too_long": Wording("too-long", "may have at most {limit} characters", "max_length"),
    "string_pattern_mismatch": Wording("wrong-form", "must have the form {limit}", "pattern"),
    "too_short": Wording("too-few", "needs at least {limit} items", "min_length"),
    "too_long": Wording("too-many", "may have at most {limit} items", "max_length"),
    "greater_than_equal": Wording("too-small", "must be at least {limit}", "ge"),
    "greater_than": Wording("too-small", "must be more than {limit}", "gt"),
    "less_than_equal": Wording("too-large", "may be at most {limit}", "le"),
    "less_than": Wording("too-large", "must be less than {limit}", "lt"),
    "json_invalid": Wording("not-json", "is not valid JSON"),
    "json_type": Wording("not-json", "is not valid JSON"),
    "int_parsing_size": Wording("too-large", "has too many digits"),
    "finite_number": Wording("not-finite", "must be a finite number"),
    "literal_error": ONE_OF,
    "enum": ONE_OF,
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), NOT_WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), NOT_A_NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), NOT_A_BOOL),
    **dict.fromkeys(("string_type", "string_unicode"), NOT_TEXT),
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), NOT_A_LIST),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"), NOT_AN_OBJECT
    ),
}


def in_our_words(row: Mapping[str, Any]) -> str:
    """One of Pydantic's errors as a message without the field's name: "must be at least 1"."""
    context = row.get("ctx") or {}
    if row["type"] == "value_error":  # raised by a validator of ours
        error = context["error"]
        reason = error.args[0] if isinstance(error, ValueError) and error.args else ""
        if isinstance(reason, Message):
            return reason
    wording = WORDINGS.get(row["type"], OTHER)
    limit = str(context.get(wording.limit, "")).replace("' or '", "', '")
    if isinstance(context.get(wording.limit), int | float):
        return Message(wording.code, wording.template, limit=context[wording.limit], **value(row))
    return Message(wording.code, wording.template, limit=limit, **value(row))


def value(row: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The value that was sent, where it is short enough to be repeated."""
    sent = row.get("input")
    if isinstance(sent, str):
        return {"value": sent.encode("utf-8", "replace").decode("utf-8")[:LONGEST_VALUE]}
    return {"value": sent} if isinstance(sent, int | float) else {}
