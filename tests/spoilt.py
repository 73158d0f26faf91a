"""Folders that people have and that do not open, or open otherwise than one thinks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from tests import saved

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 440449768\n"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


# Weights.


def renamed(name: str, content: bytes | None = None) -> Callable[[Path], None]:
    """The weights under another name, with other content."""

    def spoil(folder: Path) -> None:
        path = (folder / WEIGHTS).rename(folder / name)
        if content is not None:
            path.write_bytes(content)

    return spoil


def without(*patterns: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return spoil


def written(name: str, text: str) -> Callable[[Path], None]:
    """A file with this text in place of what it had."""

    def spoil(folder: Path) -> None:
        (folder / name).write_text(text)

    return spoil


def pickled(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def pickle_of_that_name(folder: Path) -> None:
    torch.save({}, folder / WEIGHTS)


def a_checkpoint_of_the_trainer_without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    for name in ("optimizer.pt", "training_args.bin"):
        (folder / name).write_bytes(b"")


def cut_to(n: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:n])

    return spoil


def sharded(folder: Path) -> list[Path]:
    hf.BertForMaskedLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="300KB")
    (folder / WEIGHTS).unlink(missing_ok=True)
    return sorted(folder.glob("model-*.safetensors"))


def a_shard_less(folder: Path) -> None:
    sharded(folder)[0].unlink()


def shards_without_index(folder: Path) -> None:
    sharded(folder)
    (folder / INDEX).unlink()


def index_of(**entries: Any) -> Callable[[Path], None]:
    """An index with these entries in place of right ones."""

    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        index = {"metadata": {"total_size": 9}, "weight_map": {"a": "model-1-of-9.safetensors"}}
        (folder / INDEX).write_text(json.dumps(index | entries))

    return spoil


def header_of(folder: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}'
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)


def stored_as(dtype: torch.dtype) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = {name: x.to(dtype) for name, x in load_file(folder / WEIGHTS).items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def full_of(value: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = {name: x.fill_(value) for name, x in load_file(folder / WEIGHTS).items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def pruned(folder: Path) -> None:
    """As transformers 4 saved it: head 1 of the first layer is cut out of the tensors."""
    tensors = load_file(folder / WEIGHTS)
    layer = "bert.encoder.layer.0.attention"
    for name in ("query", "key", "value"):
        for part in ("weight", "bias"):
            key = f"{layer}.self.{name}.{part}"
            tensors[key] = torch.cat([tensors[key][:6], tensors[key][12:]])
    key = f"{layer}.output.dense.weight"
    tensors[key] = torch.cat([tensors[key][:, :6], tensors[key][:, 12:]], dim=1)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    saved.changed(folder, pruned_heads={"0": [1]})


def linked_to_nothing(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/nowhere/blob")

    return spoil


# Configs.


def config_of(**entries: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        saved.changed(folder, **entries)

    return spoil


def no_model_type(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    del content["model_type"]
    (folder / "config.json").write_text(json.dumps(content))


def own_code(folder: Path) -> None:
    code = {"AutoModel": "modeling_mine.Mine"}
    saved.changed(folder, auto_map=code, architectures=["Mine"])
    (folder / "modeling_mine.py").write_text("raise SystemExit('this must never run')")


def other_encoding(encoding: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(path.read_text("utf-8"), encoding)

    return spoil


def made_of(config: Any, cls: Any) -> Callable[[Path], None]:
    """The folder with a model of another family in it."""

    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        torch.manual_seed(0)
        cls(config).save_pretrained(folder)

    return spoil


def marian(folder: Path) -> None:
    """Its table of sines is computed: no file holds it."""
    saved.bart(folder)
    (folder / WEIGHTS).unlink()
    config = hf.AutoConfig.from_pretrained(folder).to_dict() | {"model_type": "marian"}
    hf.MarianMTModel(hf.MarianConfig.from_dict(config)).save_pretrained(folder)
    saved.changed(folder, max_position_embeddings=400_000)


# Tokenizers.


def settings_of(**entries: Any) -> Callable[[Path], None]:
    """Other entries in tokenizer_config.json, and no tokenizer.json."""

    def spoil(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))
        (folder / "tokenizer.json").unlink()

    return spoil


def fewer_tokens(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    content["model"]["vocab"] = {word: i for word, i in words.items() if i < 500}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def words_without_merges(folder: Path) -> None:
    saved.gpt2(folder)
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    without("tokenizer*")(folder)
    (folder / "vocab.json").write_text(json.dumps(words))


# What is no model's folder.


def adapter(base: Any = "org/base") -> Callable[[Path], None]:
    """A LoRA beside what is there."""

    def spoil(folder: Path) -> None:
        content = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 8}
        (folder / "adapter_config.json").write_text(json.dumps(content))
        name = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
        pair = {name: torch.zeros(8, 24), name.replace("_A", "_B"): torch.zeros(24, 8)}
        save_file(pair, folder / "adapter_model.safetensors")

    return spoil


def adapter_alone(base: Any = "org/base") -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        without("config.json", WEIGHTS)(folder)
        adapter(base)(folder)

    return spoil


def inside(*names: str) -> Callable[[Path], None]:
    """The model in folders of the folder, one each, and nothing beside them."""

    def spoil(folder: Path) -> None:
        files = list(folder.iterdir())
        for name in names:
            (folder / name).mkdir(parents=True)
            for path in files:
                shutil.copy(path, folder / name)
        for path in files:
            path.unlink()

    return spoil


def modules(path: str, kind: str = "Transformer") -> Callable[[Path], None]:
    """A list of modules as sentence-transformers writes it."""
    first = {"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{kind}"}
    pooling = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "…models.Pooling"}
    return written("modules.json", json.dumps([first, pooling]))


def both(*spoils: Callable[[Path], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for each in spoils:
            each(folder)

    return spoil
