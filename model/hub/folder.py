"""A folder that holds a Hugging Face model, looked at before anything in it is loaded.

Only JSON, the headers of safetensors files and the names of the rest are read: no pickle is ever
opened, no code of the folder ever run. Raises `BadModel`, whose reason says which limit or lack.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch

Reason = Literal[
    "not-found",
    "offline",
    "no-safetensors",
    "damaged",
    "remote-code",
    "too-large",
    "no-memory",
    "not-text",
    "unsupported",
]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows
BESIDE = (".json", ".txt", ".model", ".spm", ".jinja")  # what config and tokenizer are kept in
LONGEST = 100_000_000  # bytes of such a file
MOST_BESIDE = 2 * LONGEST  # bytes of all of them
MOST_LAYERS = 512
MOST_POSITIONS = 32_768  # of a model that makes a vector for each
LAYERS = re.compile(r"(num|n|encoder|decoder)(_\w+)?_layers?")
POSITIONS = re.compile(r"(max_position_embeddings|n_positions|max_seq_len|max_\w+_positions)")
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
BYTES |= {"BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
SPARE = 1.2  # memory that a model takes while it is loaded, by its weights' size


class BadModel(Exception):
    """A model that cannot be opened, and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Limits:
    """What a model may be."""

    parameters: int = 2_000_000_000
    memory: int | None = None  # bytes there are; None: what the machine says
    device: torch.device | None = None  # whose memory counts too


@dataclass(frozen=True)
class Weights:
    """The files of a model's tensors, how many numbers they hold and how many bytes."""

    files: tuple[Path, ...]
    n_parameters: int
    n_byte: int


def is_folder(name: str) -> bool:
    """Whether a name is meant as a path: it is one here, or it cannot be a name on the Hub."""
    try:
        return not HUB_NAME.fullmatch(name) or Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # longer than a path may be, of nobody's home
        return True


def found(name: str) -> Path:
    """The folder or GGUF file of that name."""
    try:
        path = Path(name).expanduser()
        if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
            return path.resolve()
    except (OSError, RuntimeError, ValueError):
        pass
    raise BadModel("not-found", f"there is no model at {name[:200]}: no such folder or .gguf file")


def as_asked(name: str) -> str:
    """One spelling of a folder, however it is written; the name itself of what is none."""
    try:
        return str(found(name)) if is_folder(name) else name
    except BadModel:
        return name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder."""
    if path.is_file() and path.stat().st_size > LONGEST:
        raise BadModel("damaged", f"{path.name} is longer than {LONGEST:,} bytes")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel("damaged", f"{path.name} cannot be read: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise BadModel("damaged", f"{path.name} is not a JSON object")
    return content


def config(folder: Path) -> dict[str, Any]:
    """A model's config.json."""
    path = folder / "config.json"
    if not path.is_file():
        raise BadModel("not-found", f"{folder.name} holds no config.json: not a model's folder")
    content = read_json(path)
    names = content.get("architectures")
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    types = {
        "model_type": isinstance(content.get("model_type", ""), str),
        "architectures": listed or names is None,
        "auto_map": isinstance(content.get("auto_map") or {}, dict),
    }
    if bad := [key for key, is_right in types.items() if not is_right]:
        raise BadModel("damaged", f"config.json has {bad[0]} of the wrong type")
    return content


def weights(folder: Path) -> Weights:
    """The safetensors files of a folder, each whole; sizes that an index claims count too."""
    whole, index = folder / ONE_FILE, folder / INDEX
    if whole.is_file() or not index.is_file():  # as transformers chooses
        files, total = [whole], 0
    else:
        names, total = indexed(index)
        files = [folder / name for name in names]
    there = [path for path in files if path.is_file()]
    if not there and files == [whole]:
        raise BadModel("no-safetensors", _no_safetensors(folder))
    sizes = [_header(path) for path in there]
    n_byte = max(sum(size for _, size in sizes), total)
    n_parameters = max(sum(n for n, _ in sizes), total // 4)
    return Weights(tuple(files), n_parameters, n_byte)


def indexed(index: Path) -> tuple[list[str], int]:
    """The safetensors files that an index names, and how many bytes it says that they hold."""
    content = read_json(index)
    names, about = content.get("weight_map"), content.get("metadata") or {}
    if not isinstance(names, dict) or not names:
        raise BadModel("damaged", f"{index.name} has no weight_map")
    total = about.get("total_size", 0) if isinstance(about, dict) else None
    if not isinstance(total, int | float) or not 0 <= total < 2**63:
        raise BadModel("damaged", f"the total_size in {index.name} is no number of bytes")
    if not all(isinstance(name, str) for name in names.values()):
        raise BadModel("damaged", f"the weight_map of {index.name} does not lead to files")
    return [_inside(name) for name in sorted(set(names.values()))], int(total)


def check_size(found: Weights, limits: Limits) -> None:
    """Not more parameters than are allowed, nor more bytes than there is memory for."""
    if found.n_parameters > limits.parameters:
        raise BadModel(
            "too-large",
            f"the model has {found.n_parameters:,} parameters; "
            f"at most {limits.parameters:,} are taken (MAX_PARAMETERS)",
        )
    check_memory(found.n_byte, limits)
    missing = [path.name for path in found.files if not path.is_file()]
    if missing:
        raise BadModel("damaged", f"files that the index names are not there: {missing[0]}")


def check_config(content: dict[str, Any], limits: Limits, *, rotates: bool) -> None:
    """Nothing that a config alone makes long: it is built before tensors are missed. Positions
    that rotate take no vectors."""
    sizes = {key: n for key, n in content.items() if isinstance(n, int | float)}
    for key, n in sizes.items():
        most = MOST_LAYERS if LAYERS.fullmatch(key) else None
        most = MOST_POSITIONS if POSITIONS.fullmatch(key) and not rotates else most
        if most is not None and n > most:
            raise BadModel("too-large", f"config.json says {key} {n:,}; at most {most:,} are taken")
    words = sizes.get("vocab_size", 0)
    if words * max(1, sizes.get("hidden_size", 0), sizes.get("d_model", 0)) > limits.parameters:
        said = f"at most {limits.parameters:,} parameters are taken (MAX_PARAMETERS)"
        raise BadModel("too-large", f"config.json says vocab_size {words:,}; {said}")


def check_memory(n_byte: int, limits: Limits) -> None:
    """Memory for so many bytes of weights."""
    there = {"": available_memory() if limits.memory is None else limits.memory}
    if limits.device is not None and limits.device.type == "cuda":
        there[" on the GPU"] = torch.cuda.mem_get_info(limits.device)[0]
    for where, free in there.items():
        if free is not None and n_byte * SPARE > free:
            raise BadModel(
                "no-memory",
                f"the weights take {n_byte / 1e9:.1f} GB and some more while they load; "
                f"{free / 1e9:.1f} GB of memory are free{where}",
            )


def available_memory() -> int | None:
    """Bytes of memory that are free for a new program; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def sha256(files: Iterable[Path]) -> str:
    """Of a model's weights: of the file, or of its files one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def revision(folder: Path) -> str:
    """The sha256 of what is beside the weights: the same tensors with another config or tokenizer
    are another model."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name.endswith(BESIDE) and path.is_file() and path.stat().st_size <= LONGEST:
            digest.update(repr((path.name, sha256([path]))).encode())
    return digest.hexdigest()


def stamp(path: Path) -> tuple[object, ...]:
    """When a model's files were written and how long they are: another stamp, other files."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    taken = (*BESIDE, ".safetensors", ".gguf")
    found = ((file.name, file.stat()) for file in files if file.name.endswith(taken))
    return tuple((name, said.st_mtime_ns, said.st_size) for name, said in found)


def cache() -> Path:
    """Where what was converted once is kept for the next time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "attention-atlas"


def _inside(name: str) -> str:
    """The name of a file of the folder, and of no other."""
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise BadModel("damaged", f"the index names {name[:60]!r}, which is no file of its folder")
    return name


def _no_safetensors(folder: Path) -> str:
    other = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
    has = f"only {', '.join(other[:3])}, which can run code when it is opened" if other else "none"
    return (
        f"{folder.name} has no model.safetensors: {has}. Save the model with "
        "save_pretrained of a recent transformers"
    )


def _header(path: Path) -> tuple[int, int]:
    """How many numbers and bytes a safetensors file holds, by its header; it must be whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise BadModel("damaged", f"{path.name} is cut off: {size:,} bytes are there")
        try:
            header = json.loads(file.read(length))
            tensors = {name: row for name, row in header.items() if name != "__metadata__"}
            end = max((int(row["data_offsets"][1]) for row in tensors.values()), default=0)
            n = sum(prod(row["shape"]) for row in tensors.values())
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ):
            raise BadModel("damaged", f"{path.name} has no readable safetensors header") from None
    if 8 + length + end != size:
        raise BadModel(
            "damaged",
            f"{path.name} is not whole: {size:,} of {8 + length + end:,} bytes are there",
        )
    return n, end
