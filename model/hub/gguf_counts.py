"""The counts in a GGUF file's header, checked against the size of the file.

A reader of the format believes them: an array of 2^60 items is read item by item, for ever. See
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from attention_atlas.model.hub.reasons import BadModel

STRING, ARRAY = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes by type
LEAST_FIELD = 8 + 1 + 4 + 1  # bytes: the length of a key, the key, a type, a value
LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8  # a name, its dimensions, its type, its offset
MOST_FIELDS, MOST_TENSORS, MOST_DIMENSIONS = 10_000, 20_000, 8
MOST_DEPTH = 4  # of arrays in arrays


def check_counts(file: Path) -> None:
    """Raises BadModel for a length or a number of items that the file is too short for."""
    try:
        with file.open("rb") as opened:
            Header(opened, file.stat().st_size).read()
    except (struct.error, EOFError, KeyError):
        text = "{file} cannot be read: it is cut off, or holds something else than GGUF"
        raise BadModel("damaged", text, file=file.name) from None


class Header:
    """A header that is read without believing it."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self.opened = opened
        self.size = size

    def read(self) -> None:
        """All fields and the descriptions of all tensors."""
        self.opened.seek(8)  # the magic word and the version
        n_tensor, n_field = self.number(), self.number()
        if n_field > MOST_FIELDS or n_tensor > MOST_TENSORS:
            raise EOFError
        self.need(n_field * LEAST_FIELD + n_tensor * LEAST_TENSOR)
        for _ in range(n_field):
            self.skip(self.number())
            self.value(self.number(4))
        for _ in range(n_tensor):
            self.skip(self.number())
            n_dimension = self.number(4)
            if n_dimension > MOST_DIMENSIONS:
                raise EOFError
            self.skip(8 * n_dimension + 4 + 8)

    def value(self, kind: int, depth: int = 0) -> None:
        """Skip a value of a type."""
        if kind == STRING:
            self.skip(self.number())
        elif kind == ARRAY:
            self.array(depth)
        else:
            self.skip(SIZES[kind])

    def array(self, depth: int) -> None:
        """Skip an array; each item takes some bytes."""
        kind, n = self.number(4), self.number()
        if kind in SIZES:
            self.skip(n * SIZES[kind])
            return
        if depth == MOST_DEPTH:
            raise EOFError
        self.need(8 * n)
        for _ in range(n):
            self.value(kind, depth + 1)

    def number(self, width: int = 8) -> int:
        """The next unsigned number."""
        return int(struct.unpack("<Q" if width == 8 else "<I", self.opened.read(width))[0])

    def skip(self, n: int) -> None:
        self.need(n)
        self.opened.seek(n, 1)

    def need(self, n: int) -> None:
        """Raises EOFError if the file does not have so many bytes more."""
        if n > self.size - self.opened.tell():
            raise EOFError
