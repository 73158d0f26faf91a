"""Text to train on: every file found, nothing held out is ever seen."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from model import corpus


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = text.encode()
    path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)


def test_documents_are_parted_by_blank_lines(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "held out\n\none\ntwo\n\n\n\nthree\n")
    [found] = corpus.documents(tmp_path)
    assert found == corpus.Documents(
        "b", train=[["one", "two"], ["three"]], held_out=[["held out"]]
    )


def test_every_file_in_every_subfolder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "c.txt", "c")
    write(tmp_path / "deep" / "er" / "a.txt.xz", "a")
    write(tmp_path / "notes.md", "not text to train on")
    assert [found.name for found in corpus.documents(tmp_path)] == ["c", "a"]


def test_a_packed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    text = "you\n\n你好 🙂\nüber\n\nok"
    write(tmp_path / "plain.txt", text)
    write(tmp_path / "zipped.txt.xz", text)
    plain, packed = corpus.documents(tmp_path)
    assert plain.train == packed.train == [["你好 🙂", "über"], ["ok"]]


def test_a_file_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "b.txt", "b")
    assert [found.name for found in corpus.documents(tmp_path, skip=("a",))] == ["b"]


def test_one_document_in_a_hundred_is_held_out(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "\n\n".join(f"document {i}" for i in range(250)))
    [found] = corpus.documents(tmp_path)
    assert found.held_out == [["document 0"], ["document 100"], ["document 200"]]
    assert len(found.train) == 247
    assert not {doc[0] for doc in found.train} & {doc[0] for doc in found.held_out}


@pytest.mark.parametrize("name", ["eval", "dev", "test"])
def test_what_is_for_measuring_is_never_trained_on(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "a.tsv", "a\tb")
    write(tmp_path / f"{name}.txt", "no")
    write(tmp_path / f"{name}.tsv.xz", "no\tno")
    write(tmp_path / name / "c.txt", "no")
    write(tmp_path / "es-en" / name / "c.tsv", "no\tno")
    assert [found.name for found in corpus.documents(tmp_path)] == ["a"]
    assert corpus.pairs(tmp_path) == {"a": [("a", "b")]}


def test_pairs_are_two_columns(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "hola\thello\n\nadiós\tgoodbye\n")
    write(tmp_path / "scores.tsv", "not\ta\tpair\n")
    assert corpus.pairs(tmp_path) == {"train": [("hola", "hello"), ("adiós", "goodbye")]}


def test_held_out_pairs_may_have_more_than_one_reference(tmp_path: Path) -> None:
    write(tmp_path / "es-en" / "dev.tsv.xz", "hola\thello\thi\nadiós\tgoodbye\n")
    found = corpus.held_out_pairs(tmp_path, "dev")
    assert found == [("hola", ["hello", "hi"]), ("adiós", ["goodbye"])]
    assert corpus.held_out_pairs(tmp_path, "test") == []


def test_no_text_is_a_clear_error(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "a\tb")
    with pytest.raises(corpus.NoData, match=rf"no \.txt or \.txt\.xz below {tmp_path}: put text"):
        list(corpus.documents(tmp_path))


def test_no_pairs_is_a_clear_error(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    with pytest.raises(
        corpus.NoData, match="source TAB target, or name another folder with --data"
    ):
        corpus.pairs(tmp_path)


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(corpus.NoData, match="nowhere"):
        list(corpus.documents(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It cost 3.50 e.g. today.", ["It cost 3.50 e.g. today."]),
        ("  No end  ", ["No end"]),
        ("", []),
    ],
)
def test_sentences(paragraph: str, expected: list[str]) -> None:
    assert corpus.sentences(paragraph) == expected


def test_a_card_names_its_sources() -> None:
    known, own = corpus.provenance(["classics", "diary"])
    assert known["licence"] == "public domain"
    assert own == {
        "file": "diary",
        "title": "diary",
        "licence": "your own text",
        "attribution": "your own text",
    }
