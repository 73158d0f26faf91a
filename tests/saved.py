"""Folders as save_pretrained leaves them: tiny models with the bundled models' tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers as hf
from attention_atlas.model.zoo import WEIGHTS
from tokenizers import decoders, models, normalizers

TOKENIZER: Any = hf.PreTrainedTokenizerFast  # untyped
SIZES: dict[str, Any] = {
    "vocab_size": 12000,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SIZES |= {"intermediate_size": 40, "max_position_embeddings": 64}


def bert(folder: Path, cls: Any = hf.BertForMaskedLM, **options: Any) -> Path:
    """A BERT, by default with its head for words."""
    torch.manual_seed(0)
    cls(hf.BertConfig(**SIZES, **options)).save_pretrained(folder)
    tokenizer = TOKENIZER(
        tokenizer_file=str(WEIGHTS / "bert/tokenizer.json"),
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        pad_token="[PAD]",
    )
    tokenizer.save_pretrained(folder)
    return folder


def gpt2(folder: Path) -> Path:
    """A GPT-2, whose byte-level tokenizer has one special token."""
    torch.manual_seed(1)
    config = hf.GPT2Config(vocab_size=8192, n_embd=24, n_layer=3, n_head=4, n_positions=64)
    hf.GPT2LMHeadModel(config).save_pretrained(folder)
    file = str(WEIGHTS / "gpt/tokenizer.json")
    end = "<|endoftext|>"
    tokenizer = TOKENIZER(tokenizer_file=file, bos_token=end, eos_token=end)
    tokenizer.save_pretrained(folder)
    return folder


def bart(folder: Path) -> Path:
    """A translator: 2 layers to read, 3 to write."""
    torch.manual_seed(2)
    config = hf.BartConfig(
        vocab_size=8192, d_model=24, encoder_layers=2, decoder_layers=3, encoder_ffn_dim=40,
        decoder_ffn_dim=40, encoder_attention_heads=4, decoder_attention_heads=4,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=2,
    )  # fmt: skip
    hf.BartForConditionalGeneration(config).save_pretrained(folder)
    file = str(WEIGHTS / "translator/tokenizer.json")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    TOKENIZER(tokenizer_file=file, **names).save_pretrained(folder)
    return folder


def llama(folder: Path) -> Path:
    """A Llama; its Unigram tokenizer has ▁ for a space and a byte for what it does not know."""
    torch.manual_seed(3)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "▁the", "▁bank"]
    vocab = [(piece, -float(i)) for i, piece in enumerate(pieces)]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, 0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    spaces, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    parts = [spaces, decoders.ByteFallback(), decoders.Fuse(), strip]
    backend.decoder = decoders.Sequence(parts)
    specials = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    TOKENIZER(tokenizer_object=backend, **specials).save_pretrained(folder)
    config = hf.LlamaConfig(
        vocab_size=len(pieces), hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=40, max_position_embeddings=256,
    )  # fmt: skip
    hf.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def t5(folder: Path) -> Path:
    """A T5: positions act inside attention, and <pad> begins a target."""
    torch.manual_seed(4)
    config = hf.T5Config(
        vocab_size=8192, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_decoder_layers=2,
        num_heads=4, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    config.decoder_start_token_id = 0  # what begins a target; not among the parameters it declares
    hf.T5ForConditionalGeneration(config).save_pretrained(folder)
    file = str(WEIGHTS / "translator/tokenizer.json")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    TOKENIZER(tokenizer_file=file, **names).save_pretrained(folder)
    return folder


def changed(folder: Path, **entries: Any) -> Path:
    """The same folder with other entries in its config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return folder
