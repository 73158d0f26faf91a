"""What /openapi.json says beside what FastAPI finds out: every error, header and event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attention_atlas.app import access, errors
from attention_atlas.app.api.spec import SETTING
from attention_atlas.app.settings import Settings
from fastapi import FastAPI

Schema = dict[str, Any]
WHY = {  # what any address may answer
    "400": "the address has too many parameters, or the body is not text in UTF-8",
    "403": "not allowed here; says why",
    "414": "the address is over the limit",
    "429": "too many requests from one address; Retry-After says when to ask again",
    "500": "a mistake of ours; the server's log has the details",
}
OF_BODIES = {
    "408": "the body did not come in time",
    "413": "the body is over the limit",
}
RETRY = ("429", "503")
PROBLEM = {"$ref": f"#/components/schemas/{errors.Problem.__name__}"}
TEXT = {"type": "string"}
HEADERS: dict[str, Schema] = {
    access.HEADER: {"description": "the request's id, as in the log", "schema": TEXT},
    "ETag": {"description": "of the request, the weights and the versions", "schema": TEXT},
    "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}},
}


def install(app: FastAPI, settings: Settings) -> None:
    """Let /openapi.json and /docs have the whole description."""
    plain = app.openapi

    def whole() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = completed(plain(), settings)
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]


def completed(schema: Schema, settings: Settings) -> Schema:
    """FastAPI's schema with what our middleware and our error handlers answer."""
    components = schema["components"]
    components["headers"] = HEADERS
    components["schemas"].setdefault(errors.Problem.__name__, errors.Problem.model_json_schema())
    for operation in operations(schema):
        answers = operation["responses"]
        for status, why in (WHY | (OF_BODIES if "requestBody" in operation else {})).items():
            answers.setdefault(status, {"description": why})
        for status, answer in answers.items():
            _describe(status, answer, is_cached="304" in answers)
    for part in list(parts(schema)):
        _share(part, components["schemas"])
        if name := part.pop(SETTING, None):
            part["maxLength"] = getattr(settings, name)
    return schema


def operations(schema: Schema) -> Iterator[Schema]:
    for item in schema["paths"].values():
        yield from item.values()


def parts(schema: Any) -> Iterator[Schema]:
    """Every object in a schema."""
    if isinstance(schema, dict):
        yield schema
    for child in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(child, dict | list):
            yield from parts(child)


def _describe(status: str, answer: Schema, *, is_cached: bool) -> None:
    """The headers of an answer, and of an error its problem."""
    names = [access.HEADER]
    names += ["ETag"] if is_cached and status in ("200", "304") else []
    names += ["Retry-After"] if status in RETRY else []
    answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    if status >= "400":
        answer.setdefault("content", {})[errors.MEDIA_TYPE] = {"schema": PROBLEM}


def _share(part: Schema, schemas: Schema) -> None:
    """Definitions inside a schema go where all others are."""
    for name, definition in part.pop("$defs", {}).items():
        schemas.setdefault(name, definition)
