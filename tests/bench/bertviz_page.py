"""BertViz's views as pages that need no other host: their libraries come from packages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from bertviz import head_view, model_view
from torch import Tensor

CDN = "https://cdnjs.cloudflare.com/ajax/libs"
LIBRARIES = {  # what the page asks for -> the package that carries it, and where
    "require.min.js": ("nbclassic", "nbclassic/static/components/requirejs/require.js"),
    "jquery.min.js": ("nbclassic", "nbclassic/static/components/jquery/jquery.min.js"),
    "d3.min.js": ("mpld3", "mpld3/js/d3.v5.min.js"),
}
VIEWS: Mapping[str, Callable[..., Any]] = {"model_view": model_view, "head_view": head_view}


def html(view: str, attn: Sequence[Tensor], tokens: list[str]) -> str:
    """The page that a person saves: attn is a layer each, (1, H, T, T)."""
    made = VIEWS[view](attention=list(attn), tokens=list(tokens), html_action="return")
    return f'<!doctype html><meta charset="utf-8">{made.data}'


def library(name: str) -> bytes:
    """A library's file, from a package that is not imported: its own needs are not installed."""
    package, path = LIBRARIES[name]
    return Path(str(distribution(package).locate_file(path))).read_bytes()


def compressed(page: str) -> int:
    """Bytes of the page as a server would send it, compressed."""
    return len(gzip.compress(page.encode(), 6))


def compressed_libraries() -> int:
    return sum(len(gzip.compress(library(name), 6)) for name in LIBRARIES)


@contextmanager
def serving(page: str) -> Iterator[str]:
    """The address of the page, on this machine together with its libraries."""
    files = {name: library(name) for name in LIBRARIES}
    files[""] = page.replace(CDN, "").encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            self.send_response(200 if name in files else 404)
            self.send_header("Content-Type", "text/javascript" if name else "text/html")
            self.send_header("Content-Length", str(len(files.get(name, b""))))
            self.end_headers()
            self.wfile.write(files.get(name, b""))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
