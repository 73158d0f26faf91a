"""Text to train on: documents and sentence pairs from a folder, split into train and held out.

A folder of text holds `*.txt` (one paragraph a line, a blank line between documents) and, for the
translator, `*.tsv` (source TAB target), each as it is or `.xz`, in subfolders as deep as you like.
Files and folders named eval, dev or test are never trained on.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HELD_OUT_EVERY = 100  # one document in a hundred is never trained on
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(]?[A-Z0-9])")


class Source(NamedTuple):
    """Where a text comes from, for the model's card."""

    file: str
    title: str
    licence: str
    attribution: str


SOURCES = {
    source.file: source
    for source in (
        Source("vital_wiki", "Wikipedia, vital articles", "CC BY-SA", "Wikipedia contributors"),
        Source("enwiki2018", "Wikipedia, shorter articles", "CC BY-SA", "Wikipedia contributors"),
        Source("classics", "Public-domain books, 1650-1928", "public domain", "their authors"),
        Source(
            "tatoeba_en",
            "Everyday sentences",
            "CC BY 2.0 FR",
            "tatoeba.org and manythings.org/anki",
        ),
        Source("wordnet_glosses", "WordNet glosses", "WordNet licence", "Princeton University"),
        Source("fairytaleqa", "Fairy tales (FairytaleQA)", "Apache-2.0", "FairytaleQA authors"),
        Source("asp", "African Storybook", "CC BY", "African Storybook contributors"),
        Source("onestop", "OneStopEnglish news", "CC BY-SA 4.0", "OneStopEnglish authors"),
        Source("masc", "Manually Annotated Sub-Corpus", "free for any use", "ANC, MASC authors"),
        Source("state_union", "State of the Union addresses", "public domain", "US presidents"),
        Source(
            "bank_sentences",
            "Sentences with bank, from the texts above and kindred ones",
            "as their sources",
            "Wikipedia contributors, tatoeba.org, Princeton University (WordNet) and those above",
        ),
        Source(
            "all-MiniLM-L6-v2",
            "The weights that training started from, not a text",
            "Apache-2.0",
            "sentence-transformers (Reimers & Gurevych 2019); MiniLM (Wang et al. 2020)",
        ),
        Source(
            "train",
            "Spanish-English sentence pairs",
            "CC BY 2.0 FR",
            "tatoeba.org and manythings.org/anki",
        ),
        Source(
            "europarl",
            "Proceedings of the European Parliament, Spanish-English",
            "free for any use",
            "European Parliament; Koehn 2005",
        ),
    )
}


@dataclass(frozen=True)
class Documents:
    """The documents of one file, each a list of paragraphs."""

    name: str
    train: list[list[str]]
    held_out: list[list[str]]


class NoData(Exception):
    """There is nothing, or too little, to train on."""


def enough(n_train: int, n_held_out: int, what: str) -> None:
    """NoData, unless something is left to train on and something to measure by."""
    if not n_train or not n_held_out:
        least = f"at least {HELD_OUT_EVERY} are wanted; one in {HELD_OUT_EVERY} is held out"
        raise NoData(f"{n_train} {what} to train on and {n_held_out} to measure by: {least}")


def documents(
    folder: Path, *, skip: tuple[str, ...] = (), train: bool = True
) -> Iterator[Documents]:
    """Every text file below a folder, in order of name; without `train`, what is held out."""
    paths = [path for path in _files(folder, ".txt") if _name(path) not in skip]
    if not paths:
        raise NoData(
            f"no .txt or .txt.xz below {folder}: put text there, one paragraph a line and a blank "
            "line between documents, or name another folder with --data. Public text: Wikipedia's "
            "articles (dumps.wikimedia.org), books (gutenberg.org)"
        )
    yield from (_documents(path, train=train) for path in paths)


def named(folder: Path, name: str) -> Iterator[Documents]:
    """The text files of one name below a folder, none if it has none."""
    yield from (_documents(path) for path in _files(folder, ".txt") if _name(path) == name)


def _documents(path: Path, *, train: bool = True) -> Documents:
    docs = [doc.splitlines() for doc in _read(path).split("\n\n") if doc.strip()]
    held_out = docs[::HELD_OUT_EVERY]
    rest = [doc for i, doc in enumerate(docs) if i % HELD_OUT_EVERY] if train else []
    if _name(path) in SOURCES:  # your own text is taken as it is
        held_out, rest = (
            [[line for line in doc if is_sentence(line)] for doc in part]
            for part in (held_out, rest)
        )
    return Documents(_name(path), [d for d in rest if d], [d for d in held_out if d])


def pairs(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Every file of sentence pairs below a folder, by name: {"train": [(source, target), …]}."""
    pairs_of: dict[str, list[tuple[str, str]]] = {}
    for path in _files(folder, ".tsv"):
        rows = [tuple(line.split("\t")) for line in _read(path).splitlines() if line.strip()]
        if all(len(row) == 2 for row in rows):
            pairs_of.setdefault(_name(path), []).extend((row[0], row[1]) for row in rows)
    if not pairs_of:
        raise NoData(
            f"no .tsv or .tsv.xz of two columns below {folder}: put sentence pairs there, "
            "source TAB target, or name another folder with --data. Public pairs: "
            "manythings.org/anki"
        )
    return pairs_of


def held_out_pairs(folder: Path, split: str) -> list[tuple[str, list[str]]]:
    """dev or test: source TAB one or more references. Empty when the folder has none."""
    for path in sorted(folder.rglob(f"{split}.tsv*")):
        if "eval" not in path.relative_to(folder).parts:
            rows = [line.split("\t") for line in _read(path).splitlines() if line.strip()]
            return [(row[0], row[1:]) for row in rows]
    return []


def bank_sentences(folder: Path, held_out: Iterable[str]) -> list[str]:
    """More sentences with "bank" in them, those that are held out left out.

    From bank_sentences.tsv (corpus TAB context class TAB sentence), if the folder has one.
    """
    unseen = set(held_out)
    for path in _files(folder, ".tsv"):
        if _name(path) == "bank_sentences":
            rows = [line.split("\t") for line in _read(path).splitlines()[1:]]
            return [row[2] for row in rows if row[2] not in unseen]
    return []


def alignments(folder: Path) -> Iterator[tuple[list[str], list[str], set[tuple[int, int]]]]:
    """Sentence pairs with hand-made links: target words, source words, (target, source) links.

    From alignment/dev.tsv: words by spaces, links as "0-0 2-1".
    """
    for path in sorted(folder.rglob("alignment/dev.tsv*")):
        for line in _read(path).splitlines():
            target, source, links = line.split("\t")
            pairs = [link.split("-") for link in links.split()]
            yield target.split(), source.split(), {(int(a), int(b)) for a, b in pairs}


def senses(folder: Path, word: str) -> Iterator[tuple[str, tuple[int, int], int]]:
    """Sentences with a word whose sense is known: text, the word's span, sense.

    From wsd/WORD/train.data.txt (word index TAB sentence) and train.gold.txt (a sense a line).
    """
    for path in sorted(folder.rglob(f"wsd/{word}/train.data.txt")):
        gold = _read(path.with_name("train.gold.txt")).split()
        for line, sense in zip(_read(path).splitlines(), gold, strict=True):
            index, text = line.split("\t")
            words = text.split(" ")
            start = len(" ".join([*words[: int(index)], ""]))
            yield text, (start, start + len(words[int(index)])), int(sense)


def sense_words(folder: Path) -> list[str]:
    """The words that have sentences of known sense."""
    return sorted(path.parent.name for path in folder.rglob("wsd/*/train.data.txt"))


class Word(NamedTuple):
    """A word of a parsed sentence: its governor is the index of another, None at the root."""

    form: str
    governor: int | None
    relation: str


def trees(folder: Path) -> Iterator[list[Word]]:
    """Parsed sentences of syntax/*.conllu (Universal Dependencies), ranges and gaps left out."""
    for path in sorted(folder.rglob("syntax/*.conllu")):
        for block in _read(path).split("\n\n"):
            rows = [line.split("\t") for line in block.splitlines() if not line.startswith("#")]
            words = [row for row in rows if row[0].isdigit()]
            if words:
                yield [
                    Word(row[1], int(row[6]) - 1 if int(row[6]) else None, row[7]) for row in words
                ]


def minimal_pairs(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """BLiMP (Warstadt et al. 2020): each set's name, and its (grammatical, not) sentences."""
    for path in sorted(folder.rglob("blimp/*.jsonl")):
        rows = [json.loads(line) for line in _read(path).splitlines()]
        yield _name(path), [(row["sentence_good"], row["sentence_bad"]) for row in rows]


def is_sentence(text: str) -> bool:
    """Several words, mostly letters, with a full stop or the like: no title, no list, no table."""
    letters = sum(char.isalpha() for char in text)
    solid = sum(not char.isspace() for char in text)
    ended = text.rstrip("\"')]”’").endswith((".", "!", "?", "…"))
    return ended and " " in text.strip() and letters >= 0.7 * solid


def sentences(paragraph: str) -> list[str]:
    """A paragraph cut after . ! ? before a capital; rough, and enough to learn from."""
    return [sentence for sentence in SENTENCE_END.split(paragraph.strip()) if sentence]


def provenance(names: list[str]) -> list[dict[str, str]]:
    """What a card says about its data."""
    unnamed = "your own text"
    return [SOURCES.get(name, Source(name, name, unnamed, unnamed))._asdict() for name in names]


def _files(folder: Path, ending: str) -> list[Path]:
    paths = [*folder.rglob(f"*{ending}"), *folder.rglob(f"*{ending}.xz")]
    held_out = {"eval", "dev", "test"}
    return sorted(p for p in paths if not held_out & {*p.relative_to(folder).parts, _name(p)})


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _read(path: Path) -> str:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes()).decode("utf-8")
    return path.read_text("utf-8")
