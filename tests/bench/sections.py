"""docs/bench.md: a section for each measurement, which replaces its own and leaves the others."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from attention_atlas import __version__
from tests.bench.rows import machine

REPORT = Path(__file__).parents[2] / "docs" / "bench.md"


def measured_by(command: str) -> str:
    """When, where and with what it was measured."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"`{command}` wrote this on {today}.\n\n{machine({'Attention Atlas': __version__})}"


def replaced(report: str, title: str, text: str) -> str:
    """The report with this section; what is before the first section stays where it is."""
    head, *sections = re.split(r"(?m)^(?=## )", report)
    section = f"## {title}\n\n{text.strip()}\n"
    kept = [each for each in sections if not each.startswith(f"## {title}\n")]
    return "\n\n".join(part.strip() for part in (head, *kept, section)) + "\n"


def write(title: str, text: str, report: Path = REPORT) -> None:
    report.write_text(replaced(report.read_text("utf-8"), title, text), "utf-8")


def sections_of(report: str) -> str:
    """All sections, as they are."""
    _, start, rest = report.partition("\n## ")
    return start + rest
