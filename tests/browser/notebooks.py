"""Servers of notebooks, each in a process and with settings of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.browser.conftest import SECONDS_TO_START, free_port

LAB = ("--no-browser", "--ServerApp.token=", "--ServerApp.password=", "--allow-root")
QUIET = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)
CODE = """\
import numpy as np
import attention_atlas as atlas

attn = np.full((2, 3, 3, 3), 1 / 3)
attn[1, 2] = np.eye(3)[[1, 2, 0]]
figure = atlas.show(attn, ["the", "river", "bank"], layer=1, head=2, query=0)"""
MARIMO = f"""\
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    {CODE.replace(chr(10), chr(10) + "    ")}
    view = mo.ui.anywidget(figure)
    view
    return mo, view


@app.cell
def _(mo, view):
    mo.md(f"Python has layer {{view.value['layer']}}, head {{view.value['head']}}")
    return
"""


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    written: list[dict[str, object]] = [
        {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "execution_count": None,
         "outputs": [], "source": source}
        for n, source in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": written, "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}))


@contextmanager
def running(
    module: str, *arguments: str, home: Path, python: str = sys.executable
) -> Iterator[str]:
    """The address of a server of notebooks that reads and writes below `home` alone."""
    port = free_port()
    own = {
        **{f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")},
        **{"IPYTHONDIR": str(home / "ipython"), "XDG_CONFIG_HOME": str(home / "config")},
        **{"XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state")},
        **{"PYDEVD_DISABLE_FILE_VALIDATION": "1", "OMP_NUM_THREADS": "1"},
    }
    command = [python, "-m", module, *arguments, f"--port={port}"]
    with (home / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command, cwd=home, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield _ready(f"http://127.0.0.1:{port}", process, home / "log.txt")
        finally:
            process.terminate()
            process.wait(timeout=60)


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{url}/", timeout=5):
                return url
        except HTTPError:
            return url
        except (URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"no notebook at {url}: {log.read_text()[-2000:]}", pytrace=False)
