"""What every template gets beside its page's content: the language, the top bar, the context."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from attention_atlas.app import context, language
from attention_atlas.app.api.models import summaries
from attention_atlas.app.service import Service
from fastapi import Request
from pydantic import BaseModel


def shared(request: Request, content: BaseModel) -> dict[str, Any]:
    """The language, links that keep the context, the pages that show the same head."""
    path, params = request.url.path, request.query_params
    service: Service = request.app.state.service
    suited = context.suited_pages(summaries(service))
    has_sentence = path in context.PAGES
    shown = context.of_content(path, content, params) if has_sentence else None
    carried = context.of_address(path, params)
    if shown and context.PAGES[path].keeps_first:
        carried = shown
    kept = language.kept(request)

    def to(page: str, seen: context.Context = carried) -> str:
        query = urlencode({**context.parameters(seen, page, suited), **kept})
        return f"{page}?{query}" if query else page

    others = [(page, label) for page, label in SEEN if page != path]
    here = shown or carried
    seen_in = [] if not here.model else context.see_in(here, suited)
    return {
        **language.context(request),
        "context": here,
        "to": to,
        "see_in": [(page, label, to(page, here), page in seen_in) for page, label in others],
        "context_table": context.table(suited, context.badges(service.models.values()), path),
    }


SEEN = [(path, label) for path, label in context.labels().items() if path in context.SUITS]
