"""Folders in which a conversion is under way, and what killed processes left of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from attention_atlas.model.hub import folder

MADE_BY = re.compile(r"\.making-(\d+)-.*")


@contextmanager
def making(place: Path) -> Iterator[Path]:
    """A folder to convert a model in; its name says which process does."""
    place.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix=f".making-{os.getpid()}-", dir=place))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def sweep() -> None:
    """Remove what processes that are no more left in the cache folder."""
    with suppress(OSError):
        for path in folder.cache().glob(".making-*"):
            match = MADE_BY.fullmatch(path.name)
            if match and not is_running(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; no number of a process
        return True
    return True
