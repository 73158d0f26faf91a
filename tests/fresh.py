"""The five calls of a notebook in another environment, in JupyterLab and marimo, as pictures.

python -m venv fresh && fresh/bin/pip install "$(ls *.whl)[notebook]" jupyterlab marimo
python -m tests.fresh fresh/bin/python PICTURES
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from tests.browser.chromium import find
from tests.browser.notebooks import LAB, QUIET, running, write_notebook

SLOW = 120_000  # ms; a kernel that starts imports torch
PREPARE = """\
import numpy as np
import transformers
import attention_atlas as atlas
from attention_atlas.model.zoo import WEIGHTS
names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
file = str(WEIGHTS / "bert/tokenizer.json")
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=file, **names)
sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
config = transformers.BertConfig(vocab_size=12000, intermediate_size=48, **sizes)
model = transformers.BertForSequenceClassification(config)
text = "He sat on the river bank."
attn = np.full((2, 3, 3, 3), 1 / 3)
attn[1, 2] = np.eye(3)[[1, 2, 0]]"""
CALLS = {
    "model": 'atlas.show(model, tokenizer, text, layer=2, head=0, view="lines")',
    "name": 'atlas.show("bert", text="He sat on the river bank.", layer=0, head=2)',
    "tensors": 'atlas.show(attn, ["the", "river", "bank"], layer=1, head=2, query=0)',
    "run": "str(atlas.run(model, tokenizer, text).attention.attn.shape)",
    "serve": "atlas.serve(model, tokenizer)",
}
SEEN = {"run": r"3, 4, 9, 9", "serve": "Attention Atlas at http"}
WINDOW: ViewportSize = {"width": 1440, "height": 1000}


def seen(page: Page, output: Locator, name: str, picture: Path) -> None:
    """Wait for what a call shows, and take its picture."""
    if name in SEEN:
        expect(output).to_contain_text(SEEN[name], timeout=SLOW)
    else:
        figure = output.locator(".attention-atlas")
        expect(figure.locator("#picture")).to_have_attribute("aria-busy", "false", timeout=SLOW)
        figure.scroll_into_view_if_needed()
    page.screenshot(path=picture)


def use_dark(home: Path) -> None:
    """JupyterLab's setting of its theme."""
    folder = home / "CONFIG/lab/user-settings/@jupyterlab/apputils-extension"
    folder.mkdir(parents=True)
    (folder / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')


def jupyterlab(page: Page, home: Path, python: str, pictures: Path, theme: str) -> None:
    write_notebook(home / "calls.ipynb", PREPARE, *CALLS.values())
    if theme == "dark":
        use_dark(home)
    with running("jupyterlab", *LAB, *QUIET, home=home, python=python) as url:
        page.goto(f"{url}/lab/tree/calls.ipynb")
        expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
        cells = page.locator(".jp-Notebook .jp-CodeCell")
        for n, name in enumerate(("", *CALLS)):
            cells.nth(n).locator(".cm-content").click()
            page.keyboard.press("Control+Enter")
            if name:
                seen(page, cells.nth(n), name, pictures / f"jupyterlab-{theme}-{name}.png")
        expect(page.locator(".attention-atlas").first).to_have_attribute("data-theme", theme)


def as_marimo() -> str:
    """The same calls as a notebook of marimo."""
    cells = [PREPARE + "\nimport marimo", *CALLS.values()]
    names = "atlas, attn, model, text, tokenizer"
    written = ["import marimo", "app = marimo.App(width='medium')"]
    for n, code in enumerate(cells):
        body = "\n    ".join(code.splitlines())
        given, end = ("", f"return {names}") if n == 0 else (names, "return")
        written.append(f"@app.cell\ndef _({given}):\n    {body}\n    {end}\n")
    return "\n\n".join(written)


def in_marimo(page: Page, home: Path, python: str, pictures: Path, theme: str) -> None:
    settings = f'[tool.marimo.display]\ntheme = "{theme}"\n'
    (home / "pyproject.toml").write_text(settings)
    (home / "calls.py").write_text(as_marimo())
    command = ("run", "calls.py", "--headless", "--no-token", "--host=127.0.0.1")
    with running("marimo", *command, home=home, python=python) as url:
        page.goto(url)
        figures = page.locator(".attention-atlas")
        expect(figures).to_have_count(3, timeout=SLOW)
        for n in range(3):
            picture = figures.nth(n).locator("#picture")
            expect(picture).to_have_attribute("aria-busy", "false", timeout=SLOW)
            figures.nth(n).scroll_into_view_if_needed()
            page.screenshot(path=pictures / f"marimo-{theme}-{n}.png")
        for text in SEEN.values():
            expect(page.locator("body")).to_contain_text(text, timeout=SLOW)
        expect(figures.first).to_have_attribute("data-theme", theme)
        page.get_by_text(SEEN["serve"]).scroll_into_view_if_needed()
        page.screenshot(path=pictures / f"marimo-{theme}-serve.png")


def main(python: str, pictures: Path) -> None:
    pictures.mkdir(exist_ok=True, parents=True)
    with sync_playwright() as playwright:
        program = find(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for drive, theme in product((jupyterlab, in_marimo), ("light", "dark")):
            with tempfile.TemporaryDirectory() as home:
                context = browser.new_context(viewport=WINDOW)
                drive(context.new_page(), Path(home), python, pictures, theme)
                context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
