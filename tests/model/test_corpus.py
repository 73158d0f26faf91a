"""Text to train on: every file found, nothing held out is ever seen."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from attention_atlas.model.training import corpus


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = text.encode()
    path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)


def test_documents_are_parted_by_blank_lines(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "held out\n\none\ntwo\n\n\n\nthree\n")
    [result] = corpus.documents(tmp_path)
    assert result == corpus.Documents(
        "b", train=[["one", "two"], ["three"]], held_out=[["held out"]]
    )


def test_every_file_in_every_subfolder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "c.txt", "c")
    write(tmp_path / "deep" / "er" / "a.txt.xz", "a")
    write(tmp_path / "notes.md", "not text to train on")
    assert [result.name for result in corpus.documents(tmp_path)] == ["c", "a"]


def test_a_packed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    text = "you\n\n你好 🙂\nüber\n\nok"
    write(tmp_path / "plain.txt", text)
    write(tmp_path / "zipped.txt.xz", text)
    plain, packed = corpus.documents(tmp_path)
    assert plain.train == packed.train == [["你好 🙂", "über"], ["ok"]]


def test_a_file_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "b.txt", "b")
    assert [result.name for result in corpus.documents(tmp_path, skip=("a",))] == ["b"]


def test_one_document_in_a_hundred_is_held_out(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "\n\n".join(f"document {i}" for i in range(250)))
    [result] = corpus.documents(tmp_path)
    assert result.held_out == [["document 0"], ["document 100"], ["document 200"]]
    assert len(result.train) == 247
    assert not {doc[0] for doc in result.train} & {doc[0] for doc in result.held_out}


@pytest.mark.parametrize("name", ["eval", "dev", "test"])
def test_what_is_for_measuring_is_never_trained_on(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "a.tsv", "a\tb")
    write(tmp_path / f"{name}.txt", "no")
    write(tmp_path / f"{name}.tsv.xz", "no\tno")
    write(tmp_path / name / "c.txt", "no")
    write(tmp_path / "es-en" / name / "c.tsv", "no\tno")
    assert [result.name for result in corpus.documents(tmp_path)] == ["a"]
    assert corpus.pairs(tmp_path) == {"a": [("a", "b")]}


def test_pairs_are_two_columns(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "hola\thello\n\nadiós\tgoodbye\n")
    write(tmp_path / "scores.tsv", "not\ta\tpair\n")
    assert corpus.pairs(tmp_path) == {"train": [("hola", "hello"), ("adiós", "goodbye")]}


def test_held_out_pairs_may_have_more_than_one_reference(tmp_path: Path) -> None:
    write(tmp_path / "es-en" / "dev.tsv.xz", "hola\thello\thi\nadiós\tgoodbye\n")
    result = corpus.held_out_pairs(tmp_path, "dev")
    assert result == [("hola", ["hello", "hi"]), ("adiós", ["goodbye"])]
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
    known, expected = corpus.provenance(["classics", "diary"])
    assert known["licence"] == "public domain"
    assert expected == {
        "file": "diary",
        "title": "diary",
        "licence": "your own text",
        "attribution": "your own text",
    }


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("The bank is closed.", True),
        ('"Come in!" he said.', True),
        ("It rained (at last).", True),
        ("Go!", False),
        ("History of the river bank", False),
        ("1. 12 34 56, 78 90.", False),
        ("", False),
    ],
)
def test_a_sentence_is_no_title_and_no_list(text: str, whole: bool) -> None:
    assert corpus.is_sentence(text) == whole


def test_known_texts_are_cleaned_and_ones_own_is_not(tmp_path: Path) -> None:
    text = "no\n\nA title\nThe bank is closed.\n\nOnly a title\n\n"
    write(tmp_path / "vital_wiki.txt", text)
    write(tmp_path / "own.txt", text)
    expected, known = corpus.documents(tmp_path)
    assert expected.train == [["A title", "The bank is closed."], ["Only a title"]]
    assert known.train == [["The bank is closed."]]


def test_sentences_with_bank_that_are_held_out_are_left_out(tmp_path: Path) -> None:
    rows = ["corpus\tclass\tsentence", "asp\triver\tA bank.", "asp\tmoney\tThe bank."]
    write(tmp_path / "bank_sentences.tsv.xz", "\n".join(rows))
    assert corpus.bank_sentences(tmp_path, ["A bank."]) == ["The bank."]
    assert corpus.bank_sentences(tmp_path / "nowhere", []) == []


def test_alignments_are_target_source_and_links(tmp_path: Path) -> None:
    write(tmp_path / "eval" / "alignment" / "dev.tsv", "He sat .\tSe sentó .\t0-0 1-1 2-2\n")
    [result] = corpus.alignments(tmp_path)
    assert result == (["He", "sat", "."], ["Se", "sentó", "."], {(0, 0), (1, 1), (2, 2)})


def test_a_sense_comes_with_the_span_of_its_word(tmp_path: Path) -> None:
    write(tmp_path / "wsd" / "bank" / "train.data.txt", "2\tthe river bank .\n0\tbank notes\n")
    write(tmp_path / "wsd" / "bank" / "train.gold.txt", "1\n0\n")
    values = list(corpus.senses(tmp_path, "bank"))
    assert values == [("the river bank .", (10, 14), 1), ("bank notes", (0, 4), 0)]
    assert list(corpus.senses(tmp_path, "seal")) == []


def test_minimal_pairs_are_good_and_bad(tmp_path: Path) -> None:
    row = '{"sentence_good": "It is.", "sentence_bad": "It are.", "UID": "x"}'
    write(tmp_path / "blimp" / "agreement.jsonl", f"{row}\n{row}\n")
    assert list(corpus.minimal_pairs(tmp_path)) == [("agreement", [("It is.", "It are.")] * 2)]


def test_what_is_held_out_can_be_read_alone(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\n\n".join(f"Document {i}." for i in range(150)))
    [both], [alone] = corpus.documents(tmp_path), corpus.documents(tmp_path, train=False)
    assert len(both.train) == 148
    assert alone.train == []
    assert alone.held_out == both.held_out == [["Document 0."], ["Document 100."]]


def test_documents_of_one_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"First of {name}.\n\nSecond of {name}.")
    [result] = corpus.named(tmp_path, "two")
    assert (result.held_out, result.train) == ([["First of two."]], [["Second of two."]])
    assert list(corpus.named(tmp_path, "three")) == []
