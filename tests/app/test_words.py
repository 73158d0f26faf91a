"""One definition of a word through the API: /tokenize, merge=words, /hidden-states, /compare.

Every script with three tokenizers: the bundled WordPiece, the bundled byte-level BPE, and a
Unigram tokenizer with byte fallback in a folder of Hugging Face.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

from tests import saved
from tests.scripts import WORDS

MODELS = ("bert", "gpt", "llama")
HINDI = WORDS["Hindi"][0]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """api("/tokenize", model="llama", text="…"): the answer's JSON, which must be a 200."""
    root = tmp_path_factory.mktemp("models")
    folders = saved.llama(root / "llama"), saved.bert(root / "pair")
    settings = Settings(models="bert,gpt", model=tuple(map(str, folders)), threads=1)
    with TestClient(create_app(settings)) as client:

        def ask(path: str, **body: Any) -> Any:
            answer = client.post(f"/api/v1{path}", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield ask


def forms(text: str) -> tuple[str, str]:
    return unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def joined(words: list[str], shown: list[str]) -> list[str]:
    """The expected words, those put together that are together in what is shown."""
    left, groups = list(words), []
    for text in shown:
        group = ""
        while "".join(group.split()) != "".join(text.split()):
            group += left.pop(0)
        groups.append(group)
    assert not left
    return groups


def spans_of(tokens: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """Where each word's tokens begin and end in the text, spaces at the ends apart."""
    spans: dict[int, tuple[int, int]] = {}
    for token in tokens:
        if token["word"] is not None:
            start, end = spans.get(token["word"], (token["start"], token["end"]))
            spans[token["word"]] = min(start, token["start"]), max(end, token["end"])
    return spans


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("script", WORDS)
def test_every_script_has_its_words(api: Any, script: str, model: str) -> None:
    text, words = WORDS[script]
    tokens = api("/tokenize", model=model, text=text)["tokens"]
    held = [text[start:end].strip() for start, end in spans_of(tokens).values()]
    if model != "bert":  # [UNK] may stand for words that no space separates
        assert held == words
    assert joined(words, held) == ["".join(word.split()) for word in held]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("script", WORDS)
def test_attention_is_merged_into_the_same_words(api: Any, script: str, model: str) -> None:
    text, _ = WORDS[script]
    spec = {"model": model, "text": text, "layer": [0], "head": [0]}
    tokens = api("/tokenize", model=model, text=text)["tokens"]
    pieces, merged = api("/attention", **spec), api("/attention", **spec, merge="words")
    shown = {t["word"]: t["text"].strip() for t in merged["q_tokens"] if t["word"] is not None}
    spans = spans_of(tokens)
    assert shown == {word: text[start:end].strip() for word, (start, end) in spans.items()}
    attn = np.array(merged["attn"])[0, 0]
    np.testing.assert_allclose(attn.sum(-1), 1, atol=1e-5)
    row = next(i for i, t in enumerate(merged["q_tokens"]) if t["word"] == 0)
    reference = [i for i, token in enumerate(tokens) if token["word"] == 0]
    expected = np.array(pieces["attn"])[0, 0][reference].mean(0)[reference].sum()
    assert attn[row, row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("script", WORDS)
def test_every_word_of_a_script_is_looked_up(api: Any, script: str, model: str) -> None:
    """Composed in the text and decomposed in the request, and the reverse."""
    for text, other in (forms(WORDS[script][0]), forms(WORDS[script][0])[::-1]):
        whole = api("/hidden-states", model=model, text=text)
        numbers = [token["word"] for token in whole["tokens"]]
        for word in dict.fromkeys(WORDS[script][1]):
            request = unicodedata.normalize("NFD" if other == forms(text)[1] else "NFC", word)
            one = api("/hidden-states", model=model, text=text, word=request)
            [number] = {token["word"] for token in one["tokens"]}
            reference = [i for i, n in enumerate(numbers) if n == number]
            expected = np.array(whole["hidden"])[:, reference].mean(1)
            np.testing.assert_allclose(one["hidden"], expected, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("script", WORDS)
def test_a_text_and_its_other_form_are_the_same_words(api: Any, script: str, model: str) -> None:
    composed, decomposed = forms(WORDS[script][0])
    word = WORDS[script][1][0]
    a, b = ({"model": model, "text": text} for text in (composed, decomposed))
    answer = api("/compare", a=a, b=b, word=word)
    names = [words_in(api, spec, answer[run]) for run, spec in (("a", a), ("b", b))]
    assert list(names[0].values()) == list(names[1].values())
    pairs = [(names[0][i], names[1][j]) for i, j in answer["alignment"] if i in names[0]]
    assert pairs == [(name, name) for name in names[0].values()]
    assert names[0][answer["a"]["word"]] == names[1][answer["b"]["word"]]


def words_in(api: Any, spec: dict[str, Any], run: dict[str, Any]) -> dict[int, str]:
    """Those of a run's query words that are words of the text, composed."""
    numbers = [token["word"] for token in api("/tokenize", **spec)["tokens"]]
    return {
        i: unicodedata.normalize("NFC", word["text"])
        for i, word in enumerate(run["q_words"])
        if numbers[word["tokens"][0]] is not None
    }


def test_tokenizers_number_a_texts_words_alike(api: Any) -> None:
    numbers = []
    for model in MODELS:
        tokens = api("/tokenize", model=model, text=HINDI)["tokens"]
        spans = spans_of(tokens).items()
        numbers.append([(n, HINDI[start:end].strip()) for n, (start, end) in spans])
    assert numbers[0] == numbers[1] == numbers[2] == list(enumerate(WORDS["Hindi"][1]))


def test_words_of_a_pair_are_numbered_by_text(api: Any) -> None:
    """The numbers that Fill in takes for each text are those that the tokens of a pair have."""
    pair = {"text": "I don't know.", "text_pair": "He isn't there."}
    for model in ("bert", "pair"):
        tokens = api("/tokenize", model=model, **pair)["tokens"]
        names = {(t["segment"], t["word"]) for t in tokens if t["word"] is not None}
        assert names == {(segment, n) for segment in (0, 1) for n in range(4)}
        filled = api("/fill-mask", model=model, **pair, words=[1], words_pair=[1])
        assert filled["masked"] == "I [MASK] know."
        assert filled["masked_pair"] == "He [MASK] there."


@pytest.mark.parametrize("model", MODELS)
def test_a_word_that_is_not_there_is_told_the_words(api: Any, model: str) -> None:
    with pytest.raises(AssertionError, match="हिन्दी") as refused:
        api("/hidden-states", model=model, text=HINDI, word="हिन्दी")
    assert "अपने, पोस्ट, ऑफिस" in str(refused.value)
