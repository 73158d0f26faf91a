"""Where a model is that is named by a path: the folder or GGUF file itself, or a folder in it.

What people have besides a folder of `save_pretrained` is told apart here: an adapter alone, the
layouts of sentence-transformers, the Hub's cache, a pipeline of diffusers, a folder of checkpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_atlas.model.hub.folder import ADAPTER, CONFIG, has_weights, read_json
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.zoo import Note

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
MODULES, PIPELINE = "modules.json", "model_index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_NAMED = 3  # files or folders that a sentence names


@dataclass(frozen=True)
class Located:
    """The folder or GGUF file of a model, and what is known about it."""

    path: Path
    notes: tuple[Note, ...] = ()


def is_path(name: str) -> bool:
    """Whether a name is meant as a path: it is one here, or it cannot be a name on the Hub."""
    try:
        return not HUB_NAME.fullmatch(name) or Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # longer than a path may be, of nobody's home
        return True


def named(name: str) -> Path:
    """The folder or GGUF file of that name."""
    try:
        path = Path(name).expanduser()
        if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
            return path.resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError):
        is_file = False
    if not is_file:
        raise BadModel(
            "not-found",
            "there is no model at {name}: no such folder or .gguf file",
            name=name[:200],
        )
    if path.suffix in PICKLES:
        raise BadModel(
            "no-safetensors",
            "{file} can run code when it is opened: save the model as safetensors, with "
            "save_pretrained of transformers, and name that folder",
            file=path.name,
        )
    raise BadModel(
        "not-found",
        "{file} is one file of a model: name the folder that it is in",
        file=path.name,
    )


def canonical(name: str) -> str:
    """One spelling of a path, however it is written; the name itself of what is none."""
    try:
        return str(named(name)) if is_path(name) else name
    except BadModel:
        return name


def located(path: Path, name: str) -> Located:
    """The folder or GGUF file that holds a model, at `path` or in it. Raises BadModel."""
    if path.is_file():
        return Located(path)
    folder = _in_cache(path)
    if not has_weights(folder):
        folder = _first_module(folder, name) or folder
    packed = sorted(folder.glob("*.gguf"))
    if packed and not has_weights(folder):
        return Located(_one_of(packed, name))
    if (folder / ADAPTER).is_file() and not has_weights(folder):
        raise adapter_alone(read_json(folder / ADAPTER), name)
    if not (folder / CONFIG).is_file():
        raise _no_config(folder, name)
    return Located(folder, _notes(folder, packed))


def adapter_alone(content: dict[str, Any], name: str) -> BadModel:
    """What to say of a LoRA or another adapter without the model that it was trained for."""
    base = content.get("base_model_name_or_path")
    values = {"name": name, "kind": str(content.get("peft_type") or "PEFT")[:40]}
    if not isinstance(base, str) or not base:
        return BadModel(
            "unsupported",
            "{name} is an adapter ({kind}) without its base model: merge the two with peft, "
            "merge_and_unload(), save the result with save_pretrained and open that folder",
            **values,
        )
    # The path of somebody's machine says nothing to others but for its end.
    base = base if HUB_NAME.fullmatch(base) else re.split(r"[/\\]", base.rstrip("/\\"))[-1]
    return BadModel(
        "unsupported",
        "{name} is an adapter ({kind}) for {base}, without the weights of that model: open {base}, "
        "or merge the two with peft, merge_and_unload(), save the result with save_pretrained and "
        "open that folder",
        **values,
        base=base[:100],
    )


def pipeline(name: str, parts: list[str]) -> BadModel:
    """What to say of a folder of diffusers, whose models are in folders of it."""
    readers = [part for part in parts if part.startswith("text_encoder")]
    if not readers:
        return BadModel("not-text", "{name} is a pipeline of diffusers without a text encoder",
                        name=name)  # fmt: skip
    return BadModel(
        "not-text",
        "{name} is a pipeline of diffusers, several models in one folder; what reads text in it "
        "is {parts}: name that folder",
        name=name,
        parts=listed(readers),
    )


def listed(names: list[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


def module_folder(content: Any) -> tuple[str, str]:
    """Of modules.json, the folder and the type of the first module: what reads the text."""
    first = content[0] if isinstance(content, list) and content else {}
    first = first if isinstance(first, dict) else {}
    return str(first.get("path", "")), str(first.get("type", "")).split(".")[-1]


def _in_cache(path: Path) -> Path:
    """The snapshot of a folder of the Hub's cache (models--org--name); any other as it is."""
    snapshots, main = path / "snapshots", path / "refs" / "main"
    if not snapshots.is_dir() or (path / CONFIG).exists():
        return path
    if main.is_file() and (snapshot := snapshots / main.read_text().strip()).is_dir():
        return snapshot
    folders = [folder for folder in snapshots.iterdir() if folder.is_dir()]
    return folders[0] if len(folders) == 1 else path


def _first_module(path: Path, name: str) -> Path | None:
    """Where sentence-transformers keeps the Transformer; older ones in a folder of its own."""
    if not (path / MODULES).is_file():
        return None
    inside, kind = module_folder(read_json(path / MODULES, kind=list))
    folder = path / inside
    if Path(inside).name != inside or not (folder / CONFIG).is_file():
        inside = ""
    if inside:
        return folder
    if not (path / CONFIG).is_file():
        raise BadModel(
            "unsupported",
            "{name} is a model of sentence-transformers whose first part is {kind}, "
            "not a Transformer of transformers",
            name=name,
            kind=kind[:60] or "unknown",
        )
    return None


def _one_of(packed: list[Path], name: str) -> Path:
    """The only GGUF file of a folder."""
    if len(packed) == 1:
        return packed[0]
    raise BadModel(
        "not-found",
        "{name} holds {n} GGUF files: name one of them, {files}",
        name=name,
        n=len(packed),
        files=listed([path.name for path in packed]),
    )


def _no_config(folder: Path, name: str) -> BadModel:
    """What to say of a folder without a config.json."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    models = [path.name for path in inside if path.is_dir() and (path / CONFIG).is_file()]
    if not inside:
        return BadModel("not-found", "{name} is empty", name=name)
    if (folder / PIPELINE).is_file():
        return pipeline(name, models)
    if (folder / CONFIG).is_symlink():
        return BadModel("damaged", "{file} is a link to a file that does not exist", file=CONFIG)
    if models:
        return BadModel(
            "not-found",
            "{name} holds no config.json, but folders in it do: name one of them, {folders}",
            name=name,
            folders=listed(models),
        )
    if (folder / "params.json").is_file():
        return BadModel(
            "unsupported",
            "{name} is in its maker's own format (params.json): convert it to that of "
            "transformers, or open the repository that has it in that format",
            name=name,
        )
    return BadModel(
        "not-found",
        "{name} holds no config.json: it is not a folder that save_pretrained wrote",
        name=name,
    )


def _notes(folder: Path, packed: list[Path]) -> tuple[Note, ...]:
    """What is in a model's folder and not shown."""
    notes = []
    if (folder / ADAPTER).is_file():
        kind = str(read_json(folder / ADAPTER).get("peft_type") or "PEFT")[:40]
        text = "The folder also holds an adapter ({kind}): the base model alone is shown."
        notes.append(Note(text, {"kind": kind}))
    if packed:
        text = "Of this folder the safetensors files are shown, not {files}."
        notes.append(Note(text, {"files": listed([path.name for path in packed])}))
    return tuple(notes)
