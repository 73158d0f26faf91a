"""HTML made from the course's own Markdown, as a field that templates do not escape again."""

from __future__ import annotations

from typing import Annotated

from markupsafe import Markup, escape
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

# Only Markup passes as it is; any other text is escaped.
Html = Annotated[
    Markup,
    PlainValidator(lambda value: value if isinstance(value, Markup) else escape(value)),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
