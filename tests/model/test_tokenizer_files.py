"""Tokenizers that exist only as a model of SentencePiece, and what keeps one from being read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from tests import saved, spoilt

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
TEXT = "He sat on the river bank."
N = 300  # pieces
BOTH = {"vocab_size": 600, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2}
BOTH |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 40}
BOTH |= {"decoder_ffn_dim": 40, "max_position_embeddings": 64}
SIZES = saved.SIZES | {"vocab_size": 400, "pad_token_id": 0}
T5 = {"vocab_size": 500, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 4}
BERT_LIKE = {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "bos_id": 2, "eos_id": 3, "pad_id": 0}
BERT_LIKE |= {"unk_id": 1, "pad_piece": "<pad>"}
# name -> its file, config, class, the trainer's options, the settings of its tokenizer
ONLY: dict[str, tuple[str, Any, Any, dict[str, Any], dict[str, Any]]] = {
    "DeBERTa-v3": (
        "spm.model",
        hf.DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        hf.DebertaV2ForMaskedLM,
        BERT_LIKE | {"unk_piece": "[UNK]", "pad_piece": "[PAD]"},
        {"vocab_type": "spm"},
    ),
    "XLM-R": (
        "sentencepiece.bpe.model",
        hf.XLMRobertaConfig(**(SIZES | {"pad_token_id": 1})),
        hf.XLMRobertaForMaskedLM,
        {},
        {},
    ),
    "ALBERT": (
        "spiece.model",
        hf.AlbertConfig(**SIZES, embedding_size=12),
        hf.AlbertForMaskedLM,
        BERT_LIKE | {"user_defined_symbols": ["[MASK]"]},
        {},
    ),
    "T5": (
        "spiece.model",
        hf.T5Config(**T5, decoder_start_token_id=0),
        hf.T5ForConditionalGeneration,
        {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
        {"extra_ids": 100},
    ),
    "mBART": (
        "sentencepiece.bpe.model",
        hf.MBartConfig(**BOTH),
        hf.MBartForConditionalGeneration,
        {},
        {"src_lang": "en_XX", "tgt_lang": "fr_XX"},
    ),
    "Llama": (
        "tokenizer.model",
        hf.LlamaConfig(**SIZES),
        hf.LlamaForCausalLM,
        {"model_type": "bpe"},
        {"tokenizer_class": "LlamaTokenizer"},
    ),
}


def pieces(path: Path, **options: Any) -> SentencePieceProcessor:
    """A vocabulary learned from this file."""
    model = io.BytesIO()
    lines = [line for line in Path(__file__).read_text().splitlines() if line.strip()]
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4),
        model_writer=model,
        vocab_size=N,
        minloglevel=2,
        hard_vocab_limit=False,
        **options,
    )
    path.write_bytes(model.getvalue())
    return SentencePieceProcessor(model_proto=model.getvalue())


def made(folder: Path, name: str) -> SentencePieceProcessor:
    file, config, cls, options, settings = ONLY[name]
    torch.manual_seed(0)
    cls(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return pieces(folder / file, **options)


@pytest.mark.parametrize("name", ONLY)
def test_a_tokenizer_that_is_only_a_model_of_sentencepiece(tmp_path: Path, name: str) -> None:
    """Its pieces are those of SentencePiece itself, its ids those of transformers."""
    processor = made(tmp_path, name)
    loaded = open_model(str(tmp_path), CPU)
    result = run(loaded, Spec(TEXT))
    tokens = [token for token in result.sequences["source"] if not token.special]
    text = TEXT.lower() if name == "ALBERT" else TEXT
    assert [token.raw for token in tokens] == processor.encode(text, out_type=str)
    ids = hf.AutoTokenizer.from_pretrained(tmp_path)(TEXT).input_ids
    assert [token.id for token in result.sequences["source"]] == ids
    assert all(record.attn.isfinite().all() for record in result.records.values())


# In its own process: what is not installed is found out once.
SCRIPT = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
import importlib.util
spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in sys.argv[2:] else spec(name, *a)
import torch
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.hub.reasons import BadModel
try:
    open_model(sys.argv[1], torch.device("cpu"))
except BadModel as error:
    print(error.reason, error.message)
"""
EXTRA = "pip install 'attention-atlas[hub]'"


@pytest.mark.parametrize(
    ("modules", "packages"),
    [(["google.protobuf"], "protobuf"), (["sentencepiece"], "sentencepiece")],
)
def test_a_package_that_is_missing_is_no_damage(
    tmp_path: Path, modules: list[str], packages: str
) -> None:
    made(tmp_path, "XLM-R")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    says = f"missing-package this model needs the Python package {packages}, which is not installed"
    assert done.stdout.strip() == f"{says}: {EXTRA}"


def test_ranks_of_tiktoken_need_tiktoken(tmp_path: Path) -> None:
    """As Llama 3 and others are published by their makers: tokens in base64, and their ranks."""
    made(tmp_path, "Llama")
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(BadModel) as caught:
        open_model(str(tmp_path), CPU)
    assert caught.value.reason == "missing-package"
    assert caught.value.message.endswith(
        "package tiktoken, which is not installed: pip install tiktoken"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("garbage", "spm.model is no model of SentencePiece"),
        (spoilt.LFS, "spm.model is a pointer of Git LFS, not the file itself: run git lfs pull"),
    ],
)
def test_a_spoilt_model_of_sentencepiece(tmp_path: Path, content: str, says: str) -> None:
    made(tmp_path, "DeBERTa-v3")
    (tmp_path / "spm.model").write_text(content)
    with pytest.raises(BadModel) as caught:
        open_model(str(tmp_path), CPU)
    assert (caught.value.reason, says in caught.value.message) == ("damaged", True)
