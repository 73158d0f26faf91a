"""The context that travels from page to page: sentence, model, kind, layer, head and token.

It is read from a page's address, or from what the page shows, and written into the address of
another page. `static/js/lib/context.js` does the same in the browser, from the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple
from urllib.parse import urlencode

from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.navigation import LINKS
from attention_atlas.model.analysis.roles import DEFINITIONS, roles_of_card
from attention_atlas.model.zoo import Loaded
from pydantic import BaseModel, ConfigDict

HEAD = ("kind", "layer", "head", "query", "side")  # what only a page that has this head is given
BATCH = "This is a test"  # a second text, so that a batch of one's own sentence has padding


class Context(BaseModel):
    """Each part as an address has it; empty where there is none."""

    model_config = ConfigDict(frozen=True)

    model: str = ""
    text: str = ""
    text_pair: str = ""
    text_b: str = ""
    target: str = ""
    source_lang: str = ""
    target_lang: str = ""
    kind: str = ""
    layer: str = ""
    head: str = ""
    query: str = ""
    side: str = ""


class Names(NamedTuple):
    """How a page's address has the context, where that is not by the context's own names."""

    names: Mapping[str, str] = {}  # part of the context -> parameter; "" is not carried
    has_head: bool = True  # the page shows a head, or a layer
    kind: str = ""  # of attention, if the page shows one kind alone; "first" is the model's first
    is_batch: bool = False  # its texts are lines, of which `row` is shown
    keeps_first: bool = False  # the sentence that it opens with is carried though nobody chose it


PAGES: dict[str, Names] = {
    "/explore": Names(keeps_first=True),
    "/compare": Names(keeps_first=True),
    "/translate": Names(kind="cross"),
    "/generate": Names(kind="decoder"),
    "/fill": Names(kind="encoder"),
    "/classify": Names(kind="first"),
    "/attention": Names({"query": "word"}, kind="first"),
    "/masks": Names({"text": "texts"}, is_batch=True),
    "/lab": Names(),
    "/positions": Names({"text_b": ""}, has_head=False),
}
ELSEWHERE = Names(has_head=False)  # a page that shows no sentence of its own hands all on

Suits = Callable[[ModelSummary, str], bool]
SUITS: dict[str, Suits] = {  # whether a head of this kind has a meaning on a page
    "/explore": lambda model, kind: True,
    "/compare": lambda model, kind: True,
    "/attention": lambda model, kind: has_scores(model) and kind == model.kinds[0],
    "/masks": lambda model, kind: has_scores(model),
    "/lab": lambda model, kind: can_replace(model),
    "/translate": lambda model, kind: "translate" in model.tasks and kind == "cross",
    "/generate": lambda model, kind: "generate" in model.tasks and kind == "decoder",
    "/fill": lambda model, kind: "fill-mask" in model.tasks and kind == "encoder",
    "/classify": lambda model, kind: model.classes is not None and kind == model.kinds[0],
}


def has_scores(model: ModelSummary) -> bool:
    return model.family != "recurrent" and not model.lacks


def can_replace(model: ModelSummary) -> bool:
    """Whether what a head writes can be replaced, and a prediction changes with it."""
    return model.family != "recurrent" and not {"edits", "predictions"} & {*model.lacks}


def suited_pages(models: Sequence[ModelSummary]) -> dict[str, dict[str, list[str]]]:
    """model -> kind -> the pages on which its heads have a meaning."""
    return {
        model.name: {
            kind: [path for path, suits in SUITS.items() if suits(model, kind)]
            for kind in model.kinds
        }
        for model in models
    }


Badges = dict[str, dict[str, dict[str, Any]]]


def badges(models: Iterable[Loaded]) -> Badges:
    """model -> kind -> "layer.head" -> its best role by the model's card."""
    found: Badges = {}
    for loaded in models:
        roles = roles_of_card(loaded.card.heads, loaded.card.metrics, loaded.family)
        of_model = found.setdefault(loaded.name, {})
        for role in sorted(roles, key=lambda role: role.score):
            of_model.setdefault(role.kind, {})[f"{role.layer}.{role.head}"] = asdict(role)
    return found


# Reading.


def of_address(path: str, params: Mapping[str, str]) -> Context:
    """The context of a page's address."""
    page = PAGES.get(path, ELSEWHERE)
    values = {key: params.get(_name(page, key), "") for key in Context.model_fields}
    if page.is_batch:
        values["text"] = _line(
            values["text"].replace("\r\n", "\n").split("\n"), params.get("row", "")
        )
    return _whole(page, values)


def of_content(path: str, content: BaseModel, params: Mapping[str, str]) -> Context:
    """The context of what a page shows; parts that it does not show are its address's."""
    page = PAGES.get(path, ELSEWHERE)
    values = of_address(path, params).model_dump()
    for key in Context.model_fields:
        value = getattr(content, _name(page, key), None)
        if isinstance(value, list):
            value = _line(value, str(getattr(content, "row", 0)))
        if isinstance(value, str | int) and value != "":
            values[key] = str(value)
    return _whole(page, values)


def _name(page: Names, key: str) -> str:
    return page.names.get(key, key)


def _line(lines: Sequence[str], row: str) -> str:
    index = int(row) if row.isdecimal() and len(row) < 4 else 0
    return lines[index] if index < len(lines) else ""


def _whole(page: Names, values: dict[str, Any]) -> Context:
    """Without a head that is a mean of heads, and a locked token that is none."""
    for key in ("layer", "head", "query"):
        if not values[key].isdecimal():
            values[key] = ""
    if page.kind and page.kind != "first":
        values["kind"] = page.kind
    return Context(**values)


# Writing.


def address(context: Context, path: str, suited: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """A page's address in this context; a head goes along where it has a meaning."""
    query = urlencode(parameters(context, path, suited))
    return f"{path}?{query}" if query else path


def parameters(
    context: Context, path: str, suited: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, str]:
    page = PAGES.get(path, ELSEWHERE)
    keeps_head = not page.has_head or path in see_in(context, suited)
    result = {}
    for key, value in context.model_dump().items():
        name = _name(page, key)
        if not value or not name or (key in HEAD and not keeps_head):
            continue
        if (key == "kind" and page.kind) or (name == "word" and context.side == "key"):
            continue
        result[name] = f"{value}\n{BATCH}" if page.is_batch and key == "text" else value
    return result


def see_in(context: Context, suited: Mapping[str, Mapping[str, Sequence[str]]]) -> Sequence[str]:
    """The pages on which the head of the context has a meaning."""
    kinds = suited.get(context.model, {})
    return kinds.get(context.kind or next(iter(kinds), ""), ())


def table(
    suited: Mapping[str, Mapping[str, Sequence[str]]], named: Badges, path: str
) -> dict[str, Any]:
    """What the browser needs to do the same."""
    return {
        "path": path,
        "keys": list(Context.model_fields),
        "head": HEAD,
        "batch": BATCH,
        "pages": {name: page._asdict() for name, page in PAGES.items()},
        "elsewhere": ELSEWHERE._asdict(),
        "suited": suited,
        "badges": named,
        "definitions": DEFINITIONS,
    }


def labels() -> dict[str, str]:
    """page -> its name in the top bar."""
    return {link.path: link.label for link in LINKS}
