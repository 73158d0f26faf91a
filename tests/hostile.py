"""Models of somebody who means harm: small generators, by what they do to whoever opens them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import saved
from tests.spoilt import WEIGHTS

Make = Callable[[Path], Path]


def config(**fields: Any) -> Make:
    """A BERT whose config has other values; the weights stay as they are."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        saved.changed(folder, **fields)
        return folder

    return make


def raw_config(text: str) -> Make:
    """A BERT whose config.json is this text."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        (folder / "config.json").write_text(text)
        return folder

    return make


def nested(depth: int) -> str:
    return '{"model_type": "bert", "a": ' + "[" * depth + "]" * depth + "}"


CONFIGS: dict[str, Make] = {
    "10⁹ labels": config(num_labels=10**9, id2label=None, label2id=None),
    "10⁶ labels": config(num_labels=10**6, id2label=None, label2id=None),
    "10⁹ layers": config(num_hidden_layers=10**9),
    "10¹² words": config(vocab_size=10**12),
    "10⁹ positions": config(max_position_embeddings=10**9),
    "10⁹ wide": config(hidden_size=10**9),
    "10⁹ heads": config(num_attention_heads=10**9),
    "10⁹ segments": config(type_vocab_size=10**9),
    "10⁹ in the middle": config(intermediate_size=10**9),
    "10³⁰": config(hidden_size=10**30),
    "10³⁰ inside": config(task_specific_params={"a": [{"b": 10**30}]}),
    "no heads": config(num_attention_heads=0),
    "fewer than no layers": config(num_hidden_layers=-5),
    "NaN": config(layer_norm_eps=float("nan")),
    "infinite": config(initializer_range=float("inf")),
    "nested": raw_config(nested(50_000)),
    "3 MB": raw_config('{"model_type": "bert", "a": "' + "x" * 3_000_000 + '"}'),
    "not an object": raw_config("[1]"),
    "a list of sizes": config(hidden_size=[24] * 1000),
    "text for a number": config(num_hidden_layers="9" * 1000),
}


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


def packed(fields: bytes = b"", n_tensor: int = 0, n_field: int = 0, size: int = 0) -> Make:
    """A GGUF file with this after its counts; `size`: made longer, without bytes on the disk."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        path = folder / "model.gguf"
        with path.open("wb") as file:
            file.write(b"GGUF" + struct.pack("<IQQ", 3, n_tensor, n_field) + fields)
            file.truncate(max(size, file.tell()))
        return path

    return make


def field(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def array(kind: int, n: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, n) + items


def inside(depth: int) -> bytes:
    """An array in an array in an array …"""
    return array(9, 1) * depth + array(4, 0)


GGUF: dict[str, Make] = {
    "an array of 2⁶⁰ numbers": packed(field("a", 9, array(4, 2**60)), n_field=1),
    "an array of 2⁶⁰ texts": packed(field("a", 9, array(8, 2**60)), n_field=1),
    "an array of 2⁶⁰ arrays": packed(field("a", 9, array(9, 2**60)), n_field=1),
    "arrays in arrays": packed(field("a", 9, inside(2_000)), n_field=1),
    "2⁶⁰ fields": packed(n_field=2**60),
    "2⁶⁰ tensors": packed(n_tensor=2**60),
    "a key of 2⁶⁰ letters": packed(struct.pack("<Q", 2**60), n_field=1),
    "a text of 2⁶⁰ letters": packed(field("a", 8, struct.pack("<Q", 2**60)), n_field=1),
    "a type that is none": packed(field("a", 77, b"\0" * 8), n_field=1),
    "2³² dimensions": packed(field("t", 2**32 - 1, b"\0" * 64), n_tensor=1),
    "20 GB of nothing": packed(size=20_000_000_000),
    "20 GB of fields": packed(n_field=9_000, size=20_000_000_000),
    "20 GB of tensors": packed(n_tensor=19_000, size=20_000_000_000),
    "cut off": packed(field("a", 8, struct.pack("<Q", 9)), n_field=1),
}


def tokenizer(**parts: Any) -> Make:
    """A BERT whose tokenizer.json has other parts."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
        return folder

    return make


def replaced(char: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": char}, "content": by}


def steps(*each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": [*each]}


def deep(step: dict[str, Any], depth: int) -> dict[str, Any]:
    for _ in range(depth):
        step = steps(step)
    return step


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def counted(n: int) -> dict[str, Any]:
    """A vocabulary whose ids are beyond every table."""
    words = {"[UNK]": n, "[CLS]": n + 1, "[SEP]": n + 2, "[PAD]": n + 3, "[MASK]": n + 4}
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words}  # fmt: skip


TOKENIZERS: dict[str, Make] = {
    "a is 10⁹ a": tokenizer(normalizer=steps(*[replaced("a", "a" * 10)] * 9)),
    "a rare letter is 10⁹": tokenizer(normalizer=steps(*[replaced("ж", "ж" * 10)] * 9)),
    "a is a million": tokenizer(normalizer=replaced("a", "a" * 1_000_000)),
    "a is 1,000 b, b 1,000 c": tokenizer(
        normalizer=steps(replaced("a", "b" * 1_000), replaced("b", "c" * 1_000))
    ),
    "steps in steps": tokenizer(normalizer=deep(replaced("a", "b"), 60)),
    "a pattern that is none": tokenizer(pre_tokenizer=split("(((")),
    "ids of 4 billion": tokenizer(model=counted(4_000_000_000)),
    "no model": tokenizer(model=None),
    "a step of another type": tokenizer(normalizer={"type": "Nothing"}),
    "a step that is text": tokenizer(normalizer="lower"),
    "a model of another type": tokenizer(model={"type": "Nothing"}),
    "no vocabulary": tokenizer(model={"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]"}),
}
HOSTILE = {
    **{f"config: {name}": make for name, make in CONFIGS.items()},
    **{f"safetensors: {name}": make for name, make in SAFETENSORS.items()},
    **{f"gguf: {name}": make for name, make in GGUF.items()},
    **{f"tokenizer: {name}": make for name, make in TOKENIZERS.items()},
}
