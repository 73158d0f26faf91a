"""Tokenizers of somebody who means harm, by what they do to a text."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

from tests import saved
from tests.hostile.configs import Make


def tokenizer(**parts: Any) -> Make:
    """A BERT whose tokenizer.json has other parts."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
        return folder

    return make


def replaced(char: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": char}, "content": by}


def steps(*each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": [*each]}


def deep(step: dict[str, Any], depth: int) -> dict[str, Any]:
    for _ in range(depth):
        step = steps(step)
    return step


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def counted(n: int) -> dict[str, Any]:
    """A vocabulary whose ids are beyond every table."""
    words = {"[UNK]": n, "[CLS]": n + 1, "[SEP]": n + 2, "[PAD]": n + 3, "[MASK]": n + 4}
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words}  # fmt: skip


TOKENIZERS: dict[str, Make] = {
    "a is 10⁹ a": tokenizer(normalizer=steps(*[replaced("a", "a" * 10)] * 9)),
    "a rare letter is 10⁹": tokenizer(normalizer=steps(*[replaced("ж", "ж" * 10)] * 9)),
    "a is a million": tokenizer(normalizer=replaced("a", "a" * 1_000_000)),
    "a is 1,000 b, b 1,000 c": tokenizer(
        normalizer=steps(replaced("a", "b" * 1_000), replaced("b", "c" * 1_000))
    ),
    "steps in steps": tokenizer(normalizer=deep(replaced("a", "b"), 60)),
    "a pattern that is none": tokenizer(pre_tokenizer=split("(((")),
    "ids of 4 billion": tokenizer(model=counted(4_000_000_000)),
    "no model": tokenizer(model=None),
    "a step of another type": tokenizer(normalizer={"type": "Nothing"}),
    "a step that is text": tokenizer(normalizer="lower"),
    "a model of another type": tokenizer(model={"type": "Nothing"}),
    "no vocabulary": tokenizer(model={"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]"}),
}


def replaced_by_pattern(pattern: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


def charsmap(by: int) -> dict[str, Any]:
    """A table of SentencePiece, in which something becomes so many letters."""
    trie, texts = struct.pack("<4I", 0, 0, 0, 0), b"x" * by + b"\0"
    content = struct.pack("<I", len(trie)) + trie + texts
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def added(*texts: str, start: int = 11_000) -> list[dict[str, Any]]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": start + n, "content": text, "special": False, **flags}
        for n, text in enumerate(texts)
    ]


def unigram(*scores: float) -> dict[str, Any]:
    vocab = [[f"{n}", score] for n, score in enumerate(scores)]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocab}


def word_piece(longest: int) -> Make:
    """A BERT whose tokenizer looks for pieces in words of so many letters: n³ steps."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        content["model"]["max_input_chars_per_word"] = longest
        path.write_text(json.dumps(content))
        return folder

    return make


def pairs(*merges: str, **vocab: int) -> dict[str, Any]:
    return {"type": "BPE", "vocab": vocab, "merges": list(merges), "unk_token": None}


def around(*ids: int, times: int = 1) -> dict[str, Any]:
    """Tokens around a text, and the text so many times."""
    special = {"[X]": {"id": "[X]", "ids": list(ids), "tokens": ["[X]"] * len(ids)}}
    single = [{"SpecialToken": {"id": "[X]", "type_id": 0}}]
    single += [{"Sequence": {"id": "A", "type_id": 0}}] * times
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": special}  # fmt: skip


def raw_tokenizer(text: str) -> Make:
    """A BERT whose tokenizer.json is this text."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        (folder / "tokenizer.json").write_text(text)
        return folder

    return make


def raw_scores(written: str) -> Make:
    """A Llama all of whose tokenizer's scores are written so."""

    def make(folder: Path) -> Path:
        saved.llama(folder)
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        content["model"]["vocab"] = [[piece, "@"] for piece, _ in content["model"]["vocab"]]
        path.write_text(json.dumps(content).replace('"@"', written))
        return folder

    return make


def settings(template: str) -> Make:
    """A BERT with a template for conversations."""

    def make(folder: Path) -> Path:
        saved.bert(folder)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
        return folder

    return make


FULL = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None}
TOKENIZERS |= {
    "a table in which a letter is a million": tokenizer(normalizer=charsmap(1_000_000)),
    "a table that is cut off": tokenizer(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    ),
    "a pattern in a pattern": tokenizer(normalizer=replaced_by_pattern("(x+x+)+y", "a" * 1_000)),
    "much before each text": tokenizer(normalizer={"type": "Prepend", "prepend": "a" * 10**7}),
    "words of any length": word_piece(10**15),
    "pairs of what is not there": tokenizer(model=pairs("a b", a=0, b=1)),
    "pairs in a circle": tokenizer(model=pairs("a a", "aa a", a=0, aa=0, aaa=0)),
    "pairs of one": tokenizer(model=pairs("a", a=0)),
    "a score that is text": tokenizer(
        model={"type": "Unigram", "unk_id": 0, "vocab": [["a", "x"]]}
    ),
    "unknown beyond the words": tokenizer(model={**unigram(0.0, -1.0), "unk_id": 10**9}),
    "an added token of 10⁸ letters": tokenizer(added_tokens=added("x" * 110_000_000)),
    "a text a million times": tokenizer(post_processor=around(1, times=10_000)),
    "a million tokens around it": tokenizer(post_processor=around(*[1] * 1_000_000)),
    "arrays in arrays": raw_tokenizer('{"model": ' + "[" * 100_000),
    "a list": raw_tokenizer("[]"),
}
# Odd but harmless files: each is opened, or refused in our words.
ODD_TOKENIZERS: dict[str, Make] = {
    "scores of minus infinity": raw_scores("-1e999"),
    "scores that are no numbers": raw_scores("NaN"),
    "added ids of 4 billion": tokenizer(added_tokens=added("§", start=4_000_000_000)),
    "tokens around it that are none": tokenizer(post_processor=around(10**9)),
    "padded to 10⁹": tokenizer(padding={**FULL, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}),
    "an empty added token": tokenizer(added_tokens=added("")),
    "10,000 added tokens": tokenizer(added_tokens=added(*map("§{}".format, range(10_000)))),
    "added tokens that turn": tokenizer(added_tokens=added("\u202e", "\u0000", "\ufeff", "🏴")),
    "cut to nothing": tokenizer(
        truncation={"max_length": 0, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    ),
    "steps that are chance": tokenizer(model={**pairs("a b", a=0, b=1, ab=2), "dropout": 1.0}),
    "a template that never ends": settings("{% for a in range(10**9) %}{{ a }}{% endfor %}"),
    "a template that asks for more": settings("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "no step at all": tokenizer(normalizer=None, pre_tokenizer=None, decoder=None),
}
