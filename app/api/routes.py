"""All resources, in the order in which the documentation lists them."""

from __future__ import annotations

from attention_atlas.app.api import (
    anatomy,
    arithmetic,
    attention,
    attributions,
    classify,
    compare,
    effects,
    few_shot,
    fill,
    generate,
    hidden_states,
    lab,
    lens,
    masks,
    metrics,
    models,
    opening,
    paths,
    positions,
    records,
    run,
    tokenize,
    translate,
    writes,
)

TOPICS = (
    *(opening, models, records, tokenize, run, attention, metrics, anatomy, hidden_states, compare),
    *(positions, masks, arithmetic, translate, generate, fill, few_shot, classify),
    *(lab, effects, writes, lens, attributions, paths),
)
ROUTERS = tuple(topic.router for topic in TOPICS)
