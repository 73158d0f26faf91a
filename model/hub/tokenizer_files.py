"""Why a tokenizer could not be made of a folder's files: told by the files themselves."""

from __future__ import annotations

import base64
import importlib.util
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attention_atlas.model.hub.folder import check_whole, read_json
from attention_atlas.model.hub.reasons import BadModel, needs, unexpected

SETTINGS = "tokenizer_config.json"
OBJECTS = ("tokenizer.json", SETTINGS, "vocab.json", "special_tokens_map.json")
SENTENCEPIECE = (".model", ".spm")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "vocab.bpe")
PACKAGES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}  # module -> package
MOST_GROWTH = 100  # characters in place of one
MOST_DEPTH = 20  # of steps inside of steps
MOST_TOKENS = 100  # of one character
NESTED = ("normalizers", "pretokenizers", "decoders")  # steps that are made of steps
MOST_LETTERS = 1_000  # of a word in which pieces are looked for
LONG = ("a", "ab", "aaab ", "\n", " a", "é", "注", "1", "🙂", "ﷺ")  # long texts are made of these
LONGEST_TEXT = 20_000  # characters, as MAX_CHARACTERS is by default
MOST_SECONDS = 20  # for one of them; good ones take a tenth of a second
ASCII = "".join(map(chr, range(32, 127)))
PROBE = f"{ASCII} The river bank 1,234.5 — naïve café 注意力 मन 🙂\n\t {'a' * 40}"
RANKS = re.compile(rb"[A-Za-z0-9+/]+=* \d+\n")  # the first line of a file of tiktoken


def problem(folder: Path, error: Exception) -> BadModel:
    """What to say of a tokenizer that could not be made."""
    if isinstance(error, BadModel):
        return error
    try:
        check(folder)
    except BadModel as known:
        return known
    kind = str(_settings(folder).get("tokenizer_class") or "unknown")[:60]
    text = "its tokenizer ({kind}) cannot be made of its files"
    return unexpected(error, "damaged", text, kind=kind)


def check(folder: Path) -> None:
    """Raises BadModel for the first thing that keeps a tokenizer from being made."""
    for path in (*(folder / name for name in (*OBJECTS, "vocab.txt")), *_pieces(folder)):
        check_whole(path)
    if _settings(folder).get("auto_map"):
        raise BadModel(
            "remote-code",
            "its tokenizer brings its own Python code, and such code is never run here",
        )
    for name in OBJECTS:
        if (folder / name).is_file():
            read_json(folder / name)
    if not (folder / "tokenizer.json").is_file():
        for path in _pieces(folder):
            _check_pieces(path)
    if not _pieces(folder) and not any((folder / name).is_file() for name in VOCABULARIES):
        raise BadModel(
            "no-tokenizer",
            "no tokenizer is saved with the model: save the one that it was trained with in the "
            "same folder, with tokenizer.save_pretrained",
        )
    has_merges = any((folder / name).is_file() for name in ("merges.txt", "tokenizer.json"))
    if (folder / "vocab.json").is_file() and not has_merges and not _pieces(folder):
        text = "its tokenizer has vocab.json, but not merges.txt, which belongs to it"
        raise BadModel("damaged", text)


def check_growth(folder: Path) -> None:
    """Raises BadModel for a tokenizer.json that makes texts very much longer: what it puts in
    place of a character, step after step, multiplies; or that looks for pieces in words of any
    length: that takes as many steps as the word's letters to the third power."""
    path = folder / "tokenizer.json"
    content = read_json(path) if path.is_file() else {}
    model = content.get("model")
    longest = model.get("max_input_chars_per_word", 0) if isinstance(model, dict) else 0
    if isinstance(longest, int | float) and longest > MOST_LETTERS:
        raise BadModel(
            "unsupported",
            "its tokenizer.json has max_input_chars_per_word {n}; at most {most} are taken",
            n=f"{longest:,}"[:30],
            most=f"{MOST_LETTERS:,}",
        )
    growth = 1
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        growth = max(growth, _growth(content.get(part)))
    if growth > MOST_GROWTH:
        raise BadModel(
            "unsupported",
            "its tokenizer.json makes a text up to {n} times as long; at most {most} times",
            n=f"{growth:,}"[:30],
            most=f"{MOST_GROWTH:,}",
        )


def _growth(step: Any, depth: int = 0) -> int:
    """By how much the steps of a tokenizer can multiply the length of a text, at most."""
    if not isinstance(step, dict) or depth > MOST_DEPTH:
        return 1 if depth <= MOST_DEPTH else MOST_GROWTH + 1
    inner = [step[name] for name in NESTED if isinstance(step.get(name), list)]
    replacing = STEPS.get(str(step.get("type")))
    growth = replacing(step) if replacing else 1
    for each in (each for steps in inner for each in steps):
        growth *= max(1, _growth(each, depth + 1))
        if growth > MOST_GROWTH:
            break
    return max(1, growth)


def _longest_in_table(step: dict[str, Any]) -> int:
    """The longest text that a table of SentencePiece has for a character: after the number of
    bytes of a trie and the trie, texts that end with a zero."""
    try:
        table = base64.b64decode(str(step.get("precompiled_charsmap") or ""))
    except ValueError:
        return 1  # no tokenizer can be made of it
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return max(len(text.decode("utf-8", "replace")) for text in texts.split(b"\0"))


STEPS: dict[str, Callable[[dict[str, Any]], int]] = {  # what a step has in place of a character
    "Replace": lambda step: len(str(step.get("content", ""))),
    "Prepend": lambda step: len(str(step.get("prepend", ""))),
    "Precompiled": _longest_in_table,
}


def check_long(backend: Any) -> None:
    """Raises BadModel for a tokenizer that takes very long for a long text, or makes very many
    tokens of it: it passed with a short one. Only in a child: nothing ends it but its process."""
    for part in LONG:
        text = (part * LONGEST_TEXT)[:LONGEST_TEXT]
        began = time.process_time()
        try:
            n = len(backend(text, verbose=False)["input_ids"])
        except BaseException as error:  # one text that it cannot process is no harm
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            n = 0
        if n > MOST_TOKENS * len(text) or time.process_time() - began > MOST_SECONDS:
            raise BadModel(
                "unsupported",
                "its tokenizer ({kind}) takes very long for a text of {length} characters",
                kind=type(backend).__name__,
                length=f"{LONGEST_TEXT:,}",
            )


def check_probe(backend: Any) -> None:
    """Raises BadModel for a tokenizer that makes very many tokens of a short text, or fails."""
    try:
        n = len(backend(PROBE, verbose=False)["input_ids"])
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        known = error if isinstance(error, Exception) else RuntimeError(str(error))
        text = "its tokenizer ({kind}) fails on a short text"
        raise unexpected(known, "damaged", text, kind=type(backend).__name__) from None
    if n > MOST_TOKENS * len(PROBE):
        text = "its tokenizer ({kind}) makes {n} tokens of {length} characters"
        raise BadModel(
            "unsupported", text, kind=type(backend).__name__, n=f"{n:,}", length=len(PROBE)
        )


def _check_pieces(path: Path) -> None:
    """A vocabulary of SentencePiece, or of tiktoken, and what reads it is installed."""
    with path.open("rb") as file:
        is_ranks = RANKS.match(file.read(1000)) is not None
    packages = {"tiktoken": "tiktoken"} if is_ranks else PACKAGES
    if missing := [name for module, name in packages.items() if not _is_installed(module)]:
        raise needs(*missing)
    if is_ranks:
        return
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor(model_file=str(path))
    except Exception as error:
        text = "{file} is no model of SentencePiece"
        raise unexpected(error, "damaged", text, file=path.name) from None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # the package that it is in is not there
        return False


def _pieces(folder: Path) -> list[Path]:
    """Files of SentencePiece or tiktoken."""
    return [path for path in sorted(folder.iterdir()) if path.name.endswith(SENTENCEPIECE)]


def _settings(folder: Path) -> dict[str, object]:
    path = folder / SETTINGS
    return read_json(path) if path.is_file() else {}
