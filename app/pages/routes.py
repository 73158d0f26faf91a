"""All pages, in the order in which the documentation lists them."""

from __future__ import annotations

from attention_atlas.app.pages import (
    arithmetic,
    compare,
    docs,
    explore,
    fill,
    generate,
    masks,
    models,
    positions,
    standalone,
    translate,
)

PAGES = (models, explore, compare, positions, masks, arithmetic, translate, generate, fill)
ROUTERS = tuple(page.router for page in (*PAGES, standalone, docs))
