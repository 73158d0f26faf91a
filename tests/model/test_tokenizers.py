"""Every token says which characters it stands for."""

from __future__ import annotations

import re

import pytest
from attention_atlas.model import zoo
from attention_atlas.model.record import Token
from attention_atlas.model.tokenizers import (
    WHOLE,
    WHOLE_SPANISH,
    Tokenizer,
    train_gpt_bpe,
    train_translator_bpe,
    train_wordpiece,
)

LINES = [
    "The river bank was muddy. The bank, the bank!",
    "She went to the financial bank, and the bank was closed.",
    "el banco del río está cerrado",
    "你好 世界",
    "unbelievable running quickly don't",
] * 3
TEXTS = [
    "The bank",
    "the bank, don't run",
    "  two spaces before, two after  ",
    "a\nb\n\nc\t\td",
    "🙂 ok 👩‍👩‍👧",
    "naïve café",
    "a e\u0301 in two parts",
    "世界你好",
    "مرحبا بالعالم",
    "xyz Ω bank",
    "ﬁne İstanbul",
    "\u200bhi\u00a0there",
    "nul \x00 in it",
]
SPECIAL_TEXTS = ["[MASK] it", "a[SEP]b", "<s> a </s>", "a<|endoftext|>b", "[UNK] x"]


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return Tokenizer(train_wordpiece(LINES, 123, whole=""))


@pytest.fixture(scope="module")
def gpt_bpe() -> Tokenizer:
    return Tokenizer(train_gpt_bpe(LINES, 300, whole=""))


@pytest.fixture(scope="module")
def translator_bpe() -> Tokenizer:
    return Tokenizer(train_translator_bpe(LINES, 300, whole=""))


@pytest.fixture(params=["wordpiece", "gpt_bpe", "translator_bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def texts(tokens: tuple[Token, ...]) -> list[str]:
    return [token.text for token in tokens]


def framing(token: Token) -> bool:
    return token.special and token.start == token.end


@pytest.mark.parametrize("text", [*TEXTS, *SPECIAL_TEXTS])
def test_a_span_is_the_text(tokenizer: Tokenizer, text: str) -> None:
    tokens = [token for token in tokenizer.encode(text) if not framing(token)]
    assert [text[token.start : token.end] for token in tokens] == [token.text for token in tokens]


@pytest.mark.parametrize("text", ["The bank", "🙂 ok", "世界你好", "naïve café", "a\nb"])
def test_the_spans_leave_out_only_space(tokenizer: Tokenizer, text: str) -> None:
    covered = {i for token in tokenizer.encode(text) for i in range(token.start, token.end)}
    assert "".join(c for i, c in enumerate(text) if i not in covered).strip() == ""


@pytest.mark.parametrize("text", [*TEXTS, "", " ", "   ", "\n"])
def test_gpt_gives_any_text_back(gpt_bpe: Tokenizer, text: str) -> None:
    assert gpt_bpe.decode([token.id for token in gpt_bpe.encode(text)]) == text
    assert gpt_bpe.decode(gpt_bpe.ids(text)) == text


@pytest.mark.parametrize("text", ["The bank", "the bank, don't", "🙂 ok", "世界", "naïve café"])
def test_the_translator_gives_a_sentence_back(translator_bpe: Tokenizer, text: str) -> None:
    assert translator_bpe.decode(translator_bpe.ids(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_gpt_labels_what_it_made_as_it_reads_it(gpt_bpe: Tokenizer, text: str) -> None:
    tokens = gpt_bpe.encode(text)
    assert gpt_bpe.label([token.id for token in tokens]) == tokens


@pytest.mark.parametrize("text", ["the bank", "The bank", "🙂 ok", "世界 you", "naïve café, don't"])
def test_the_translator_labels_what_it_made_as_it_reads_it(
    translator_bpe: Tokenizer, text: str
) -> None:
    tokens = translator_bpe.encode(text)[:-1]
    assert translator_bpe.label([token.id for token in tokens]) == tokens


def test_a_sentence_may_begin_in_the_middle_of_a_word(translator_bpe: Tokenizer) -> None:
    ids = [translator_bpe.id("The"), *translator_bpe.ids("bank")]
    assert texts(translator_bpe.label(ids)) == ["The", " bank"]


def test_a_made_half_character_keeps_the_rest_in_place(gpt_bpe: Tokenizer) -> None:
    ids = [gpt_bpe.id("ð"), *gpt_bpe.ids("bank was")]
    assert gpt_bpe.decode(ids) == "\ufffd bank was"
    assert texts(gpt_bpe.label(ids)) == ["\ufffd", " bank", " was"]


def test_nothing_made_has_no_labels(translator_bpe: Tokenizer) -> None:
    assert translator_bpe.label([]) == ()
    assert translator_bpe.decode([]) == ""


def test_the_bytes_of_an_emoji_all_stand_for_it(gpt_bpe: Tokenizer) -> None:
    start, before, *pieces, space = gpt_bpe.encode("🙂 ")
    assert (before.raw, before.text, before.end) == ("Ġ", "", 0)
    assert [piece.raw for piece in pieces] == ["ð", "Ł", "Ļ", "Ĥ"]
    assert {(piece.text, piece.start, piece.end, piece.word) for piece in pieces} == {
        ("🙂", 0, 1, 0)
    }
    assert (start.text, space.text) == ("<|endoftext|>", " ")


def test_the_space_put_before_a_sentence_stands_for_nothing(translator_bpe: Tokenizer) -> None:
    space, first, *_ = translator_bpe.encode("x")
    assert (space.raw, space.text, space.start, space.end, space.word) == ("Ġ", "", 0, 0, None)
    assert (first.text, first.start, first.end) == ("x", 0, 1)


def test_wordpiece_lowers_the_spelling_not_the_text(wordpiece: Tokenizer) -> None:
    cls, the, bank, sep = (t._replace(token_type=None) for t in wordpiece.encode("The Bank"))
    assert the == Token(wordpiece.id("the"), "the", "The", 0, 3, word=0)
    assert bank == Token(wordpiece.id("bank"), "bank", "Bank", 4, 8, word=1)
    assert cls == Token(wordpiece.id("[CLS]"), "[CLS]", "[CLS]", special=True)
    assert sep == Token(wordpiece.id("[SEP]"), "[SEP]", "[SEP]", special=True)


def test_pieces_of_a_word_share_its_number(wordpiece: Tokenizer) -> None:
    tokens = wordpiece.encode("Runé banks")[1:-1]
    assert [(token.raw, token.text, token.word) for token in tokens] == [
        ("ru", "Ru", 0),
        ("##n", "n", 0),
        ("##e", "é", 0),
        ("bank", "bank", 1),
        ("##s", "s", 1),
    ]


def test_an_unknown_word_shows_what_it_stands_for(wordpiece: Tokenizer) -> None:
    tokens = wordpiece.encode("bank Ωξ 🙂")[1:-1]
    assert [(token.raw, token.text, token.unknown, token.special) for token in tokens] == [
        ("bank", "bank", False, False),
        ("[UNK]", "Ωξ", True, False),
        ("[UNK]", "🙂", True, False),
    ]


def test_chinese_words_are_those_of_a_dictionary(wordpiece: Tokenizer) -> None:
    tokens = wordpiece.encode("世界你好")[1:-1]
    assert [(token.text, token.word) for token in tokens] == [
        ("世", 0),
        ("界", 0),
        ("你", 1),
        ("好", 1),
    ]


def test_marks_are_of_the_word_they_stand_in(wordpiece: Tokenizer, gpt_bpe: Tokenizer) -> None:
    for tokenizer in (wordpiece, gpt_bpe):
        held: dict[int | None, set[int]] = {}
        for token in tokenizer.encode("हिन्दी में"):
            held.setdefault(token.word, set()).update(range(token.start, token.end))
        assert (held[0], held[1] - {6}) == ({0, 1, 2, 3, 4, 5}, {7, 8, 9})


def test_a_second_sentence_has_its_own_text_and_segment(wordpiece: Tokenizer) -> None:
    tokens = wordpiece.encode("the bank", "was closed")
    rows = [(token.text, token.start, token.segment) for token in tokens]
    assert rows[:4] == [("[CLS]", 0, 0), ("the", 0, 0), ("bank", 4, 0), ("[SEP]", 0, 0)]
    assert rows[4] == ("was", 0, 1)
    assert rows[-1] == ("[SEP]", 0, 1)
    assert {segment for _, _, segment in rows[4:]} == {1}


@pytest.mark.parametrize(
    ("name", "text", "typed"),
    [
        ("wordpiece", "the [MASK] bank", "[MASK]"),
        ("gpt_bpe", "the<|endoftext|> bank", "<|endoftext|>"),
        ("translator_bpe", "the </s> bank", "</s>"),
    ],
)
def test_a_typed_special_token_is_special_and_has_its_place(
    name: str, text: str, typed: str, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(name)
    [token] = [t for t in tokenizer.encode(text) if t.special and not framing(t)]
    start = text.index(typed)
    expected = Token(tokenizer.id(typed), typed, typed, start, start + len(typed), special=True)
    assert token._replace(token_type=None) == expected


def test_framing(wordpiece: Tokenizer, gpt_bpe: Tokenizer, translator_bpe: Tokenizer) -> None:
    assert [t.raw for t in wordpiece.encode("bank") if t.special] == ["[CLS]", "[SEP]"]
    assert [t.raw for t in gpt_bpe.encode("bank")] == ["<|endoftext|>", "Ġbank"]
    assert [t.raw for t in gpt_bpe.encode(" bank")] == ["<|endoftext|>", "Ġ", "Ġbank"]
    assert [t.raw for t in translator_bpe.encode("bank")] == ["Ġbank", "</s>"]


def test_ids_have_no_framing(tokenizer: Tokenizer) -> None:
    ids = tokenizer.ids("the bank")
    assert ids == [token.id for token in tokenizer.encode("the bank") if not token.special]


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("wordpiece", "##a", "a"),
        ("wordpiece", "[MASK]", "[MASK]"),
        ("gpt_bpe", "Ġbank", " bank"),
        ("gpt_bpe", "<|endoftext|>", "<|endoftext|>"),
        ("gpt_bpe", "Ċ", "\n"),
        ("gpt_bpe", "ð", "\\xf0"),
    ],
)
def test_one_token_as_a_person_reads_it(
    name: str, raw: str, expected: str, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(name)
    assert tokenizer.readable(tokenizer.id(raw)) == expected


def test_a_spelling_that_is_not_there(wordpiece: Tokenizer) -> None:
    with pytest.raises(KeyError, match="'qqq' is not in the vocabulary"):
        wordpiece.id("qqq")


def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path) -> None:
    tokenizer.backend.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert loaded.vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize(("train", "size"), [(train_gpt_bpe, 280), (train_translator_bpe, 290)])
def test_a_vocabulary_is_as_large_as_asked(train, size: int) -> None:
    assert Tokenizer(train(LINES, size)).vocab_size == size


@pytest.mark.parametrize("train", [train_wordpiece, train_translator_bpe])
def test_a_mark_that_the_vocabulary_drops_stays_with_its_letter(train) -> None:
    tokenizer = Tokenizer(train(LINES, 300))
    text = "e\u0301 n\u0303 a"
    tokens = [token for token in tokenizer.encode(text) if not token.special]
    covered = {i for token in tokens for i in range(token.start, token.end)}
    assert {0, 1, 3, 4, 6} <= covered
    assert all(text[token.start : token.end] == token.text for token in tokens)


@pytest.mark.parametrize("train", [train_wordpiece, train_gpt_bpe, train_translator_bpe])
def test_the_words_of_the_examples_are_whole(train) -> None:
    tokenizer = Tokenizer(train(LINES, 600))
    both = train is train_translator_bpe
    words = re.findall(r"\w+", f"{WHOLE} {WHOLE_SPANISH}" if both else WHOLE)
    assert {word for word in words if len(tokenizer.ids(word)) > 1} == set()


@pytest.mark.parametrize("name", zoo.names())
def test_the_shipped_vocabularies_know_bank_and_river(name: str) -> None:
    tokenizer = Tokenizer.load(zoo.WEIGHTS / name / "tokenizer.json")
    words = ["bank", "river", "account", "money", "water", "watched", "Bob", "check"]
    if "</s>" in tokenizer.backend.get_vocab():
        words += ["banco", "cerrado", "parque", "está"]
    assert {word for word in words if len(tokenizer.ids(word)) > 1} == set()
