"""Small random models in folders, each family with a tokenizer of the class it is published with.

The tokenizers are trained on a few sentences. They split texts, add special tokens and name files
as those of the family do. Nothing is downloaded.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece as spm
import tokenizers as rust
import torch
import transformers as hf
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from tests.families import BOTH, FAMILIES, NEXT, ONE, PAIR, T5, WORDS

TEXTS = [
    "He sat on the river bank and watched the water. She opened an account at the bank.",
    "def max(a, b): return a if a > b else b  # return the maximum value of two",
    "The king and the queen lived in a castle; the children played in the water all day.",
    "El banco está cerrado. Me senté en el banco del parque. ¿Dónde está la casa de tu padre?",
    "La banque est fermée. Je me suis assis sur un banc. Où est la maison de ton père ?",
] * 20
Backend = Any


def trained(cls: Any, begin: str = "", **options: Any) -> Backend:
    """A trained tokenizer of a class. `begin` is a token that it adds before each text, as the
    published tokenizers of many decoders do."""
    tokenizer = cls(**options).train_new_from_iterator(TEXTS, 400, show_progress=False)
    return begun(tokenizer, begin) if begin else tokenizer


def begun(tokenizer: Backend, begin: str) -> Backend:
    """The tokenizer, changed to add a token before each text."""
    if begin not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"bos_token": begin})
    special = [(begin, tokenizer.convert_tokens_to_ids(begin))]
    framed = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=special
    )
    tokenizer.backend_tokenizer.post_processor = framed
    return tokenizer


def byte_level(*specials: str, template: str = "$A", **names: str) -> Backend:
    """A byte-level BPE tokenizer of the generic class, as for Llama 3, Falcon and ModernBERT."""
    backend = rust.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": [*specials], "initial_alphabet": alphabet, "show_progress": False}
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, **options))
    single, _, pair = template.partition(" | ")
    framing = [(raw, i) for i, raw in enumerate(specials) if raw in template]
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair or None, special_tokens=framing
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def pieces(texts: list[str] = TEXTS, **options: Any) -> bytes:
    """A SentencePiece model."""
    made = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=made,
        vocab_size=120,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return made.getvalue()


def vocabulary(*files: bytes, first: tuple[str, ...], last: tuple[str, ...] = ()) -> dict[str, int]:
    """One vocabulary with the pieces of several SentencePiece models."""
    cuts = [spm.SentencePieceProcessor(model_proto=file) for file in files]
    spelled = [cut.id_to_piece(i) for cut in cuts for i in range(3, cut.get_piece_size())]
    return {raw: i for i, raw in enumerate(dict.fromkeys([*first, *spelled, *last]))}


def marian(folder: Path, *marks: str, separate: bool = False) -> Backend:
    """Marian's tokenizer: one SentencePiece model for the source and one for the target.

    `marks` such as >>fra<< name the target languages. `separate` gives the target a vocabulary of
    its own.
    """
    source, target = pieces(TEXTS[:3]), pieces(TEXTS[3:5])
    common = ("</s>", "<unk>", "<pad>", *marks)
    vocab = vocabulary(*([source] if separate else [source, target]), first=common)
    expected = vocabulary(target, first=("</s>", "<unk>", "<pad>"))
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "target_vocab.json").write_text(json.dumps(expected))
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    options = {"target_vocab_file": str(folder / "target_vocab.json"), "separate_vocabs": True}
    return hf.MarianTokenizer(*files, **(options if separate else {}))


def m2m100(folder: Path, source: str = "en", target: str | None = "fr") -> Backend:
    (folder / "spm.model").write_bytes(pieces())
    vocab = vocabulary(pieces(), first=("<s>", "<pad>", "</s>", "<unk>"))
    (folder / "vocab.json").write_text(json.dumps(vocab))
    files = (str(folder / "vocab.json"), str(folder / "spm.model"))
    return hf.M2M100Tokenizer(*files, src_lang=source, tgt_lang=target)


def plbart(folder: Path) -> Backend:
    """PLBart's tokenizer, set to translate Java into English."""
    (folder / "spm.model").write_bytes(pieces())
    options = {"language_codes": "base", "src_lang": "java", "tgt_lang": "en_XX"}
    return hf.PLBartTokenizer(str(folder / "spm.model"), **options)


def pegasus() -> Backend:
    first = ("<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk>")
    vocab = vocabulary(pieces(), first=first)
    return hf.PegasusTokenizer(
        vocab=[(raw, -float(i) if i > 4 else 0.0) for raw, i in vocab.items()], offset=5
    )


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NAMES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
END = "<|endoftext|>"


def llama(begin: str = "<s>", end: str = "</s>", after: str = "") -> Backend:
    """A byte-level tokenizer that adds `begin` before each text and `after` behind it."""
    template = f"{begin} $A{after} | {begin} $A {begin} $B{after}"
    return byte_level(begin, end, template=template, bos_token=begin, eos_token=end)


def gpt() -> Backend:
    return byte_level(END, bos_token=END, eos_token=END)


# family -> a function that makes its tokenizer, given a folder for files
TOKENIZERS: dict[str, Callable[[Path], Backend]] = {
    "BERT": lambda _: trained(hf.BertTokenizer),
    "RoBERTa": lambda _: trained(hf.RobertaTokenizer),
    "DistilBERT": lambda _: trained(hf.DistilBertTokenizer),
    "ELECTRA": lambda _: trained(hf.ElectraTokenizer),
    "ALBERT": lambda _: trained(hf.AlbertTokenizer),
    "ModernBERT": lambda _: byte_level(
        *BERT, template="[CLS] $A [SEP] | [CLS] $A [SEP] $B [SEP]", **NAMES
    ),
    "MPNet": lambda _: trained(hf.MPNetTokenizer),
    "DeBERTa-v2": lambda _: trained(hf.DebertaV2Tokenizer),
    "XLNet": lambda _: trained(hf.XLNetTokenizer),
    "GPT-2": lambda _: trained(hf.GPT2Tokenizer),
    "OPT": lambda _: trained(hf.GPT2Tokenizer, "</s>"),
    "GPT-NeoX": lambda _: trained(hf.GPTNeoXTokenizer),
    "Llama": lambda _: trained(hf.LlamaTokenizer, "<s>"),
    "Mistral": lambda _: llama(),
    "Qwen2": lambda _: trained(hf.Qwen2Tokenizer),
    "Qwen3": lambda _: trained(hf.Qwen2Tokenizer),
    "Gemma 2": lambda _: trained(hf.GemmaTokenizer, "<bos>"),
    "Gemma 3": lambda _: trained(hf.GemmaTokenizer, "<bos>"),
    "Phi": lambda _: trained(hf.GPT2Tokenizer),
    "OLMo 2": lambda _: gpt(),
    "Cohere 2": lambda _: trained(hf.CohereTokenizer, "<BOS_TOKEN>"),
    "Mixtral": lambda _: llama(),
    "DeepSeek-V3": lambda _: llama("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "Llama 4": lambda _: llama("<|begin_of_text|>", "<|end_of_text|>"),
    "BLOOM": lambda _: gpt(),
    "Falcon": lambda _: gpt(),
    "GPT-J": lambda _: trained(hf.GPT2Tokenizer),
    "gpt-oss": lambda _: gpt(),
    "Marian": marian,
    "BART": lambda _: trained(hf.BartTokenizer),
    "M2M100": m2m100,
    "Pegasus": lambda _: pegasus(),
    "T5": lambda _: trained(hf.T5Tokenizer),
}


TYPED = ["input_ids", "token_type_ids", "attention_mask"]


def typed(tokenizer: Backend) -> Backend:
    """The tokenizer, changed to return token types too (`model_input_names` in its config)."""
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = TYPED
    return tokenizer


class Form(NamedTuple):
    """A model's class and config, and its tokenizer."""

    auto: Any
    config: Callable[[], Any]
    cut: Callable[[Path], Backend]
    start: str = ""  # the name of the token that the decoder begins with: "pad", "eos"


DEBERTA = ONE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 2}
XGLM = {"vocab_size": 50, "d_model": 24, "num_layers": 2, "attention_heads": 4, "ffn_dim": 40}
SMALL = {"vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64}
OTHERS: dict[str, Form] = {
    "RoBERTa of ten types": Form(
        WORDS,
        lambda: hf.RobertaConfig(**ONE, type_vocab_size=10),
        lambda _: trained(hf.RobertaTokenizer),
    ),
    "XLM-R": Form(
        WORDS, lambda: hf.XLMRobertaConfig(**ONE), lambda _: trained(hf.XLMRobertaTokenizer)
    ),
    "DeBERTa": Form(
        WORDS, lambda: hf.DebertaConfig(**DEBERTA), lambda _: trained(hf.DebertaTokenizer)
    ),
    "DeBERTa-v2 of two types": Form(
        WORDS, lambda: hf.DebertaV2Config(**DEBERTA), lambda _: trained(hf.DebertaV2Tokenizer)
    ),
    "XLNet with types": Form(
        NEXT, FAMILIES["XLNet"][1], lambda _: typed(trained(hf.XLNetTokenizer))
    ),
    "ALBERT with types": Form(
        WORDS, FAMILIES["ALBERT"][1], lambda _: typed(trained(hf.AlbertTokenizer))
    ),
    "RemBERT": Form(
        WORDS,
        lambda: hf.RemBertConfig(**ONE, input_embedding_size=12, output_embedding_size=16),
        lambda _: typed(trained(hf.RemBertTokenizer)),
    ),
    "BigBird": Form(
        WORDS,
        lambda: hf.BigBirdConfig(**ONE, attention_type="original_full"),
        lambda _: trained(hf.BigBirdTokenizer),
    ),
    "I-BERT": Form(WORDS, lambda: hf.IBertConfig(**ONE), lambda _: trained(hf.RobertaTokenizer)),
    "Splinter": Form(
        hf.AutoModel, lambda: hf.SplinterConfig(**ONE), lambda _: trained(hf.SplinterTokenizer)
    ),
    "XGLM": Form(NEXT, lambda: hf.XGLMConfig(**XGLM), lambda _: trained(hf.XGLMTokenizer)),
    "OpenAI GPT": Form(
        NEXT, lambda: hf.OpenAIGPTConfig(**SMALL), lambda _: trained(hf.OpenAIGPTTokenizer)
    ),
    "GPT-2 with types": Form(
        NEXT, FAMILIES["GPT-2"][1], lambda _: typed(trained(hf.GPT2Tokenizer))
    ),
    "CTRL": Form(
        NEXT, lambda: hf.CTRLConfig(**SMALL, dff=40), lambda _: typed(trained(hf.GPT2Tokenizer))
    ),
    "a Llama whose texts end": Form(NEXT, FAMILIES["Llama"][1], lambda _: llama(after=" </s>")),
    "ByT5": Form(PAIR, FAMILIES["T5"][1], lambda _: hf.ByT5Tokenizer(), "pad"),
    "mT5": Form(PAIR, lambda: hf.MT5Config(**T5), lambda _: trained(hf.T5Tokenizer), "pad"),
}
NLLB, MBART = ("eng_Latn", "fra_Latn"), ("en_XX", "fr_XX")
TWO = BOTH | {"share_encoder_decoder_embeddings": False}


def between(cls: Any, languages: tuple[str, str], **options: Any) -> Backend:
    """A tokenizer whose default source and target languages are these two."""
    source, target = languages
    return trained(cls, src_lang=source, tgt_lang=target, **options)


def madlad() -> Backend:
    """T5's tokenizer with target-language tokens such as <2fr>, as MADLAD-400 has them."""
    tokenizer = trained(hf.T5Tokenizer)
    tokenizer.add_tokens(["<2de>", "<2en>", "<2fr>"])
    return tokenizer


TRANSLATORS: dict[str, Form] = {
    "M2M100": Form(PAIR, FAMILIES["M2M100"][1], m2m100, "eos"),
    "NLLB": Form(PAIR, FAMILIES["M2M100"][1], lambda _: between(hf.NllbTokenizer, NLLB), "eos"),
    "NLLB as it was": Form(
        PAIR,
        FAMILIES["M2M100"][1],
        lambda _: between(hf.NllbTokenizer, NLLB, legacy_behaviour=True),
        "eos",
    ),
    "mBART": Form(
        PAIR, lambda: hf.MBartConfig(**BOTH), lambda _: between(hf.MBartTokenizer, MBART)
    ),
    "mBART-50": Form(
        PAIR, lambda: hf.MBartConfig(**BOTH), lambda _: between(hf.MBart50Tokenizer, MBART), "eos"
    ),
    "PLBart": Form(PAIR, lambda: hf.PLBartConfig(**BOTH), plbart),
    "Marian of two languages": Form(
        PAIR, FAMILIES["Marian"][1], lambda folder: marian(folder, ">>deu<<", ">>fra<<"), "pad"
    ),
    "MADLAD": Form(PAIR, FAMILIES["T5"][1], lambda _: madlad(), "pad"),
    "Marian of two vocabularies": Form(
        PAIR, lambda: hf.MarianConfig(**TWO), lambda folder: marian(folder, separate=True), "pad"
    ),
}
STARTS = {"Marian": "pad", "BART": "eos", "M2M100": "eos", "Pegasus": "pad", "T5": "pad"}


def published(folder: Path, name: str) -> Path:
    """Save a model and tokenizer of a family into a folder."""
    return saved(folder, form(name))


def form(name: str) -> Form:
    """The form of a family in the README's table, or of one of the other models above."""
    others = TRANSLATORS | OTHERS
    return (
        others[name]
        if name in others
        else Form(*FAMILIES[name], TOKENIZERS[name], STARTS.get(name, ""))
    )


def saved(folder: Path, form: Form) -> Path:
    """Save a model and its tokenizer. Its weights are large, so attention is far from uniform."""
    files = folder.with_name(f"{folder.name}-files")
    files.mkdir(parents=True)
    tokenizer, config = form.cut(files), form.config()
    tokenizer.save_pretrained(folder)
    languages = getattr(tokenizer, "lang_code_to_id", None) or {"": 0}  # M2M100 counts them apart
    config.vocab_size = 1 + max(*tokenizer.get_vocab().values(), *languages.values())
    if hasattr(config, "decoder_vocab_size"):
        config.decoder_vocab_size = config.vocab_size
    if getattr(config, "max_position_embeddings", -1) > 0:
        config.max_position_embeddings = 64
    for name in ("pad", "bos", "eos"):
        setattr(config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
    if form.start:
        config.decoder_start_token_id = getattr(tokenizer, f"{form.start}_token_id")
    torch.manual_seed(0)
    model = form.auto.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
        if name.endswith(".q.weight") and hasattr(config, "d_kv"):  # T5 does not scale its scores
            parameter.data /= config.d_kv**0.5
    model.save_pretrained(folder)
    return folder
