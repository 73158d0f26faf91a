"""The top bar: which pages it leads to, in which groups, and where old addresses lead."""

from __future__ import annotations

from typing import NamedTuple


class Link(NamedTuple):
    """A page of the top bar."""

    path: str
    label: str


class Group(NamedTuple):
    """Pages that the top bar has under one label."""

    label: str
    links: tuple[Link, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(link.path for link in self.links)


BAR: tuple[Link | Group, ...] = (
    Link("/learn", "Learn"),
    Link("/explore", "Explore"),
    Link("/compare", "Compare"),
    Group(
        "Tasks",
        (
            Link("/translate", "Translate"),
            Link("/generate", "Generate"),
            Link("/fill", "Fill in"),
            Link("/classify", "Classify"),
        ),
    ),
    Group(
        "Inside",
        (
            Link("/attention", "Step by step"),
            Link("/masks", "Masks"),
            Link("/positions", "Positions"),
        ),
    ),
    Link("/lab", "Lab"),
    Link("/models", "Models"),
    Link("/docs", "API"),
)
LINKS = tuple(
    link for entry in BAR for link in (entry.links if isinstance(entry, Group) else (entry,))
)
MOVED = {"/arithmetic": "/attention", "/arithmetic.json": "/attention.json"}

LESSONS = {  # a page, or a section of one by its id -> chapter and step that explain it
    "/explore": (4, "all-heads"),
    "/compare": (0, "two-banks"),
    "/masks": (3, "padding"),
    "/positions": (5, "order"),
    "/attention": (2, "formula"),
    "/lab": (4, "matters"),
    "/translate": (6, "word-by-word"),
    "/generate": (8, "next"),
    "/fill": (7, "blank"),
    "/classify": (7, "following"),
    "map": (5, "whole"),
    "scores": (1, "likeness"),
    "qkv": (1, "qkv"),
    "scale": (1, "variance"),
    "heads": (4, "parts"),
    "block": (5, "lengths"),
    "cost": (1, "why"),
    "by-head": (4, "all-heads"),
    "off": (4, "without"),
    "sampling": (1, "temperature"),
    "shots": (8, "shots"),
    "steps": (6, "choices"),
    "forcing": (6, "forcing"),
    "pair": (7, "following"),
    "noise": (7, "procedure"),
    "sines": (5, "sines"),
    "own": (5, "learned"),
    "why": (5, "order"),
    "fills": (3, "infinity"),
    "formed": (4, "named"),
}
