"""Token arrays prepared beforehand, so that a GPU never waits for text to be read and tokenized.

    python -m attention_atlas.model.training.prepared bert --data FOLDER

writes prepared/bert.xz: everything a task computes from its texts (uint16 ids, lengths, tokenizer,
the model it starts from), compressed. The tokenizer is that of the shipped weights, if there are
any, so that a run can go on from them.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers as hf
import torch
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training.anchor import AnchoredBertTask
from attention_atlas.model.training.task import Ragged, Task
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.transformer import Bert, Config
from attention_atlas.model.zoo import WEIGHTS
from safetensors import safe_open
from safetensors.numpy import save
from torch import nn

Arrays = dict[str, np.ndarray]
CLASSES: dict[str, type[Any]] = {**TRAINERS, "bert": AnchoredBertTask}
MOST_TOKENS = 28_000_000  # two bytes each before compression


def packed(task: Task[Any]) -> bytes:
    """A task's tokenizer, arrays and starting model as compressed safetensors."""
    arrays: Arrays = {}
    plain: dict[str, Any] = {"name": task.name, "tokenizer": task.tokenizer.backend.to_str()}
    for name, value in vars(task).items():
        if isinstance(value, np.ndarray | Ragged | tuple) or _pairs(value):
            arrays |= _flat(name, value)
        elif isinstance(value, nn.Module):
            arrays |= {f"{name}/model/{key}": _half(x) for key, x in value.state_dict().items()}
            plain[f"{name}/config"] = vars(value.config)
        elif isinstance(value, int) or _words_or_ids(value):
            plain[name] = value
    smallest = {name: np.ascontiguousarray(_small(array)) for name, array in arrays.items()}
    return lzma.compress(save(smallest, {"plain": json.dumps(plain)}), preset=6)


def unpacked(path: Path) -> Task[Any]:
    """The task as `packed` had it, without the texts it came from: enough to train and to look."""
    raw = path.with_suffix(".safetensors")
    raw.write_bytes(lzma.decompress(path.read_bytes()))
    with safe_open(raw, "np") as file:
        plain = json.loads(file.metadata()["plain"])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    raw.unlink()
    task: Any = CLASSES[plain.pop("name")]
    task = task.__new__(task)
    task.tokenizer = Tokenizer(hf.Tokenizer.from_str(plain.pop("tokenizer")))
    for name, value in plain.items():
        if not name.endswith("/config"):
            setattr(task, name, value)
    for name in {key.split("/")[0] for key in arrays}:
        parts = {key[len(name) + 1 :]: x for key, x in arrays.items() if key.split("/")[0] == name}
        setattr(task, name, _restored(parts, plain.get(f"{name}/config")))
    return task


def shortened(texts: Any, most: int) -> Any:
    """At most so many tokens: of a stream the first, of sentences in documents some documents."""
    if isinstance(texts, np.ndarray):  # its documents are in random order already
        return texts[:most]
    if not isinstance(texts, tuple) or len(texts[0].ids) <= most:
        return texts
    sentences, ends = texts
    length = np.diff(sentences.offset)
    _, document = np.unique(ends, return_inverse=True)
    order = np.random.default_rng(0).permutation(document[-1] + 1)
    size = np.bincount(document, length)
    kept = np.zeros(len(order), bool)
    kept[order[size[order].cumsum() <= most]] = True
    chosen = kept[document]
    rows = Ragged(
        sentences.ids[np.repeat(chosen, length)],
        np.concatenate([[0], length[chosen].cumsum()]),
    )
    n_sentence = np.bincount(document[chosen], minlength=len(order))[kept]
    return rows, np.repeat(n_sentence.cumsum(), n_sentence)


def _flat(name: str, value: Any) -> Arrays:
    if isinstance(value, np.ndarray):
        return {name: value}
    if isinstance(value, Ragged):
        return {f"{name}/ids": value.ids, f"{name}/length": np.diff(value.offset)}
    if isinstance(value, tuple):  # sentences and the index after their document's last one
        return _flat(name, value[0]) | {f"{name}/document": np.diff(value[1], prepend=0)}
    sides = zip(("source", "target"), zip(*value, strict=True), strict=True)
    return {
        f"{name}/{side}/{part}": array
        for side, rows in sides
        for part, array in (
            ("ids", np.concatenate(rows)),
            ("length", np.fromiter(map(len, rows), np.int64)),
        )
    }


def _restored(parts: Arrays, config: dict[str, Any] | None) -> Any:
    """The inverse of `_flat`, for one attribute."""
    if config is not None:
        model = Bert(Config(**config)).eval().requires_grad_(False)
        weights = {key.removeprefix("model/"): torch.from_numpy(x) for key, x in parts.items()}
        model.load_state_dict(weights)
        return model
    if set(parts) == {""}:
        return parts[""]
    if "source/ids" in parts:
        sides = [_ragged(parts, f"{side}/") for side in ("source", "target")]
        return [(sides[0][i], sides[1][i]) for i in range(len(sides[0]))]
    rows = _ragged(parts, "")
    if "document" not in parts:
        return rows
    return rows, parts["document"].astype(np.int64).cumsum()


def _ragged(parts: Arrays, prefix: str) -> Ragged:
    length = parts[f"{prefix}length"].astype(np.int64)
    return Ragged(parts[f"{prefix}ids"], np.concatenate([[0], length.cumsum()]))


def _small(array: np.ndarray) -> np.ndarray:
    """Whole numbers in 16 bits where they fit."""
    whole = array.dtype.kind in "iu" and array.size and 0 <= array.min() <= array.max() < 2**16
    return array.astype(np.uint16) if whole else array


def _half(weights: torch.Tensor) -> np.ndarray:
    return weights.detach().to(torch.float16).numpy()


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], tuple)


def _words_or_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int | str) for one in value)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m attention_atlas.model.training.prepared", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=sorted(CLASSES))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of text or pairs")
    parser.add_argument("--out", type=Path, default=Path("prepared"), help="folder for NAME.xz")
    parser.add_argument("--tokens", type=int, default=MOST_TOKENS, help="at most, of the texts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    make: Callable[..., Task[Any]] = CLASSES[args.name]
    file = WEIGHTS / args.name / "tokenizer.json"
    task: Any = make(args.data, Tokenizer.load(file) if file.exists() else None, args.seed)
    task.train = shortened(task.train, args.tokens)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.name}.xz"
    path.write_bytes(packed(task))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
