"""safetensors files of somebody who means harm: what their headers say, and where links lead."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

from tests import saved
from tests.hostile.configs import Make
from tests.spoilt import INDEX, WEIGHTS


def header(rows: dict[str, Any], length: int | None = None, body: bytes = b"") -> Make:
    """A BERT whose safetensors file has this header."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        text = json.dumps(rows).encode()
        start = struct.pack("<Q", len(text) if length is None else length)
        (folder / WEIGHTS).write_bytes(start + text + body)
        return folder

    return make


def row(shape: list[Any], offsets: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def many_tensors(folder: Path) -> Path:
    return header({f"t{n}": row([0], [0, 0]) for n in range(500_000)})(folder)


SAFETENSORS: dict[str, Make] = {
    "500,000 tensors": many_tensors,
    "a header of 2⁶³": header({}, length=2**63),
    "a header of 20 MB": header({}, length=20_000_000),
    "a tensor of 2⁶⁰": header({"a": row([2**60], [0, 2**62])}),
    "a shape of many": header({"a": row([2] * 1_000, [0, 4])}, body=b"\0" * 4),
    "a shape of less than 0": header({"a": row([-1, -4], [0, 16])}, body=b"\0" * 16),
    "a shape of text": header({"a": row(["x"], [0, 4])}, body=b"\0" * 4),
    "offsets that turn": header({"a": row([1], [8, 4])}, body=b"\0" * 4),
    "offsets before the start": header({"a": row([1], [-8, 4])}, body=b"\0" * 4),
    "one place twice": header({"a": row([1], [0, 4]), "b": row([1], [0, 4])}, body=b"\0" * 4),
    "no type": header({"a": row([1], [0, 4], "X99")}, body=b"\0" * 4),
    "a type of 300 letters": header({"a": row([1], [0, 4], "F" * 300)}, body=b"\0" * 4),
    "no tensor": header({}),
}


def raw_header(text: bytes, body: bytes = b"") -> Make:
    """A BERT whose safetensors file has this text for a header."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + body)
        return folder

    return make


def index(*names: Any, **others: Any) -> Make:
    """A BERT whose weights are in the files of this index."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
        files = {f"t{n}": name for n, name in enumerate(names)}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files} | others))
        return folder

    return make


def linked(name: str, to: str) -> Make:
    """A BERT with a link in place of one of its files."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        (folder / name).unlink()
        (folder / name).symlink_to(to)
        return folder

    return make


def pipe(name: str) -> Make:
    """A BERT with a pipe in place of one of its files: who opens it waits for a writer."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        return folder

    return make


WORDS = "bert.embeddings.word_embeddings.weight"
SAFETENSORS |= {
    "half over another": header({"a": row([2], [0, 8]), "b": row([2], [4, 12])}, body=b"\0" * 12),
    "a gap": header({"a": row([1], [0, 4]), "b": row([1], [8, 12])}, body=b"\0" * 12),
    "offsets of NaN": raw_header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[NaN,4]}}', b"\0" * 4
    ),
    "a product of 2⁶⁶": header({"a": row([2**33, 2**33], [0, 4])}, body=b"\0" * 4),
    "a product of 2⁶⁴ that is 0": header({"a": row([2**32, 2**32], [0, 0])}),
    "words of no width": header({WORDS: row([12_000, 0], [0, 0])}),
    "whole numbers for weights": header({WORDS: row([3, 8], [0, 192], "I64")}, body=b"\xff" * 192),
    "truths for weights": header({WORDS: row([3, 8], [0, 24], "BOOL")}, body=b"\x07" * 24),
    "a shape of halves": header({"a": row([0.5, 2], [0, 4])}, body=b"\0" * 4),
    "a shape of truths": header({"a": row([True], [0, 4])}, body=b"\0" * 4),
    "a name of 10 MB": header({"t" * 10_000_000: row([1], [0, 4])}, body=b"\0" * 4),
    "a name twice": raw_header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
        b"\0" * 36,
    ),
    "a list": raw_header(b"[" * 100_000),
    "no text": raw_header(b'{"\xff\xfe": 1}'),
    "no row": raw_header(b'{"a": 7}'),
    "words about it that are none": raw_header(b'{"__metadata__": {"a": {"b": [1]}}}'),
    "a file beside the folder": index("../outside.safetensors"),
    "a file at the root": index("/etc/passwd"),
    "a file of the folder that is none": index("a/b.safetensors"),
    "names of 2⁶² bytes": index("outside.safetensors", metadata={"total_size": 2**62}),
    "an index of numbers": index(7),
    "weights without end": linked(WEIGHTS, "/dev/zero"),
    "weights in a loop": linked(WEIGHTS, WEIGHTS),
    "a config without end": linked("config.json", "/dev/zero"),
    "a config in a pipe": pipe("config.json"),
    "weights in a pipe": pipe(WEIGHTS),
}
