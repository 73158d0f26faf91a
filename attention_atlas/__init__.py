"""Attention Atlas: see what every attention head of a Transformer does.

    import attention_atlas as atlas

    atlas.show("bert", text="He sat on the river bank.")
    atlas.Client("http://127.0.0.1:8000").attention("bert", "river bank", layer=2)

The server is `attention_atlas.app`, the models and what is computed about them are
`attention_atlas.model`. Importing this package loads neither, nor torch: a name below is looked up
when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_atlas.client import Client as Client
    from attention_atlas.notebook import Figure as Figure
    from attention_atlas.notebook import run as run
    from attention_atlas.notebook import serve as serve
    from attention_atlas.notebook import show as show
    from attention_atlas.results import AtlasError as AtlasError
    from attention_atlas.results import Attention as Attention

__version__ = "0.4.0"

PUBLIC = {
    "Attention": "results",
    "AtlasError": "results",
    "Client": "client",
    "Figure": "notebook",
    "run": "notebook",
    "serve": "notebook",
    "show": "notebook",
}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
