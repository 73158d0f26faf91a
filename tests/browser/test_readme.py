"""The animation of the README: a sentence is typed, then a head pointed at."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.complete import screenshot
from tests.browser.exploring import RIVER, Explore, point_at_head, text_field, token

DOCS = Path(__file__).parents[2] / "docs"
SCREEN = {"viewport": {"width": 1200, "height": 940}, "color_scheme": "light"}
WIDTH = 900  # pixels of the animation
LARGEST = 1_500_000  # bytes


def frame(page: Page) -> Image.Image:
    picture = Image.open(io.BytesIO(screenshot(page))).convert("RGB")
    return picture.resize(
        (WIDTH, WIDTH * picture.height // picture.width), Image.Resampling.LANCZOS
    )


def filmed(page: Page) -> list[tuple[Image.Image, int]]:
    """Frames, and how many milliseconds each is shown."""
    field = text_field(page)
    field.press("End")
    frames = [(frame(page), 600)]
    for word in RIVER.split(" ")[1:]:
        field.press_sequentially(f" {word}")
        frames.append((frame(page), 350))
    expect(page.locator(".lines-column.query .token")).to_have_count(13)
    frames.append((frame(page), 1200))
    grid = page.get_by_role("grid")
    for layer, head in ((4, 9), (1, 3), (0, 2)):
        grid.hover(position=point_at_head(page, layer, head))
        expect(page.get_by_text(f"L{layer} H{head}").first).to_be_visible()
        frames.append((frame(page), 1000))
    grid.click(position=point_at_head(page, 0, 2))
    expect(page.get_by_role("heading", name="Layer 0 · Head 2")).to_be_visible()
    token(page, "query", 6).hover()
    expect(page.get_by_text("bank looks most at")).to_be_visible()
    frames.append((frame(page), 2000))
    return frames


@pytest.mark.parametrize("setting", [SCREEN], ids=["light"])
def test_the_animation_of_the_readme(explore: Explore, tmp_path: Path) -> None:
    frames = filmed(explore(model="bert", text="He", layer=2, head=0))
    folder = DOCS if os.environ.get("UPDATE_PICTURES") == "1" else tmp_path
    path = folder / "explore.webp"
    pictures, times = zip(*frames, strict=True)
    rest = {"append_images": pictures[1:], "duration": list(times), "loop": 0, "quality": 75}
    pictures[0].save(path, save_all=True, method=4, **rest)
    assert 50_000 < path.stat().st_size <= LARGEST
    with Image.open(path) as film:
        assert film.n_frames >= len(set(map(Image.Image.tobytes, pictures))) > 10
