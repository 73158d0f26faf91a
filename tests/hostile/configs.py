"""Configs of somebody who means harm, by what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import saved

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


def written_anew(text: str) -> Make:
    """A BERT whose config.json has this text before its last bracket."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        path = folder / "config.json"
        path.write_text(path.read_text().rstrip().rstrip("}").rstrip() + text)
        return folder

    return make


CONFIGS |= {
    "a key twice": written_anew(', "num_hidden_layers": 1000000000}'),
    "objects in objects": raw_config('{"a":' * 100_000 + "1" + "}" * 100_000),
    "a number of a million digits": raw_config('{"model_type": "bert", "a": ' + "9" * 10**6 + "}"),
    "no width": config(hidden_size=0),
    "fewer than no words": config(vocab_size=-1),
    "a pad beyond the words": config(pad_token_id=10**9),
    "a pad before the words": config(pad_token_id=-(10**9)),
    "a model type of 100,000 letters": config(model_type="b" * 100_000),
    "a model type that turns": config(model_type="\u202etreb\u202c"),
    "a path for a model type": config(model_type="../../etc"),
    "another model's type": config(model_type="whisper"),
    "an activation that is none": config(hidden_act="__import__('os')"),
    "a dropout of 10": config(hidden_dropout_prob=10),
    "a code of its own": config(auto_map={"AutoModel": "x.Y"}, architectures=["Evil"]),
    "code elsewhere": config(auto_map={"AutoModel": "org/repo--x.Y"}, architectures=["Evil"]),
    "packed weights": config(quantization_config={"quant_method": "awq"}),
    "a type of numbers that is none": config(dtype="float2"),
}
# Odd but harmless files: each is opened, or refused in our words.
ODD_CONFIGS: dict[str, Make] = {
    "chunks of less than nothing": config(chunk_size_feed_forward=-3),
    "chunks": config(chunk_size_feed_forward=5),
    "tuples": config(return_dict=False),
    "torchscript": config(torchscript=True),
    "a kernel of the Hub": config(_attn_implementation="org/kernel", attn_implementation="org/x"),
    "100,000 names of labels": config(id2label={str(i): "x" for i in range(50_000)}),
    "a name from a file": config(_name_or_path="/etc/passwd", name_or_path="/etc/passwd"),
    "names that turn": config(id2label={"0": "\u202egro.live", "1": "<script>"}),
    "a decoder": config(is_decoder=True, add_cross_attention=True),
    "10⁵ architectures": config(architectures=["BertForMaskedLM"] * 10**5),
    "an attention that is none": config(position_embedding_type="x"),
    "wide at the start": config(initializer_range=1e38),
}
