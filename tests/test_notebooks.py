"""The example notebooks run from first to last cell, offline, and print what they promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
PROMISES = {
    "classifier": [r"^accuracy 1\.0$", r"^negative 0\.9", r"^layer \d head \d: 0\.\d\d$"],
    "induction": [r"^layer \d head \d: 0\.[4-9]", r"^all heads 0\.\d+$", r"^without the best"],
    "figure": [r"^layer 0 head 2: 0\.9", r"^figure\.csv figure\.html figure\.svg$"],
}

EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
place = {"metadata": {"path": sys.argv[2]}}
NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
nbformat.write(notebook, sys.argv[2] + "/executed.ipynb")
"""


@pytest.fixture(scope="module", params=PROMISES)
def executed(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[str, Any, Path]:
    """A notebook with its outputs, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, "-c", EXECUTE, NOTEBOOKS / f"{request.param}.ipynb", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = nbformat.read(folder / "executed.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    return request.param, notebook, folder


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_it_prints_what_it_promises(executed: tuple[str, Any, Path]) -> None:
    name, notebook, _ = executed
    text = "".join(each.text for each in outputs(notebook) if each.output_type == "stream")
    for promise in PROMISES[name]:
        assert re.search(promise, text, re.MULTILINE), text


def test_its_figure_is_a_widget_with_a_page_beside_it(executed: tuple[str, Any, Path]) -> None:
    _, notebook, _ = executed
    figures = [each.data for each in outputs(notebook) if WIDGET in each.get("data", {})]
    assert len(figures) == 1
    assert figures[0]["text/html"].startswith("<iframe sandbox=")


def test_the_claims_hold(executed: tuple[str, Any, Path]) -> None:
    """What an edit changes, and that the heads of the text are those of the card."""
    name, notebook, folder = executed
    text = "".join(each.text for each in outputs(notebook) if each.output_type == "stream")
    if name == "classifier":
        whole, first, second = map(float, re.findall(r"(?:P\(positive\)|at not) (\d\.\d+)", text))
        assert whole < 0.1 and first < 0.5 < 0.9 < second
    if name == "induction":
        every, best, others = map(float, re.findall(r"(?:heads|three|others) (0\.\d+)", text))
        assert best < 0.5 * every and others > 0.5 * every
    if name == "figure":
        assert (folder / "figure.svg").read_text("utf-8").startswith("<svg xmlns=")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert [cell["outputs"] for cell in cells if cell.get("outputs")] == []
    assert path.stem in PROMISES
