"""Who imports whom, and which file alone may use what. The rules are data."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
JS = ROOT / "static" / "js"


class Ban(NamedTuple):
    """`what` is not to be found in `where`, but for the files in `alone`."""

    where: str  # a glob from the top of the repository
    what: str
    alone: tuple[str, ...] = ()


IMPORTS = [
    Ban("model/**/*.py", "attention_atlas.app"),
    Ban("model/**/*.py", "fastapi"),
    Ban("model/**/*.py", "starlette"),
    Ban("model/**/*.py", "pydantic"),
    Ban("model/**/*.py", "jinja2"),
    Ban("model/**/*.py", "transformers", alone=("loading.py", "packed.py")),
    Ban("model/**/*.py", "huggingface_hub", alone=("download.py",)),
    Ban("model/*.py", "attention_atlas.model.hub"),  # the core; then core ← hub,
    Ban("model/*.py", "attention_atlas.model.analysis"),  # and core ← analysis ← training
    Ban("model/*.py", "attention_atlas.model.training"),
    Ban("model/hub/*.py", "attention_atlas.model.analysis"),
    Ban("model/hub/*.py", "attention_atlas.model.training"),
    Ban("model/analysis/*.py", "attention_atlas.model.hub"),
    Ban("model/analysis/*.py", "attention_atlas.model.training"),
    Ban("model/training/*.py", "attention_atlas.model.hub"),
    Ban("app/**/*.py", "huggingface_hub"),
    Ban("app/**/*.py", "transformers"),
    Ban("app/**/*.py", "attention_atlas.model.run.run", alone=("service.py",)),
    Ban("app/**/*.py", "attention_atlas.model.sketch.sketch", alone=("service.py",)),
    Ban("app/**/*.py", "attention_atlas.model.zoo.load", alone=("service.py",)),
    Ban("app/**/*.py", "attention_atlas.model.hub.library", alone=("service.py",)),
    Ban("app/api/*.py", "attention_atlas.app.pages"),
    Ban("app/*.py", "attention_atlas.app.pages", alone=("main.py",)),
    Ban("app/service.py", "attention_atlas.app.api.resource"),
    Ban("app/settings.py", "attention_atlas.app"),
    Ban("app/settings.py", "attention_atlas.model"),
    Ban("app/errors.py", "attention_atlas.app.api"),
    Ban("app/errors.py", "attention_atlas.app.service"),
    Ban("app/errors.py", "torch"),
    Ban("app/api/spec.py", "attention_atlas.app"),
    Ban("app/api/spec.py", "torch"),
    Ban("model/messages.py", "attention_atlas"),
    Ban("attention_atlas/*.py", "torch"),  # `import attention_atlas` is light
    Ban("attention_atlas/*.py", "attention_atlas.app", alone=("notebook.py", "widget.py")),
    Ban("attention_atlas/*.py", "attention_atlas.model", alone=("notebook.py",)),
]
SCRIPT = [
    Ban("static/js/**/*.js", r"\bfetch\(", alone=("api.js",)),
    Ban("static/js/**/*.js", r"\bPlotly\b", alone=("plot.js", "kernel.js")),
    Ban("static/js/**/*.js", r"\bcreateElement", alone=("dom.js",)),
    Ban("static/js/**/*.js", r"\b(history|location)\b", alone=("url.js",)),
    Ban("static/js/**/*.js", r"\b(inner|outer)HTML\b|\binsertAdjacentHTML\b|\bdocument\.write\b"),
    Ban("static/js/**/*.js", r"^\s*(class|var) |\bwindow\.|\bconsole\.log\b"),
    Ban("templates/**/*.html", r"\|\s*safe\b|\bon[a-z]+="),
    # What does not wait is read through tests/browser/complete.py, when the page is complete.
    Ban("tests/browser/*.py", r"\bpage\.url\b|\.(count|all)\(\)", alone=("complete.py",)),
    Ban("tests/browser/*.py", r"\.(all_)?(inner|text)_(text|content)s?\(", alone=("complete.py",)),
    Ban("tests/browser/*.py", r"\.(get_attribute|screenshot)\(", alone=("complete.py",)),
    Ban("tests/browser/*.py", r"\.(bounding_box|input_value)\(", alone=("complete.py",)),
]
DRAWING = {"dom", "plot", "color", "reduce", "tensor", "tables", "legend"}
WORDING = {"language", "reading", "token", "heads", "training"}
VIEWS_IMPORT = DRAWING | WORDING


LONGEST_FILE = {
    "attention_atlas": 400,
    "app": 400,
    "model": 400,
    "static": 400,
    "templates": 400,
    "tests": 400,
}
LONGER_FILES = {"model/transformer.py": 450}
LONGEST_FUNCTION = 45  # lines
MOST_PARAMETERS = 7  # without self and cls


def files(ban: Ban) -> list[Path]:
    return [path for path in sorted(ROOT.glob(ban.where)) if path.name not in ban.alone]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> set[str]:
    """Every module that a Python file imports, and the packages it is in."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            package = path.parent.name if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 2)}


def graph() -> dict[str, set[str]]:
    """Each file of app/ and model/ by its import name, and those of them that it imports."""
    paths = [path for package in ("app", "model") for path in (ROOT / package).rglob("*.py")]
    named = {f"attention_atlas.{_dotted(path)}": imports(path) for path in paths}
    return {name: imported & named.keys() for name, imported in named.items()}


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folders(files: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same of folders: a folder imports what its files import from other folders."""
    edges: dict[str, set[str]] = {}
    for name, imported in files.items():
        folder = name.rpartition(".")[0]
        edges.setdefault(folder, set()).update({i.rpartition(".")[0] for i in imported} - {folder})
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A circle of imports, if there is one."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def code(path: Path) -> str:
    """A script without its comments; a // after a colon is part of an address."""
    return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", path.read_text("utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("folder", LONGEST_FILE)
def test_no_file_is_too_long(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n")
        for ending in ("py", "js", "css", "html")
        for path in (ROOT / folder).rglob(f"*.{ending}")
    }
    assert lengths
    limits = {name: LONGER_FILES.get(name, LONGEST_FILE[folder]) for name in lengths}
    assert {name: n for name, n in lengths.items() if n > limits[name]} == {}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(tree(path))
    return [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    a = function.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
    return [one.arg for one in named if one and one.arg not in ("self", "cls")]


@pytest.mark.parametrize("folder", ["attention_atlas", "app", "model", "tests"])
def test_no_function_is_too_long_or_takes_too_much(folder: str) -> None:
    too_much = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path in (ROOT / folder).rglob("*.py")
        for function in functions(path)
        if function.end_lineno - function.lineno >= LONGEST_FUNCTION
        or len(parameters(function)) > MOST_PARAMETERS
    ]
    assert too_much == []


@pytest.mark.parametrize("ban", IMPORTS, ids=lambda ban: f"{ban.where} {ban.what}")
def test_imports_point_one_way(ban: Ban) -> None:
    assert [path.name for path in files(ban) if ban.what in imports(path)] == []


def test_the_tape_imports_nothing_of_ours_but_messages() -> None:
    ours = {name for name in imports(ROOT / "model/tape.py") if name.startswith("attention_atlas.")}
    assert {name for name in ours if ".messages" not in name} == {"attention_atlas.model"}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert len(graph()) > 50
    assert circle(graph()) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    """But for app/, where main.py is above the folders and the rest below: a rule says that."""
    edges = folders(graph())
    assert edges["attention_atlas.app"] >= {"attention_atlas.model"}
    assert edges["attention_atlas.model.training"] >= {"attention_atlas.model.analysis"}
    above = {name: edges[name] for name in edges if name.startswith("attention_atlas.model")}
    assert circle(above) == []


def test_circles_are_seen() -> None:
    files = {"x.a.one": {"x.b.two"}, "x.b.two": set(), "x.b.three": {"x.a.one"}}
    assert circle(files) == []
    assert folders(files) == {"x.a": {"x.b"}, "x.b": {"x.a"}}
    assert set(circle(folders(files))) == {"x.a", "x.b"}


@pytest.mark.parametrize("ban", SCRIPT, ids=lambda ban: f"{ban.where} {ban.what}")
def test_one_file_alone_uses_it(ban: Ban) -> None:
    used = [path.name for path in files(ban) if re.search(ban.what, code(path), re.MULTILINE)]
    assert used == []


@pytest.mark.parametrize("ban", [*IMPORTS, *SCRIPT], ids=lambda ban: f"{ban.where} {ban.what}")
def test_a_rule_has_files_to_look_at(ban: Ban) -> None:
    assert files(ban)


@pytest.mark.parametrize("path", sorted((JS / "views").glob("*.js")), ids=lambda path: path.name)
def test_a_view_imports_only_what_draws(path: Path) -> None:
    matches = set(re.findall(r"""(?:from|import)\s*\(?\s*["']([^"']+)["']""", code(path)))
    assert matches <= {f"../lib/{name}.js" for name in VIEWS_IMPORT}


@pytest.mark.parametrize("folder", ["pages", "lib"])
def test_scripts_import_one_way(folder: str) -> None:
    """Pages import each other's engine, views and lib; lib imports lib alone."""
    allowed = {"pages": r"\./engine|\.\./(views|lib)/\w+", "lib": r"\./\w+"}[folder]
    matches = {
        (path.name, name)
        for path in (JS / folder).glob("*.js")
        for name in re.findall(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""", code(path))
        if not re.fullmatch(rf"(?:{allowed})\.js", name)
    }
    assert matches == set()


def test_a_script_has_a_name_of_its_own() -> None:
    """The page that stands alone knows scripts by their names."""
    names = [path.name for path in JS.rglob("*.js")]
    assert sorted(names) == sorted(set(names))


def test_a_line_of_a_script_has_100_columns() -> None:
    """But for messages, which stand in one piece: the catalogue has them so."""
    long = [
        f"{path.name}:{n}"
        for path in sorted(JS.rglob("*.js"))
        for n, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > 100 and not re.search(r"""_\("[^"]{40,}""", line)
    ]
    assert long == []


@pytest.mark.parametrize("package", ["app", "model"])
def test_every_module_says_what_it_is(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert [p.name for p in paths if not ast.get_docstring(tree(p))] == []


MAP_NAME = re.compile(r"`(?:[\w./]+/)?(\w+\.(?:py|js))`")


def map_of_the_code() -> set[str]:
    """The files that the map names, without their folders."""
    return set(
        MAP_NAME.findall(
            (ROOT / "docs/architecture.md").read_text("utf-8").partition("## How to add")[0]
        )
    )


def code_files(*folders: str) -> set[str]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    return {path.name for path in paths if path.suffix in (".py", ".js")} - {"__init__.py"}


def test_every_file_is_on_the_map() -> None:
    assert code_files("attention_atlas", "app", "model", "static/js") - map_of_the_code() == set()


def test_every_file_of_the_map_is_there() -> None:
    assert (
        map_of_the_code() - code_files("attention_atlas", "app", "model", "static/js", "tests")
        == set()
    )


def test_imports_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "app" / "a.py"
    path.parent.mkdir()
    path.write_text(
        "import a.b as c\nfrom model import run as door\ndef f():\n  from .x import y\n"
    )
    assert imports(path) == {"a", "a.b", "model", "model.run", "app", "app.x", "app.x.y"}


def test_comments_are_not_code(tmp_path: Path) -> None:
    path = tmp_path / "a.js"
    path.write_text('/** fetch(a)\n */\nconst a = "http://x"; // fetch(b)\nfetch(c);\n')
    assert code(path).split() == ["const", "a", "=", '"http://x";', "fetch(c);"]


def test_the_dark_colours_are_the_same_with_and_without_a_script() -> None:
    """Plots read a colour's value, and the browser leaves light-dark() in it as it is written."""
    css = (ROOT / "static" / "css" / "app.css").read_text("utf-8")
    dark = re.findall(r"color-scheme: dark;\s*((?:--[\w-]+: [^;]+;\s*)+)", css)
    chosen, system = ([line.strip() for line in each.split(";")] for each in dark)
    assert chosen == system
