"""GGUF files: a model in one file, unpacked once into a folder that opens like any other."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.gguf_counts import check_counts
from attention_atlas.model.hub.leftovers import making
from attention_atlas.model.hub.progress import Progress, Step
from attention_atlas.model.hub.reasons import BadModel, needs, unexpected
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


class Header(NamedTuple):
    """What a GGUF file says of itself."""

    n_parameters: int
    n_layer: int
    architecture: str


def unpacked(file: Path, limits: Limits, progress: Progress) -> Path:
    """A GGUF file as a folder of float16 safetensors, made once and kept in the cache folder."""
    size = file.stat().st_size
    _check(file)
    check_counts(file)
    header = read_header(file)
    folder.check_config({"num_hidden_layers": header.n_layer}, limits, rotates=True)
    n = header.n_parameters
    folder.check_size(folder.Weights((), n, max(4 * n, size)), limits)  # float32 on the way
    done = folder.cache() / f"{file.stem}-{folder.sha256([file])[:16]}"
    if (done / "config.json").is_file():
        return done
    progress(Step("converting", file.name, 0, size))
    with making(done.parent) as place:
        _unpack(file, place, header)
        with suppress(OSError):  # another process was first
            place.rename(done)
    return done


def read_header(file: Path) -> Header:
    """How many numbers a GGUF file's tensors hold, by their infos alone; its layers."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise needs("gguf") from None
    try:
        reader = GGUFReader(file)
        layers = [field for name, field in reader.fields.items() if name.endswith(".block_count")]
        n_layer = max((int(field.contents()) for field in layers), default=0)
        kind = reader.fields.get("general.architecture")
        n = sum(int(tensor.n_elements) for tensor in reader.tensors)
        return Header(n, n_layer, str(kind.contents()) if kind else "unknown")
    except Exception as error:  # of whatever a spoilt file says
        text = "{file} cannot be read: it is cut off, or holds something else than GGUF"
        raise unexpected(error, "damaged", text, file=file.name) from None


def _check(file: Path) -> None:
    """A GGUF file by its first bytes, and not one of several parts."""
    folder.check_whole(file)
    with file.open("rb") as opened:
        first = opened.read(4)
    if first != b"GGUF":
        raise BadModel("damaged", "{file} is no GGUF file", file=file.name)
    if (part := PART.search(file.name)) and int(part[1]) > 1:
        raise BadModel(
            "unsupported",
            "{file} is one of {n} parts of a model: join them with llama-gguf-split --merge",
            file=file.name,
            n=int(part[1]),
        )


def _unpack(file: Path, into: Path, header: Header) -> None:
    options: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    options["local_files_only"] = True
    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            dtype=torch.float16,
            quantization_config=GgufConfig(dequantize=True),
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    except Exception as error:  # each architecture has its own ways to fail
        raise unexpected(
            error,
            "unsupported",
            "{file} cannot be unpacked: transformers {version} does not read its architecture "
            "({architecture}) or its tokenizer from GGUF",
            file=file.name,
            version=transformers.__version__,
            architecture=header.architecture[:60],
        ) from None
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)
