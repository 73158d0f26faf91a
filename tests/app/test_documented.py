"""docs/api.md names every field that a resource takes and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings

DOC = Path(__file__).parents[2] / "docs" / "api.md"
SPEC = create_app(Settings(threads=1)).openapi()
PATHS = [path for path in SPEC["paths"] if path.startswith("/api/v1/")]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return SPEC["components"]["schemas"][name] if name else schema


def fields_of(schema: dict[str, Any]) -> list[str]:
    return list(resolved(schema).get("properties", {}))


def taken(path: str) -> list[str]:
    """Of the body of POST, which has what the query string of GET has, else of the path."""
    operations = SPEC["paths"][path]
    if "post" in operations and "requestBody" in operations["post"]:
        content = operations["post"]["requestBody"]["content"]
        return fields_of(content.get("application/json", {"schema": {}})["schema"])
    return [parameter["name"] for parameter in operations["get"].get("parameters", [])]


def answered(path: str) -> list[str]:
    operation = SPEC["paths"][path].get("get") or SPEC["paths"][path]["post"]
    return fields_of(operation["responses"]["200"]["content"]["application/json"]["schema"])


def row(path: str) -> str:
    cells = [", ".join(f"`{name}`" for name in names) for names in (taken(path), answered(path))]
    return f"| `{path.removeprefix('/api/v1')}` | {cells[0]} | {cells[1]} |"


@pytest.mark.parametrize("path", PATHS)
def test_the_row_of_fields_is_that_of_the_models(path: str) -> None:
    assert row(path) in DOC.read_text("utf-8").splitlines(), f"docs/api.md lacks\n{row(path)}"
