"""Why a model cannot be opened: each reason true, useful and in our own words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
from attention_atlas.model.hub import loading
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.hub.reasons import BadModel, missing_package, unexpected

from tests import saved, spoilt
from tests.saved import SIZES
from tests.spoilt import WEIGHTS, config_of, index_of, renamed, without, written

CPU = torch.device("cpu")
LONG = {"total_size": 10_000_000_000}
OUTSIDE = {"a": "../other/model.safetensors"}
Spoil = Callable[[Path], None]
# what is done to the folder of a BERT, the reason, what it says
SPOILT: list[tuple[Spoil, str, str]] = [
    # weights
    (spoilt.pickled, "no-safetensors", "only pytorch_model.bin, which can run code"),
    (renamed("flax_model.msgpack"), "no-safetensors", "only flax_model.msgpack, weights for ano"),
    (renamed("tf_model.h5"), "no-safetensors", "only tf_model.h5, weights for another library"),
    (renamed("model.fp16.safetensors"), "no-safetensors", "but model.fp16.safetensors: rename it"),
    (without(WEIGHTS), "no-safetensors", "holds no weights"),
    (
        spoilt.a_checkpoint_of_the_trainer_without_weights,
        "no-safetensors",
        "holds no weights: no model.safetensors",
    ),
    (spoilt.shards_without_index, "no-safetensors", "index.json is missing"),
    (spoilt.a_shard_less, "damaged", "the index names are missing: model-00001-of-0000"),
    (spoilt.pickle_of_that_name, "damaged", "it is a file of torch.save, which can run code"),
    (written(WEIGHTS, spoilt.LFS), "damaged", "a pointer of Git LFS, not the file itself: run"),
    (spoilt.linked_to_nothing(WEIGHTS), "damaged", "a link to a file that does not exist"),
    (spoilt.cut_to(-100), "damaged", "model.safetensors is not whole: "),
    (spoilt.cut_to(50), "damaged", "model.safetensors is cut off: 50 bytes are there"),
    (spoilt.cut_to(0), "damaged", "model.safetensors is cut off: 0 bytes are there"),
    (spoilt.header_of, "damaged", "no readable safetensors header"),
    (spoilt.stored_as(torch.int8), "unsupported", "quantised (stored as I8)"),
    (spoilt.stored_as(torch.float8_e4m3fn), "unsupported", "quantised (stored as F8_E4M3)"),
    (spoilt.full_of(torch.nan), "damaged", "holds numbers that are not finite (NaN or infinite)"),
    (spoilt.pruned, "unsupported", "heads of it were pruned (L0: 1), and transformers"),
    (index_of(metadata=LONG), "too-large", "2,500,000,000 parameters; at most 2,000,000,000 are"),
    (index_of(metadata=None), "damaged", "are missing: model-1-of-9.safetensors"),
    (index_of(metadata=[1]), "damaged", "total_size"),
    (index_of(metadata={"total_size": "12GB"}), "damaged", "total_size"),
    (index_of(metadata={"total_size": torch.inf}), "damaged", "total_size"),
    (index_of(metadata={"total_size": -1}), "damaged", "total_size"),
    (index_of(weight_map={"a": ["b"]}), "damaged", "weight_map"),
    (index_of(weight_map=["b"]), "damaged", "no weight_map"),
    (index_of(weight_map=OUTSIDE), "damaged", "which is no file of its folder"),
    # configs
    (spoilt.own_code, "remote-code", "brings its own Python code (modeling_mine.py)"),
    (config_of(auto_map={"AutoConfig": "a.B"}, model_type="mine"), "remote-code", "(a.py)"),
    (config_of(model_type="mine"), "unsupported", "knows no model_type mine"),
    (spoilt.no_model_type, "unsupported", "config.json names no model_type"),
    (config_of(quantization_config={"quant_method": "gptq"}), "unsupported", "quantised (gptq)"),
    (config_of(quantization_config={"quant_method": "awq"}), "unsupported", "quantised (awq)"),
    (
        config_of(quantization_config={"load_in_4bit": True}),
        "unsupported",
        "its weights are quantised (bitsandbytes): open the model that they were made from",
    ),
    (config_of(dtype="float8_e4m3fn"), "unsupported", "says dtype float8_e4m3fn; models in"),
    (config_of(dtype="float99"), "unsupported", "says dtype float99; models in"),
    (config_of(model_type="vit", architectures=["ViTModel"]), "not-text", "a vit model does not"),
    (config_of(model_type="llava"), "not-text", "a llava model does not read text alone"),
    (config_of(num_hidden_layers=3), "damaged", "of its tensors are missing: "),
    (config_of(intermediate_size=44), "damaged", " in its files and 44 by config.json"),
    (config_of(vocab_size=8000), "damaged", "12000 × 24 in its files and 8000 × 24 by"),
    (config_of(num_attention_heads=5), "damaged", "have hidden_size 24, num_attention_heads 5,"),
    (config_of(hidden_act="swoosh"), "damaged", "no bert model can have hidden_act 'swoosh'"),
    (config_of(hidden_size="24"), "damaged", "no bert model can have hidden_size '24'"),
    (config_of(hidden_size=None), "damaged", "no bert model can have hidden_size None"),
    (config_of(num_hidden_layers="two"), "damaged", "it cannot be made"),
    (config_of(num_hidden_layers=0), "unsupported", "a bert model has no attention to show"),
    (config_of(num_attention_heads=-1), "unsupported", "did not pass through this bert model"),
    (config_of(model_type=["bert"]), "damaged", "model_type of the wrong type"),
    (config_of(architectures=[["X"]]), "damaged", "architectures of the wrong type"),
    (config_of(architectures={}), "damaged", "architectures of the wrong type"),
    (config_of(auto_map=[5]), "damaged", "auto_map of the wrong type"),
    (config_of(quantization_config=[1]), "damaged", "quantization_config of the wrong type"),
    (config_of(num_hidden_layers=3000), "too-large", "num_hidden_layers 3,000; at most 512"),
    (config_of(vocab_size=10**9), "too-large", "vocab_size 1,000,000,000; at most"),
    (config_of(intermediate_size=10**8), "too-large", "at most 2,000,000,000 are taken"),
    (spoilt.marian, "too-large", "max_position_embeddings 400,000; at most 32,768"),
    (written("config.json", "[1"), "damaged", "config.json is not valid JSON"),
    (written("config.json", "[1]"), "damaged", "config.json is not a JSON object"),
    (spoilt.other_encoding("utf-8-sig"), "damaged", "begins with a byte order mark"),
    (spoilt.other_encoding("utf-16"), "damaged", "config.json is not UTF-8 text"),
    (
        spoilt.made_of(hf.LongformerConfig(**SIZES, attention_window=4), hf.LongformerForMaskedLM),
        "unsupported",
        "a longformer model gives attention of shape 7 × 5, where one of 7 × 7 is shown",
    ),
    # tokenizers
    (without("tokenizer*"), "no-tokenizer", "no tokenizer is saved with the model: save the one"),
    (spoilt.settings_of(tokenizer_class="Mine"), "no-tokenizer", "tokenizer.save_pretrained"),
    (spoilt.settings_of(auto_map={"AutoTokenizer": ["a.B", None]}), "remote-code", "tokenizer br"),
    (spoilt.fewer_tokens, "damaged", "its tokenizer has 500 tokens and the model 12,000"),
    (spoilt.words_without_merges, "damaged", "has vocab.json, but not merges.txt"),
    (written("tokenizer.json", "{"), "damaged", "tokenizer.json is not valid JSON"),
    (written("tokenizer.json", "{}"), "damaged", "its tokenizer (TokenizersBackend) cannot be"),
    (written("tokenizer.json", spoilt.LFS), "damaged", "tokenizer.json is a pointer of Git LFS"),
    (written("tokenizer_config.json", "[]"), "damaged", "tokenizer_config.json is not a JSON obj"),
    # no model's folder
    (spoilt.adapter_alone("org/base"), "unsupported", "is an adapter (LORA) for org/base, without"),
    (spoilt.adapter_alone("/home/me/my-base"), "unsupported", "(LORA) for my-base, without the"),
    (spoilt.adapter_alone(None), "unsupported", "is an adapter (LORA) without its base model: "),
    (spoilt.both(spoilt.adapter(), without(WEIGHTS)), "unsupported", "is an adapter (LORA) for"),
    (without("*"), "not-found", "spoilt is empty"),
    (without("config.json"), "not-found", "holds no config.json: it is not a folder that save"),
    (spoilt.linked_to_nothing("config.json"), "damaged", "config.json is a link to a file that"),
    (spoilt.inside("checkpoint-5", "checkpoint-9"), "not-found", "checkpoint-5, checkpoint-9"),
    (
        spoilt.both(spoilt.inside("text_encoder", "unet"), written("model_index.json", "{}")),
        "not-text",
        "what reads text in it is text_encoder: name that folder",
    ),
    (
        spoilt.both(spoilt.inside("unet"), written("model_index.json", "{}")),
        "not-text",
        "is a pipeline of diffusers without a text encoder",
    ),
    (
        spoilt.both(without("*"), spoilt.modules("0_Words", "WordEmbeddings")),
        "unsupported",
        "whose first part is WordEmbeddings, not a Transformer",
    ),
    (
        spoilt.both(without("*"), written("params.json", "{}")),
        "unsupported",
        "in its maker's own format (params.json): convert it",
    ),
    (
        spoilt.both(without("*"), written("a.gguf", "GGUF"), written("b.gguf", "GGUF")),
        "not-found",
        "holds 2 GGUF files: name one of them, a.gguf, b.gguf",
    ),
    (spoilt.both(without("*"), written("a.gguf", "x")), "damaged", "a.gguf is no GGUF file"),
    (spoilt.both(without("*"), written("a.gguf", "GGUF")), "damaged", "a.gguf cannot be read: it"),
]
# How libraries speak: of their own functions, of what Python raises.
LIBRARIES = re.compile(
    r"report!|ignore_mismatched_sizes|pip install tiktoken|has no attribute|[A-Z]\w+Error|`|"
    r"Couldn't|Could not|expected|instantiate|out of bounds|Traceback|Validation|\bself\b|\n"
)


def refusal(folder: Path) -> BadModel:
    with pytest.raises(BadModel) as caught:
        open_model(str(folder), CPU)
    return caught.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved.bert(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A folder of a BERT, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "spoilt"))


@pytest.mark.parametrize(("spoil", "reason", "says"), SPOILT, ids=[row[2] for row in SPOILT])
def test_each_reason_is_its_own(
    folder: Path, tmp_path: Path, spoil: Spoil, reason: str, says: str
) -> None:
    spoil(folder)
    error = refusal(folder)
    assert (error.reason, says in error.message) == (reason, True), error.message
    assert str(tmp_path) not in error.message, "the reason gives no path of this machine away"
    assert not LIBRARIES.search(error.message), "a sentence of ours"


SETTINGS = ("hidden_size", "num_attention_heads", "pad_token_id", "layer_norm_eps", "model_type")
VALUES = ("x", -1, [1], {"a": 1}, 3.5)


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_is_not_told_by_a_library(folder: Path, key: str, value: object) -> None:
    saved.changed(folder, **{key: value})
    try:
        open_model(str(folder), CPU)
    except BadModel as error:
        assert error.reason != "failed" and not LIBRARIES.search(error.message), error.message


def test_what_was_not_foreseen_is_logged_and_not_told(folder: Path, monkeypatch, caplog) -> None:
    error = AttributeError("'Config' object has no attribute 'x': for details look at the above!")
    monkeypatch.setattr(loading, "check_config", lambda *_: (_ for _ in ()).throw(error))
    reason = refusal(folder)
    assert (reason.reason, "the server's log has the details" in reason.message) == ("failed", True)
    assert "look at the above" in caplog.text and "look at" not in reason.message


@pytest.mark.parametrize(
    "what",
    ["loading.AutoTokenizer.from_pretrained", "loading.model", "opening.adapt"],
)
def test_memory_that_runs_out_is_no_damage(folder: Path, monkeypatch, what: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] not enough memory: you tried to")

    monkeypatch.setattr(f"attention_atlas.model.hub.{what}", full)
    assert refusal(folder).reason == "no-memory"


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("attention_atlas.model.hub.folder.check_whole", forbidden)
    assert refusal(folder).message == "the server has no permission to read config.json"


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'google'", name="google.protobuf"), "protobuf"),
        (ImportError("T5 requires the SentencePiece library, which is not"), "sentencepiece"),
        (ImportError("`tiktoken` is required: `pip install tiktoken`."), "tiktoken"),
        (ImportError("Use `pip install fugashi[unidic]`"), "fugashi[unidic]"),
        (ModuleNotFoundError("No module named 'sacremoses'", name="sacremoses"), "sacremoses"),
        (ImportError("cannot import name 'a' from 'b'", name="b"), None),
        (ValueError("pip install nothing"), None),
    ],
)
def test_the_package_that_is_missing_is_named(error: Exception, package: str | None) -> None:
    assert missing_package(error) == package
    reason = unexpected(error, "damaged", "x")
    assert reason.reason == ("missing-package" if package else "damaged")
    command = f"pip install {package}"
    if package in ("protobuf", "sentencepiece"):
        command = "pip install 'attention-atlas[hub]'"
    assert package is None or command in reason.message


def test_a_sentence_and_its_values(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "{x}"}))
    reason = refusal(folder)
    assert reason.values["name"] == "{x}" and "{name}" in reason.template
    assert reason.message == reason.template.format(**reason.values)
