"""Every kind of attention of every bundled model."""

from __future__ import annotations

from attention_atlas.model.tape import Kind

EVERY_KIND: list[tuple[str, Kind]] = [
    ("bert", "encoder"),
    ("gpt", "decoder"),
    ("translator", "encoder"),
    ("translator", "decoder"),
    ("translator", "cross"),
    ("recurrent", "cross"),
]
