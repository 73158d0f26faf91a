"""Lines of this project's own source, by file and symbol, for "In code"."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]  # model/ and app/ are here, in a checkout and in a wheel


@cache
def lines_of(path: str, symbol: str) -> tuple[int, str]:
    """The first line's number and the text of a function or class, without its docstring.

    `symbol` is a dotted name inside the file. LookupError if it is not there.
    """
    text = (ROOT / path).read_text("utf-8")
    node: ast.AST = ast.parse(text)
    for name in symbol.split("."):
        inside = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", None) == name]
        if not inside:
            raise LookupError(f"{path} has no {symbol}")
        node = inside[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        start, end = first.lineno - node.lineno, (first.end_lineno or 0) - node.lineno
        del lines[start : end + 1]
    return node.lineno, dedent("\n".join(lines))
