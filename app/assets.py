"""static/ and templates/: where they are, and how they are served."""

from __future__ import annotations

import hashlib
from pathlib import Path

import plotly
from fastapi import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

HERE = Path(__file__).parent
VENDOR = {"vendor/plotly.min.js": Path(plotly.__file__).parent / "package_data/plotly.min.js"}


def folder(name: str) -> Path:
    """static/ or templates/, beside app/ in a checkout and in a wheel alike."""
    return HERE.parent / name


class Assets(StaticFiles):
    """static/ and what we serve of others, also below v-HASH/, where nothing ever changes."""

    def __init__(self) -> None:
        super().__init__(directory=folder("static"))
        digest = hashlib.sha256()
        files = [path for path in sorted(folder("static").rglob("*")) if path.is_file()]
        for path in [*files, *VENDOR.values()]:
            digest.update(path.name.encode() + path.read_bytes())
        self.version = f"v-{digest.hexdigest()[:8]}"

    def modules(self) -> list[str]:
        """The explorer's scripts, all to be fetched at once: not one after another's imports."""
        paths = sorted((folder("static") / "js").rglob("*.js"))
        there = [path for path in paths if path.stem not in ("model", "offline", "view")]
        return [path.relative_to(folder("static")).as_posix() for path in there]

    def lookup_path(self, path: str) -> tuple[str, object]:  # type: ignore[override]
        if path in VENDOR:
            return str(VENDOR[path]), VENDOR[path].stat()
        return super().lookup_path(path)

    async def get_response(self, path: str, scope: Scope) -> Response:
        versioned = path.startswith(f"{self.version}/")
        response = await super().get_response(path.removeprefix(f"{self.version}/"), scope)
        lasting = "public, max-age=31536000, immutable"
        response.headers["Cache-Control"] = lasting if versioned else "no-cache"
        return response
