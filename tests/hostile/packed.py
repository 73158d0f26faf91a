"""GGUF files of somebody who means harm, by what their headers say."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.hostile.configs import Make


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


def plain(key: str, text: str) -> bytes:
    return field(key, 8, struct.pack("<Q", len(text.encode())) + text.encode())


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    """The description of a tensor."""
    dims = struct.pack(f"<{len(shape)}Q", *shape)
    start = struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(shape))
    return start + dims + struct.pack("<IQ", kind, offset)


def llama(*others: bytes, n_field: int = 0) -> tuple[bytes, int]:
    """The fields of a small Llama, with others after them, which count."""
    names = ("block_count", "embedding_length", "feed_forward_length", "context_length")
    numbers = [field(f"llama.{name}", 4, struct.pack("<I", 8)) for name in names]
    heads = field("llama.attention.head_count", 4, struct.pack("<I", 2))
    fields = [plain("general.architecture", "llama"), *numbers, heads, *others]
    return b"".join(fields), len(fields) + n_field


def of_llama(*others: bytes, tensors: tuple[bytes, ...] = ()) -> Make:
    fields, n = llama(*others)
    body = fields + b"".join(tensors) + b"\0" * 256
    return packed(body, n_tensor=len(tensors), n_field=n)


def packed_as(version: int) -> Make:
    """A file of this version of the format."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        path = folder / "model.gguf"
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 1, 1) + b"\0" * 64)
        return path

    return make


GGUF |= {
    "a key twice": packed(plain("a", "x") * 2, n_field=2),
    "a key that is no text": packed(
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc" + struct.pack("<IB", 0, 1), n_field=1
    ),
    "no architecture": packed(plain("general.name", "x"), n_field=1),
    "an architecture that is none": packed(plain("general.architecture", "x" * 100_000), n_field=1),
    "an architecture that turns": packed(
        plain("general.architecture", "\u202eamall\u202c"), n_field=1
    ),
    "a number for an architecture": packed(
        field("general.architecture", 4, struct.pack("<I", 7)), n_field=1
    ),
    "10⁹ layers": packed(
        plain("general.architecture", "llama")
        + field("llama.block_count", 4, struct.pack("<I", 10**9)),
        n_field=2,
    ),
    "fewer than no layers": packed(
        plain("general.architecture", "llama")
        + field("llama.block_count", 5, struct.pack("<i", -4)),
        n_field=2,
    ),
    "no tensors": of_llama(),
    "a tensor of 2⁶⁴": of_llama(tensors=(tensor("a", [2**32, 2**32]),)),
    "a tensor of no width": of_llama(tensors=(tensor("token_embd.weight", [0, 8]),)),
    "a tensor beyond the end": of_llama(tensors=(tensor("a", [4], offset=2**50),)),
    "a tensor before the start": of_llama(tensors=(tensor("a", [4], offset=2**64 - 32),)),
    "a kind of numbers that is none": of_llama(tensors=(tensor("a", [4], kind=200),)),
    "one name twice": of_llama(tensors=(tensor("a", [4]), tensor("a", [4]))),
    "aligned by 0": of_llama(field("general.alignment", 4, struct.pack("<I", 0))),
    "aligned by 2³¹": of_llama(
        field("general.alignment", 4, struct.pack("<I", 2**31)), tensors=(tensor("a", [4]),)
    ),
    "scores that are no numbers": of_llama(
        plain("tokenizer.ggml.model", "llama"),
        field("tokenizer.ggml.tokens", 9, array(8, 1, struct.pack("<Q", 1) + b"a")),
        field("tokenizer.ggml.scores", 9, array(6, 1, struct.pack("<f", float("nan")))),
    ),
    "version 1": packed_as(1),
    "version 2³¹": packed_as(2**31),
}
