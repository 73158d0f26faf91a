"""All pages, in the order in which the documentation lists them."""

from __future__ import annotations

from attention_atlas.app.pages import (
    attention,
    classify,
    compare,
    docs,
    explore,
    fill,
    generate,
    home,
    lab,
    learn,
    masks,
    models,
    positions,
    standalone,
    translate,
)

PAGES = (
    *(learn, models, explore, compare, positions, masks, attention, translate, generate, fill),
    *(lab, classify),
)
ROUTERS = tuple(page.router for page in (home, *PAGES, standalone, docs))
