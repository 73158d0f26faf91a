"""The messages to users in the code: what the catalogues must have."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from attention_atlas.app.pages.stand_in import IGNORED, UNKNOWN
from attention_atlas.app.validation import OTHER, WORDINGS

ROOT = Path(__file__).parents[1]


def calls(name: str) -> list[ast.Call]:
    """Every call of a name in app/ and model/, training apart."""
    return every_call().get(name, [])


@cache
def every_call() -> dict[str, list[ast.Call]]:
    """Calls by the last part of the name that is called."""
    paths = [path for top in ("app", "model") for path in (ROOT / top).rglob("*.py")]
    trees = [ast.parse(path.read_text("utf-8")) for path in paths if "training" not in path.parts]
    by_name: dict[str, list[ast.Call]] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                by_name.setdefault(name, []).append(node)
    return by_name


def templates() -> list[str]:
    """The template of every message in the code."""
    arguments = [node.args[1] for node in calls("Message") if len(node.args) == 2]
    values = [node.value for node in arguments if isinstance(node, ast.Constant)]
    values += [ast.literal_eval(node.args[0]) for node in calls("spanning")]
    wordings = [wording.template for wording in (*WORDINGS.values(), OTHER)]
    return sorted({*values, *wordings, IGNORED, UNKNOWN})
