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
        (Link("/translate", "Translate"), Link("/generate", "Generate"), Link("/fill", "Fill in")),
    ),
    Group(
        "Inside",
        (
            Link("/attention", "Step by step"),
            Link("/masks", "Masks"),
            Link("/positions", "Positions"),
        ),
    ),
    Link("/models", "Models"),
    Link("/docs", "API"),
)
LINKS = tuple(
    link for entry in BAR for link in (entry.links if isinstance(entry, Group) else (entry,))
)
MOVED = {"/arithmetic": "/attention", "/arithmetic.json": "/attention.json"}
