"""Whole masked words and first guesses, of models whose answers are known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers as hf
import torch
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import word_quality
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.word_quality import (
    PASSAGE,
    SHARE,
    first_guess_sentences,
    passages,
    pieces,
)
from attention_atlas.model.zoo import Loaded
from torch import Tensor

from tests.model.untrained import untrained_bert

WORDS = ["dog", "cat", "bird", "fish", "horse", "cow", "sheep", "goat", "duck", "hen"]
TEXT = " ".join(f"The {WORDS[i % 10]} saw 3 don't-go {WORDS[i % 7]}s." for i in range(20))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "own.txt").write_text("\n\n".join([TEXT] * 150))
    return folder


@pytest.fixture(scope="module")
def task(data: Path) -> BertTask:
    return BertTask(data, None, 0)


def knowing(loaded: Loaded, answer: Callable[[Tensor], Tensor]) -> Loaded:
    """Put an oracle in the place of the head for masked words."""
    object.__setattr__(loaded.model, "masked_words", answer)
    return loaded


def test_passages_are_of_whole_sentences_until_there_are_enough_words() -> None:
    result = passages([TEXT.splitlines()], 8)
    assert len(result) == 8
    for passage in result:
        assert passage.text in TEXT
        assert passage.text.endswith(".")
        assert PASSAGE[0] <= len(passage.text.split()) < PASSAGE[0] + 5
    assert result == passages([TEXT.splitlines()], 8)


def test_words_of_letters_are_masked_a_share_of_them() -> None:
    for passage in passages([TEXT.splitlines()], 8):
        masked = [passage.text[start:end] for start, end in passage.masked]
        assert all(word.isalpha() for word in masked)
        n_word = len(word_quality.WORD.findall(passage.text))
        assert len(masked) == round(SHARE * n_word)


def test_a_short_document_has_no_passage() -> None:
    assert passages([["The dog saw it. It ran."]]) == []


def test_pieces_of_a_word(task: BertTask) -> None:
    tokens = task.tokenizer.encode("the dogs ran")
    assert "".join(tokens[i].text for i in pieces(tokens, (4, 8))) == "dogs"
    assert pieces(tokens, (0, 3)) == [1]


def test_a_model_that_knows_nothing_needs_log_v_bits_a_piece(task: BertTask, data: Path) -> None:
    size = task.tokenizer.vocab_size
    blank = knowing(untrained_bert(task), lambda x: torch.zeros(len(x), size))
    result = word_quality.whole_words(blank, task, data)
    texts = passages(task.held_out_documents)
    spans = [(task.tokenizer.encode(p.text), span) for p in texts for span in p.masked]
    n_piece = sum(len(pieces(tokens, span)) for tokens, span in spans)
    n_character = sum(end - start for _, (start, end) in spans)
    bits = n_piece * math.log2(size)
    word, character = result["bits_per_masked_word"], result["bits_per_masked_character"]
    assert (word.n, character.n) == (len(spans), n_character)
    assert word.value == pytest.approx(bits / len(spans), abs=1e-3)
    assert character.value == pytest.approx(bits / n_character, abs=1e-3)


def test_a_model_sees_none_of_a_masked_word(task: BertTask, data: Path) -> None:
    """What it is given differs from the text at the masked pieces alone, all of them [MASK]."""
    seen: list[Tensor] = []
    blank = untrained_bert(task)
    encode = blank.model.encode
    object.__setattr__(
        blank.model, "encode", lambda ids, *rest: (seen.append(ids), encode(ids, *rest))[1]
    )
    word_quality.whole_words(blank, task, data)
    [first, *_] = passages(task.held_out_documents)
    tokens = task.tokenizer.encode(first.text)
    hidden = {i for span in first.masked for i in pieces(tokens, span)}
    expected = [task.mask if i in hidden else token.id for i, token in enumerate(tokens)]
    assert seen[0][0, : len(tokens)].tolist() == expected


def test_a_word_is_right_when_all_of_its_pieces_are(task: BertTask, data: Path) -> None:
    texts = passages(task.held_out_documents)
    with torch.inference_mode():
        answers = [row[2] for row in word_quality.scored(untrained_bert(task), task, texts)]
    rest = iter(answers)

    def oracle(x: Tensor) -> Tensor:
        label = torch.tensor(next(rest))
        label[0] = 0  # each text's first piece is wrong
        return torch.nn.functional.one_hot(label, task.tokenizer.vocab_size) * 99.0

    result = word_quality.whole_words(knowing(untrained_bert(task), oracle), task, data)
    accuracy = result["masked_whole_word_accuracy"]
    assert accuracy.value == pytest.approx(1 - len(answers) / accuracy.n, abs=1e-4)


def test_another_vocabulary_is_asked_the_same(task: BertTask, data: Path) -> None:
    letters = hf.Tokenizer.from_str(task.tokenizer.backend.to_str())
    vocab = {
        raw: i
        for raw, i in letters.get_vocab().items()
        if len(raw.removeprefix("##")) == 1 or raw.startswith("[")
    }
    order = sorted(vocab, key=vocab.__getitem__)
    state = letters.to_str()
    other = BertTask(data, Tokenizer(_with(state, order)), 0, train=False)
    a = word_quality.whole_words(untrained_bert(task), task, data)
    b = word_quality.whole_words(untrained_bert(other), other, data)
    assert [a[name].n for name in a] == [b[name].n for name in a]


def _with(state: str, order: list[str]) -> hf.Tokenizer:
    import json

    spec = json.loads(state)
    spec["model"]["vocab"] = {raw: i for i, raw in enumerate(order)}
    return hf.Tokenizer.from_str(json.dumps(spec))


def test_forty_sentences_with_one_blank_each() -> None:
    sentences = first_guess_sentences()
    assert len({text for text, _ in sentences}) == 40
    assert all(text.count("[MASK]") == 1 for text, _ in sentences)
    assert all(words and all(word.isalpha() for word in words) for _, words in sentences)


def test_first_guesses_are_compared_with_the_sensible_words(
    task: BertTask, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = [("The [MASK] ran.", frozenset({"dog"})), ("A [MASK].", frozenset({"cat"}))]
    monkeypatch.setattr(word_quality, "first_guess_sentences", lambda: sentences)
    dog = torch.tensor([task.tokenizer.id("dog")])
    always = torch.nn.functional.one_hot(dog, task.tokenizer.vocab_size).float()
    result = word_quality.first_guesses(knowing(untrained_bert(task), lambda x: always), task, data)
    assert result["sensible_first_guess"].value == 0.5


def test_without_held_out_text_nothing_is_measured(task: BertTask, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("One sentence.")
    empty = BertTask(tmp_path, task.tokenizer, 0, train=False)
    assert word_quality.whole_words(untrained_bert(empty), empty, tmp_path) == {}
