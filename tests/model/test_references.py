"""Reference sentences: two senses a word, the word once in each sentence."""

from __future__ import annotations

import re

import pytest
from attention_atlas.model.analysis.references import REFERENCES

SETS = [(word, sense) for word, senses in REFERENCES.items() for sense in senses]


def test_there_are_ten_ambiguous_words_with_two_senses() -> None:
    assert len(REFERENCES) >= 10
    assert {len(senses) for senses in REFERENCES.values()} == {2}


@pytest.mark.parametrize(("word", "sense"), SETS)
def test_each_sentence_has_its_word_once(word: str, sense: str) -> None:
    sentences = REFERENCES[word][sense]
    assert [len(re.findall(rf"(?i)\b{word}\b", text)) for text in sentences] == [1] * 8


def test_no_sentence_stands_twice() -> None:
    sentences = [text for word, sense in SETS for text in REFERENCES[word][sense]]
    assert len({*sentences}) == len(sentences)
