"""Snapshots of a bundled model: what it was after fewer tokens of training.

`gpt@2000000` is the model after two million tokens. A snapshot is small: each row of a matrix is
rounded to multiples of `STEP` of its standard deviation, and the multiples are stored in a Huffman
code (zlib), about three bits a weight. What that changes is measured; it stands in
`snapshots/card.json`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model.checkpoint import BadWeights
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

STEP = 0.66  # of a row's standard deviation
SCALE = ".scale"  # the end of the name of what a matrix's multiples are of
LEVELS = zlib.Z_HUFFMAN_ONLY


@dataclass(frozen=True)
class Snapshot:
    """One of snapshots/card.json."""

    tokens: int  # of training until then
    steps: int
    sha256: str  # of its file
    longest: int  # text that it had seen, in tokens
    held_out_loss: dict[str, float]  # "trained", and "stored": as it is here
    induction: dict[str, float]  # the best head's, likewise
    heads: dict[str, Any] = field(repr=False)  # by kind and metric each head's score, as it is here

    @property
    def file(self) -> str:
        return f"{self.tokens}.safetensors.z"


@dataclass(frozen=True)
class Snapshots:
    """A model's snapshots, and the run that they are of."""

    training: dict[str, Any]
    snapshots: tuple[Snapshot, ...]
    problem: str = ""  # why their card cannot be read

    @classmethod
    def read(cls, folder: Path) -> Snapshots:
        """Those of a bundled model's folder; it may have none. Read again when the card changes."""
        path = folder / "snapshots" / "card.json"
        try:
            stat = path.stat()
        except FileNotFoundError:
            return cls({}, ())
        return _read(path, stat.st_mtime_ns, stat.st_size)

    def after(self, tokens: str) -> Snapshot:
        """BadWeights if there is none."""
        if self.problem:
            raise BadWeights(self.problem)
        for each in self.snapshots:
            if str(each.tokens) == tokens:
                return each
        have = ", ".join(str(each.tokens) for each in self.snapshots) or "none"
        raise BadWeights(f"there is no snapshot after {tokens} tokens; there are {have}")


@lru_cache(maxsize=8)
def _read(path: Path, *stamp: int) -> Snapshots:
    try:
        card = json.loads(path.read_text("utf-8"))
        return Snapshots(card["training"], tuple(Snapshot(**each) for each in card["snapshots"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        return Snapshots({}, (), f"{path} cannot be read: {error!r}")


def pack(state: Mapping[str, Tensor]) -> bytes:
    """A state dict in about three bits a weight; vectors in float16."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            tensors[name] = tensor.half().contiguous()
            continue
        scale = (tensor.float().std(dim=1, keepdim=True) * STEP).half()
        multiples = (tensor / scale.float()).round().clamp(-127, 127)
        tensors[name] = multiples.to(torch.int8).contiguous()
        tensors[name + SCALE] = scale.contiguous()
    code = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, LEVELS)
    return code.compress(save(tensors)) + code.flush()


def unpack(packed: bytes) -> dict[str, Tensor]:
    """The state dict, in float32."""
    try:
        tensors = load(zlib.decompress(packed))
    except (zlib.error, SafetensorError) as error:
        raise BadWeights(f"a snapshot is damaged: {error}") from None
    return {
        name: tensor.float() * tensors[name + SCALE].float()
        if tensor.dtype == torch.int8
        else tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }


def weights(folder: Path, snapshot: Snapshot) -> dict[str, Tensor]:
    """Of a model's folder. BadWeights if the file is not the one that its card names."""
    path = folder / "snapshots" / snapshot.file
    try:
        packed = path.read_bytes()
    except OSError:
        raise BadWeights(f"{path.name} is not in {path.parent}") from None
    if hashlib.sha256(packed).hexdigest() != snapshot.sha256:
        raise BadWeights(f"{path} is damaged: its sha256 is not the one in card.json")
    return unpack(packed)
