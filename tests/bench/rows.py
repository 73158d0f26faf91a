"""What the bench measures, as rows of one Markdown table."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HEADER = "| what | ours | BertViz | BertViz / ours | goal |\n|---|---:|---:|---:|---|"


class Plan(NamedTuple):
    """How much to measure."""

    rounds: int  # of everything timed; the median counts
    sizes: tuple[int, ...]  # tokens
    moves: int  # of the pointer, in each view
    changes: tuple[int, int]  # of the text: where the heap is settled, and where it is compared
    patience: float  # seconds that a page may take


FULL = Plan(rounds=7, sizes=(32, 64, 128), moves=40, changes=(20, 200), patience=120)
QUICK = Plan(rounds=2, sizes=(32,), moves=12, changes=(5, 15), patience=120)


class Row(NamedTuple):
    """One measure: ours, BertViz's where there is one (or why not), and how much ours may be at
    most, or must be at least."""

    what: str
    ours: float
    unit: str
    bertviz: float | str | None = None
    goal: float | None = None
    least: float | None = None


def markdown(row: Row) -> str:
    """A row of the table."""
    ratio = f"{row.bertviz / row.ours:,.1f}" if isinstance(row.bertviz, float | int) else ""
    cells = [row.what, shown(row.ours, row.unit), shown(row.bertviz, row.unit), ratio, goal(row)]
    return f"| {' | '.join(cells)} |"


def shown(value: float | str | None, unit: str) -> str:
    """Three digits or all whole ones: 0.31 ms, 4.7 ms, 12,345 bytes."""
    if value is None or isinstance(value, str):
        return value or ""
    decimals = 0 if float(value).is_integer() or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f} {unit}".strip()


def goal(row: Row) -> str:
    if row.least is not None:
        met = "met" if row.ours >= row.least else "missed"
        return f"≥ {row.least:,g} {row.unit}, {met}"
    if row.goal is None:
        return ""
    met = "met" if row.ours <= row.goal else "missed"
    return f"≤ {row.goal:,g} {row.unit}, {met}"


def preface(versions: Mapping[str, str]) -> str:
    """When, where and with what it was measured."""
    written = f"`make bench` wrote this on {datetime.now(UTC):%Y-%m-%d}."
    known = machine({"bertviz": version("bertviz"), **versions})
    return f"# What looking costs\n\n{written}\n\n{known}\n"


def machine(versions: Mapping[str, str]) -> str:
    """Where and with what it was measured."""
    packages = {"Python": platform.python_version(), "torch": version("torch")}
    used = ", ".join(f"{name} {number}" for name, number in {**packages, **versions}.items())
    return f"Machine: {processor()}, {os.cpu_count()} cores. {used}."


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
