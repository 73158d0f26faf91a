"""static/ and templates/: where they are, and how they are served."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import plotly
from attention_atlas.app import errors
from attention_atlas.model.messages import Message
from fastapi import Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

HERE = Path(__file__).parent
IMPORT = re.compile(r"""from "(\.{1,2}/[^"]+\.js)";""")
RANGES = {
    400: errors.BadRange(Message("bad-range", "the Range header is not a range of bytes")),
    416: errors.NoSuchRange(Message("no-such-range", "the file has no such range of bytes")),
}
VENDOR = {"vendor/plotly.min.js": Path(plotly.__file__).parent / "package_data/plotly.min.js"}
# What Plotly itself writes as styles: an empty element, to which it adds rules through the CSSOM;
# the rules of its maps, when it is loaded; of a heat map, how its pixels are drawn.
MAP_STYLE = re.compile(r"""\.textContent='([^'\\]*)',document\.head\.appendChild""")
PIXELS = ("optimizeSpeed", "-moz-crisp-edges", "-o-crisp-edges", "-webkit-optimize-contrast",
          "optimize-contrast", "crisp-edges", "pixelated")  # fmt: skip


def plotly_styles() -> list[str]:
    """The styles that Plotly writes inline: pages' policy allows these alone."""
    script = VENDOR["vendor/plotly.min.js"].read_text("utf-8")
    pixels = "".join(f"image-rendering: {value}; " for value in PIXELS)
    return ["", pixels, *MAP_STYLE.findall(script)]


def folder(name: str) -> Path:
    """static/ or templates/, beside app/ both in a checkout and in a wheel."""
    return HERE.parent / name


def scripts(first: Path) -> list[Path]:
    """A script and all that it imports, and what those import."""
    paths = [first]
    for path in paths:
        names = IMPORT.findall(path.read_text("utf-8"))
        imported = [Path(os.path.normpath(path.parent / name)) for name in names]
        paths += [each for each in imported if each not in paths]
    return paths


def styles(names: tuple[str, ...]) -> str:
    """Several files of CSS as one."""
    return "\n".join(
        (folder("static") / "css" / f"{name}.css").read_text("utf-8") for name in names
    )


def packed_plotly() -> bytes:
    """Plotly's script as gzip, a third of its size: a notebook may hold many figures."""
    return gzip.compress(VENDOR["vendor/plotly.min.js"].read_bytes(), mtime=0)


class Assets(StaticFiles):
    """static/ and Plotly's script, also below v-HASH/, where files never change."""

    def __init__(self, root_path: str = "") -> None:
        self.root_path = root_path
        super().__init__(directory=folder("static"))
        digest = hashlib.sha256()
        files = [path for path in sorted(folder("static").rglob("*")) if path.is_file()]
        for path in [*files, *VENDOR.values()]:
            digest.update(path.name.encode() + path.read_bytes())
        self.version = f"v-{digest.hexdigest()[:8]}"

    @property
    def import_map(self) -> str:
        """What scripts import by a bare name; pages hold it inline, and their policy its hash."""
        address = f"{self.root_path}/static/{self.version}/vendor/plotly.min.js"
        return json.dumps({"imports": {"plotly": address}})

    def modules(self) -> dict[str, list[str]]:
        """What each page's script and the navigation's import, to be fetched at once: else a
        browser finds each script only when it has read another that imports it."""
        pages = folder("static") / "js" / "pages"
        navigation = pages / "navigation.js"
        return {
            page.stem: [
                path.relative_to(folder("static")).as_posix()
                for path in dict.fromkeys([*scripts(page), *scripts(navigation)])
                if path not in (page, navigation)
            ]
            for page in sorted(pages.glob("*.js"))
        }

    def lookup_path(self, path: str) -> tuple[str, object]:  # type: ignore[override]
        if path in VENDOR:
            return str(VENDOR[path]), VENDOR[path].stat()
        return super().lookup_path(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A range that cannot be sent is refused with a problem, not with a library's sentence."""
        refused = False

        async def worded(event: Event) -> None:
            nonlocal refused
            if event["type"] == "http.response.start" and event["status"] in RANGES:
                refused = True
                kept = Headers(raw=event["headers"]).get("content-range")
                headers = {} if kept is None else {"Content-Range": kept}
                problem = errors.problem(RANGES[event["status"]])
                await errors.respond(problem, headers)(scope, receive, send)
            elif not refused:
                await send(event)

        await super().__call__(scope, receive, worded)

    async def get_response(self, path: str, scope: Scope) -> Response:
        versioned = path.startswith(f"{self.version}/")
        response = await super().get_response(path.removeprefix(f"{self.version}/"), scope)
        lasting = "public, max-age=31536000, immutable"
        response.headers["Cache-Control"] = lasting if versioned else "no-cache"
        return response
