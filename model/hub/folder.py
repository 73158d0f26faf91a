"""A folder that holds a Hugging Face model, looked at before anything in it is loaded.

Only JSON, the headers of safetensors files and the names of the rest are read: no pickle is ever
opened, no code of the folder ever run. Raises `BadModel`, whose reason says which limit or lack.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from attention_atlas.model.hub.numbers import check_values
from attention_atlas.model.hub.reasons import BadModel, unexpected

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
CONFIG, ADAPTER = "config.json", "adapter_config.json"
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LONGEST_HEADER = 25_000_000  # bytes; 100,000 tensors have half of that
BESIDE = (".json", ".txt", ".model", ".spm", ".jinja")  # what config and tokenizer are kept in
LONGEST = 100_000_000  # bytes of such a file
MOST_BESIDE = 2 * LONGEST  # bytes of all of them
MOST_CONFIG = 2_000_000  # bytes of config.json; those of models with 10,000 labels have less
LONGEST_OF = {  # read in this process, before a child opens the model
    **dict.fromkeys((CONFIG, ADAPTER, "modules.json"), MOST_CONFIG),
    INDEX: LONGEST_HEADER,
}
MOST_TENSORS = 100_000  # of one file
MOST_VALUES = 250_000  # in such JSON: Python makes some 200 bytes of each
MOST_IN_HEADER = 12 * MOST_TENSORS  # values in a safetensors header: some 8 for each tensor
MOST_LAYERS = 512
MOST_FOLDERS = 20  # in a model's folder, that are looked at
MOST_POSITIONS = 32_768  # of a model that makes a vector for each
LAYERS = re.compile(r"(num|n|encoder|decoder)(_\w+)?_layers?")
POSITIONS = re.compile(r"(max_position_embeddings|n_positions|max_seq_len|max_\w+_positions)")
FLOATS = ("F64", "F32", "F16", "BF16")
LFS = b"version https://git-lfs.github.com/spec/v1"
PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04")  # a zip file of torch.save, or an older one
# Files that hold weights and are not read -> what to say of them; the first that match count.
OTHER_WEIGHTS = {
    r"model-\d+-of-\d+\.safetensors": "{name} has {files} without the index that says what is "
    "in them: model.safetensors.index.json is missing",
    r".*\.safetensors": "{name} has no model.safetensors, but {files}: rename it, or name a "
    "folder that save_pretrained wrote",
    r"(?!optimizer|scheduler|training_args|rng_state).*\.(bin|pt|pth|ckpt)": "{name} has no "
    "model.safetensors: only {files}, which can run code when it is opened. Save the model with "
    "save_pretrained of a recent transformers",
    r".*\.(msgpack|h5|ot|onnx|tflite|mlmodel)": "{name} has no model.safetensors: only {files}, "
    "weights for another library. Save the model with save_pretrained of transformers",
}
SPARE = 1.2  # memory that a model takes while it is loaded, by its weights' size


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


def read_json(path: Path, kind: type = dict) -> Any:
    """A JSON object, or a list, of a model's folder; no longer than such a file may be."""
    longest = LONGEST_OF.get(path.name, LONGEST)
    if path.is_file() and path.stat().st_size > longest:
        raise BadModel(
            "damaged", "{file} is longer than {n} bytes", file=path.name, n=f"{longest:,}"
        )
    check_whole(path)
    try:
        data = path.read_bytes()
        if path.name in LONGEST_OF:
            check_values(data, path.name, MOST_VALUES)
        content = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise unexpected(error, "damaged", "{file} cannot be read", file=path.name) from None
    except UnicodeDecodeError:
        raise BadModel("damaged", "{file} is not UTF-8 text", file=path.name) from None
    except (ValueError, RecursionError):
        if data.startswith(BOM_UTF8):
            text = "{file} begins with a byte order mark: save it as UTF-8 without one"
            raise BadModel("damaged", text, file=path.name) from None
        raise BadModel("damaged", "{file} is not valid JSON", file=path.name) from None
    if not isinstance(content, kind):
        what = "object" if kind is dict else "list"
        raise BadModel("damaged", "{file} is not a JSON {what}", file=path.name, what=what)
    return content


def config(folder: Path) -> dict[str, Any]:
    """A model's config.json; what is null or an empty list in it is the same as not there."""
    content: dict[str, Any] = read_json(folder / CONFIG)
    types: dict[str, type] = {
        "model_type": str,
        "architectures": list,
        "auto_map": dict,
        "quantization_config": dict,
        "pruned_heads": dict,
    }
    content = {key: value for key, value in content.items() if value is not None}
    for key, kind in types.items():
        if not isinstance(content.get(key, kind()), kind):
            raise _wrong_type(key)
    if not all(isinstance(name, str) for name in content.get("architectures", [])):
        raise _wrong_type("architectures")
    return {key: value for key, value in content.items() if value != []}


def has_weights(folder: Path) -> bool:
    """Whether there are weights under the names that transformers looks for."""
    return (folder / ONE_FILE).is_file() or (folder / INDEX).is_file()


def weights(folder: Path) -> Weights:
    """The safetensors files of a folder, each whole; sizes that an index claims count too."""
    whole, index = folder / ONE_FILE, folder / INDEX
    if not has_weights(folder):
        if whole.is_symlink():
            raise BadModel(
                "damaged", "{file} is a link to a file that does not exist", file=ONE_FILE
            )
        names = [path.name for path in folder.iterdir() if path.is_file()]
        raise no_safetensors(folder.name, names)
    if whole.is_file():  # as transformers chooses
        files, total = [whole], 0
    else:
        names, total = indexed(index)
        files = [folder / name for name in names]
    sizes = [header(path) for path in files if path.is_file()]
    n_byte = max(sum(size for _, size in sizes), total)
    n_parameters = max(sum(n for n, _ in sizes), total // 4)
    return Weights(tuple(files), n_parameters, n_byte)


def indexed(index: Path) -> tuple[list[str], int]:
    """The safetensors files that an index names, and how many bytes it says that they hold."""
    content = read_json(index)
    names, about = content.get("weight_map"), content.get("metadata") or {}
    if not isinstance(names, dict) or not names:
        raise BadModel("damaged", "{file} has no weight_map", file=index.name)
    total = about.get("total_size", 0) if isinstance(about, dict) else None
    if not isinstance(total, int | float) or not 0 <= total < 2**63:
        raise BadModel("damaged", "the total_size in {file} is no number of bytes", file=index.name)
    if not all(isinstance(name, str) for name in names.values()):
        raise BadModel("damaged", "the weight_map of {file} has no file names", file=index.name)
    return [_inside(name) for name in sorted(set(names.values()))], int(total)


def check_size(model: Weights, limits: Limits) -> None:
    """Not more parameters than are allowed, nor more bytes than there is memory for."""
    if model.n_parameters > limits.parameters:
        raise BadModel(
            "too-large",
            "the model has {n} parameters; at most {most} are taken (MAX_PARAMETERS)",
            n=f"{model.n_parameters:,}",
            most=f"{limits.parameters:,}",
        )
    check_memory(model.n_byte, limits)
    missing = [path.name for path in model.files if not path.is_file()]
    if missing:
        raise BadModel(
            "damaged",
            "files that the index names are missing: {files}",
            files=", ".join(missing[:3]),
        )


def check_config(content: dict[str, Any], limits: Limits, *, rotates: bool) -> None:
    """Nothing that a config alone makes long: it is built before tensors are missed. Positions
    that rotate take no vectors."""
    sizes = {key: n for key, n in content.items() if isinstance(n, int | float)}
    for key, n in sizes.items():
        most = MOST_LAYERS if LAYERS.fullmatch(key) else None
        most = MOST_POSITIONS if POSITIONS.fullmatch(key) and not rotates else most
        if most is not None and n > most:
            raise BadModel(
                "too-large",
                "config.json says {key} {n}; at most {most} are taken",
                key=key,
                n=f"{n:,}",
                most=f"{most:,}",
            )
    words = sizes.get("vocab_size", 0)
    if words * max(1, sizes.get("hidden_size", 0), sizes.get("d_model", 0)) > limits.parameters:
        raise BadModel(
            "too-large",
            "config.json says vocab_size {n}; at most {most} parameters are taken (MAX_PARAMETERS)",
            n=f"{words:,}",
            most=f"{limits.parameters:,}",
        )


def check_memory(n_byte: int, limits: Limits) -> None:
    """Memory for so many bytes of weights."""
    free = available_memory() if limits.memory is None else limits.memory
    if free is not None and n_byte * SPARE > free:
        raise BadModel(
            "no-memory",
            "the weights take {n} GB and some more while they load; {free} GB of memory are free",
            n=f"{n_byte / 1e9:.1f}",
            free=f"{free / 1e9:.1f}",
        )
    if limits.device is None or limits.device.type != "cuda":
        return
    free = torch.cuda.mem_get_info(limits.device)[0]
    if n_byte * SPARE > free:
        raise BadModel(
            "no-memory",
            "the weights take {n} GB and some more while they load; {free} GB of the GPU's "
            "memory are free",
            n=f"{n_byte / 1e9:.1f}",
            free=f"{free / 1e9:.1f}",
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


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """The folder without an adapter in it: transformers would apply that, if peft is installed."""
    if not (folder / ADAPTER).is_file():
        yield folder
        return
    with TemporaryDirectory() as links:
        for path in folder.iterdir():
            if not path.name.startswith("adapter_"):
                (Path(links) / path.name).symlink_to(path.resolve())
        yield Path(links)


def stamp(path: Path) -> tuple[object, ...]:
    """Which files a model has, when they were changed and how long they are: another stamp, other
    files. (st_mtime can be set to what it was; st_ctime cannot.)"""
    inside = sorted(path.iterdir()) if path.is_dir() else []
    places = [place for place in inside if place.is_dir()][:MOST_FOLDERS]
    files = [*inside, *(file for place in places for file in sorted(place.iterdir()))] or [path]
    taken = (*BESIDE, ".safetensors", ".gguf")
    stats = ((file, file.stat()) for file in files if file.name.endswith(taken) and file.exists())
    return tuple(
        (str(file.relative_to(path)), stat.st_ino, stat.st_ctime_ns, stat.st_size)
        for file, stat in stats
    )


def cache() -> Path:
    """Where what was converted once is kept for the next time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "attention-atlas"


def no_safetensors(name: str, files: Iterable[str]) -> BadModel:
    """What to say of a model's files that hold no weights which are read here."""
    for pattern, template in OTHER_WEIGHTS.items():
        matches = sorted(file for file in files if re.fullmatch(pattern, file))
        if matches:
            return BadModel("no-safetensors", template, name=name, files=", ".join(matches[:3]))
    return BadModel("no-safetensors", "{name} holds no weights: no model.safetensors", name=name)


def check_whole(path: Path) -> None:
    """Not what Git leaves where a large file was not fetched, nor a pickle of another name."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        first = file.read(len(LFS))
    if first == LFS:
        raise BadModel(
            "damaged",
            "{file} is a pointer of Git LFS, not the file itself: run git lfs pull in its folder",
            file=path.name,
        )
    if first.startswith(PICKLED) and any(first[4:8]):  # zero in a safetensors file's length
        raise BadModel(
            "damaged",
            "{file} was not written by safetensors: it is a file of torch.save, which can run code "
            "when it is opened",
            file=path.name,
        )


def too_many_tensors(file: str, n: int) -> BadModel:
    return BadModel(
        "too-large",
        "{file} has {n} tensors; at most {most} are taken",
        file=file,
        n=f"{n:,}",
        most=f"{MOST_TENSORS:,}",
    )


def _wrong_type(key: str) -> BadModel:
    return BadModel("damaged", "config.json has {key} of the wrong type", key=key)


def _inside(name: str) -> str:
    """The name of a file of the folder, and of no other."""
    if Path(name).name != name or not name.endswith(".safetensors"):
        text = "the index names {name}, which is no file of its folder"
        raise BadModel("damaged", text, name=repr(name[:60]))
    return name


def header(path: Path) -> tuple[int, int]:
    """How many numbers and bytes a safetensors file holds, by its header; it must be whole."""
    check_whole(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise BadModel(
                "damaged", "{file} is cut off: {n} bytes are there", file=path.name, n=f"{size:,}"
            )
        try:
            data = file.read(length)
            check_values(data, path.name, MOST_IN_HEADER)
            header = json.loads(data)
            tensors = {name: row for name, row in header.items() if name != "__metadata__"}
            if len(tensors) > MOST_TENSORS:
                raise too_many_tensors(path.name, len(tensors))
            end = max((int(row["data_offsets"][1]) for row in tensors.values()), default=0)
            n = sum(prod(row["shape"]) for row in tensors.values())
            packed = [row["dtype"] for name, row in tensors.items() if _is_packed(name, row)]
        except UNREADABLE:
            raise BadModel(
                "damaged", "{file} has no readable safetensors header", file=path.name
            ) from None
    if 8 + length + end != size:
        raise BadModel(
            "damaged",
            "{file} is not whole: {n} of {total} bytes are there",
            file=path.name,
            n=f"{size:,}",
            total=f"{8 + length + end:,}",
        )
    if packed:
        raise BadModel(
            "unsupported",
            "its weights are quantised (stored as {dtype}): open the model that they were made "
            "from, in float16 or more",
            dtype=str(packed[0])[:20],
        )
    return n, end


def _is_packed(name: str, row: dict[str, Any]) -> bool:
    """Whether a tensor of the header is a weight in fewer bits than a model is computed in."""
    is_weight = name.endswith("weight") and len(row["shape"]) > 1
    return is_weight and row["dtype"] not in FLOATS
