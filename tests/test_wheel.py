"""The wheel: installed elsewhere, `attention-atlas` serves the page from any directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attention_atlas.model import zoo

import attention_atlas

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what a checkout holds, so that nothing is left in this one."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("attention_atlas", "app", "model", "static", "templates"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*build, str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """attention-atlas in a fresh environment that shares only our dependencies."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False)
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install"]
    subprocess.run([*install, "--no-deps", "--quiet", str(wheel)], check=True)
    return home / "bin/attention-atlas"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a user's own modules of common names, each of which fails when imported."""
    for name in ("app", "model", "static", "templates"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported {name}.py')")
    return tmp_path


@pytest.fixture(params=["attention-atlas", "python -m attention_atlas.app"])
def address(request: pytest.FixtureRequest, command: Path, hostile: Path) -> Iterator[str]:
    """The address a command prints when it is ready, started beside a user's own modules."""
    program, *args = request.param.split()
    env = {**os.environ, "PORT": "0", "PYTHONUNBUFFERED": "1", "THREADS": "1"}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    server = subprocess.Popen([command.parent / program, *args], cwd=hostile, env=env, **output)
    assert server.stdout
    try:
        text = ""
        for line in server.stdout:
            text += line
            if match := re.search(r"is ready: (http://\S+)", line):
                yield match[1]
                break
        else:
            pytest.fail(f"the command ended:\n{text}")
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_templates_static_files_and_weights_travel_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for kind in ("static", "templates"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / kind).rglob("*.*")}
        assert {f"attention_atlas/{file}" for file in files} <= set(names)
    assert "attention_atlas/app/locale/zh.po" in names
    weights = [name for name in names if name.endswith("/model.safetensors")]
    assert len(weights) == len(zoo.names())
    kept = [name for name in names if name.endswith(".safetensors.z")]
    assert len(kept) == len(zoo.snapshots("gpt"))


def test_the_wheel_stays_small(wheel: Path) -> None:
    """PyPI takes 100 MB."""
    megabytes = wheel.stat().st_size / 1e6
    assert megabytes < 100, f"{wheel.name} has {megabytes:.1f} MB"


def test_every_python_file_travels_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for kind in ("app", "model") for path in (ROOT / kind).rglob("*.py")]
    assert {f"attention_atlas/{path.relative_to(ROOT).as_posix()}" for path in files} <= names


def test_the_installed_command_serves_the_page(address: str) -> None:
    page = urllib.request.urlopen(f"{address}/explore?text=A+river+bank.").read().decode()
    assert "river" in page
    script = re.search(r'src="(/static/[^"]+/explore\.js)"', page)
    assert script
    assert urllib.request.urlopen(address + script[1]).status == 200


def test_only_attention_atlas_lands_in_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert [top for top in tops if not top.endswith(".dist-info")] == ["attention_atlas"]


def test_importing_the_package_loads_neither_torch_nor_the_server(
    command: Path, hostile: Path
) -> None:
    script = (
        "import sys, attention_atlas; print(attention_atlas.__version__); "
        "print({'torch', 'fastapi', 'transformers'} & {*sys.modules})"
    )
    python = [str(command.parent / "python"), "-c", script]
    done = subprocess.run(python, cwd=hostile, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [attention_atlas.__version__, "set()"]
