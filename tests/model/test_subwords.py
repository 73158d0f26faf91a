"""Tokens of Hugging Face tokenizers: spans, words, and text as a person reads it."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sentencepiece as spm
import tokenizers
import transformers as hf
from attention_atlas.model.hub.subwords import HubTokenizer
from attention_atlas.model.languages import Direction
from attention_atlas.model.words import words_of
from attention_atlas.model.zoo import WEIGHTS
from tokenizers import decoders, models, normalizers, processors

from tests.published import marian
from tests.scripts import WORDS

TEXTS = ("Don't stop it.", "你好，世界", "مرحبا بالعالم", "a 😀👍🏽 b", "naïve café")


def of(name: str, **specials: str) -> HubTokenizer:
    file = str(WEIGHTS / name / "tokenizer.json")
    return HubTokenizer(hf.PreTrainedTokenizerFast(tokenizer_file=file, **specials))


@pytest.fixture(scope="module")
def wordpiece() -> HubTokenizer:
    return of("bert", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")


@pytest.fixture(scope="module")
def bytes_() -> HubTokenizer:
    return of("gpt", bos_token="<|endoftext|>", eos_token="<|endoftext|>")


@pytest.fixture(scope="module")
def sentencepiece() -> HubTokenizer:
    """As Llama's: ▁ for a space, bytes for what the vocabulary lacks, no words of its own."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁"]
    pieces += ["▁the", "▁bank", "▁r", "i", "v", "er"]
    vocab = [(piece, -float(i)) for i, piece in enumerate(pieces)]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, 0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return HubTokenizer(hf.PreTrainedTokenizerFast(tokenizer_object=backend, **specials))


class Slow(hf.PythonBackend):  # type: ignore[misc]
    """A tokenizer in Python alone, which says no spans: pieces of three letters, lower-cased."""

    def __init__(self, extra: str = "", **options: Any) -> None:
        self.extra = extra
        self.pieces = ["<unk>", "</s>", "the", "riv", "er", "ban", "k", "zzz"]
        super().__init__(unk_token="<unk>", eos_token="</s>", **options)

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def get_vocab(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        words = text.lower().split()
        values = [word[i : i + 3] for word in words for i in range(0, len(word), 3)]
        return [self.extra, *values] if self.extra else values

    def _convert_token_to_id(self, token: str) -> int:
        return self.pieces.index(token) if token in self.pieces else 0

    def _convert_id_to_token(self, index: int) -> str:
        return self.pieces[index]

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return [*token_ids_0, *(token_ids_1 or []), 1]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["wordpiece", "bytes_", "sentencepiece"])
def test_a_tokens_text_is_what_its_span_holds(kind: str, text: str, request) -> None:
    tokenizer = request.getfixturevalue(kind)
    tokens = tokenizer.encode(text)
    assert [t.id for t in tokens] == tokenizer.backend(text).input_ids
    for token in tokens:
        if not token.special:
            assert token.text == text[token.start : token.end]
    covered = {i for t in tokens for i in range(t.start, t.end)}
    assert {i for i, char in enumerate(text) if not char.isspace()} <= covered


def test_words_are_told_by_the_text(bytes_: HubTokenizer, wordpiece: HubTokenizer) -> None:
    text = "Don't stop, unbelievables"
    for tokenizer in (bytes_, wordpiece):
        held: dict[int | None, str] = {}
        for token in tokenizer.encode(text):
            if not token.special:
                held[token.word] = held.get(token.word, "") + token.text.strip()
        assert held == {0: "Don't", 1: "stop", 2: ",", 3: "unbelievables"}


def test_chinese_words_are_those_of_a_dictionary(wordpiece: HubTokenizer) -> None:
    assert [t.word for t in wordpiece.encode("你好，世界")] == [None, 0, 0, 1, 2, 2, None]


def test_a_sentence_without_a_pre_tokenizer_is_not_one_word(sentencepiece: HubTokenizer) -> None:
    tokens = sentencepiece.encode("the river bank")
    assert [(t.raw, t.word) for t in tokens] == [
        ("▁the", 0),
        ("▁r", 1),
        ("i", 1),
        ("v", 1),
        ("er", 1),
        ("▁bank", 2),
    ]


def test_each_byte_of_unknown_characters_has_its_character(sentencepiece: HubTokenizer) -> None:
    tokens = sentencepiece.encode("é你 bank")
    assert [(t.raw, t.text, t.start, t.end, t.word) for t in tokens] == [
        ("▁", "", 0, 0, None),
        ("<0xC3>", "é", 0, 1, 0),
        ("<0xA9>", "é", 0, 1, 0),
        ("<0xE4>", "你", 1, 2, 1),
        ("<0xBD>", "你", 1, 2, 1),
        ("<0xA0>", "你", 1, 2, 1),
        ("▁bank", " bank", 2, 7, 2),
    ]


@pytest.mark.parametrize("script", WORDS)
def test_a_tokenizer_of_bytes_has_the_words_of_every_script(script: str) -> None:
    text, words = WORDS[script]
    tokens = HubTokenizer(hf.ByT5Tokenizer()).encode(text, "é")
    texts = [word.text for word in words_of(tokens, (text, "é")) if word.number is not None]
    assert texts == [*words, "é"]
    assert [t.text for t in tokens if t.segment == 1] == ["é", "é", "</s>"]


def test_a_tokenizer_of_bytes_labels_what_a_model_made() -> None:
    tokenizer = HubTokenizer(hf.ByT5Tokenizer())
    made = tokenizer.label(tokenizer.ids("le café noir"))
    assert "".join(token.text for token in made) == "le caféé noir"
    assert [token.word for token in made if token.text == "é"] == [1, 1]
    assert tokenizer.readable(made[6].id) == "\\xc3"


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_the_language_before_a_text_is_not_one_of_its_words(tmp_path: Path) -> None:
    tokenizer = HubTokenizer(marian(tmp_path, ">>fra<<"))
    direction = Direction(None, "fra")
    numbers = [token.word for token in tokenizer.encode("return a", None, direction)]
    assert [n for n in dict.fromkeys(numbers) if n is not None] == [0, 1]


def test_marks_that_a_normalizer_takes_away_stay_in_the_text(wordpiece: HubTokenizer) -> None:
    text = "le cafe\u0301 में"
    tokens = [token for token in wordpiece.encode(text) if not token.special]
    covered = {i for token in tokens for i in range(token.start, token.end)}
    assert {i for i, char in enumerate(text) if not char.isspace()} == covered


def test_pieces_are_readable(
    bytes_: HubTokenizer, wordpiece: HubTokenizer, sentencepiece: HubTokenizer
) -> None:
    assert sentencepiece.readable(sentencepiece.id("▁bank")) == " bank"
    assert sentencepiece.readable(sentencepiece.id("<0xE9>")) == "\\xe9"
    assert sentencepiece.readable(sentencepiece.id("<0x41>")) == "A"
    assert bytes_.readable(bytes_.id("Ġthe")) == " the"
    assert wordpiece.readable(wordpiece.id("##ing")) == "ing"
    assert wordpiece.readable(wordpiece.id("[SEP]")) == "[SEP]"
    e_acute = bytes_.ids("é")
    assert all("Ã" not in bytes_.readable(i) for i in e_acute)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["bytes_", "sentencepiece"])
def test_what_a_model_made_is_labelled_like_what_was_read(kind: str, text: str, request) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids = tokenizer.ids(text)
    labels, made = tokenizer.label(ids), tokenizer.decode(ids)
    assert [t.id for t in labels] == ids
    for token in labels:
        assert token.text == made[token.start : token.end]
    assert {i for t in labels for i in range(t.start, t.end)} == set(range(len(made)))


def test_specials_typed_in_the_text_are_special(wordpiece: HubTokenizer) -> None:
    tokens = wordpiece.encode("the [MASK] bank")
    assert [(t.raw, t.special, t.word) for t in tokens[1:-1]] == [
        ("the", False, 0),
        ("[MASK]", True, None),
        ("bank", False, 2),
    ]
    assert (tokens[2].start, tokens[2].end) == (4, 10)


def test_a_pair_has_two_segments(wordpiece: HubTokenizer) -> None:
    tokens = wordpiece.encode("the river", "the bank")
    assert [t.segment for t in tokens] == [0, 0, 0, 0, 1, 1, 1]
    assert [t.text for t in tokens][4:6] == ["the", "bank"]
    assert [t.word for t in tokens] == [None, 0, 1, None, 0, 1, None]


def test_what_closes_the_second_text_is_of_it(bytes_: HubTokenizer) -> None:
    """RoBERTa gives no token types: which text a token is of is a label, and nothing is fed."""
    pair = "$A <|endoftext|> <|endoftext|> $B:1 <|endoftext|>"
    end = processors.TemplateProcessing(None, pair, special_tokens=[("<|endoftext|>", 0)])
    fast = hf.PreTrainedTokenizerFast(tokenizer_file=str(WEIGHTS / "gpt" / "tokenizer.json"))
    fast.backend_tokenizer.post_processor = end
    tokens = HubTokenizer(fast).encode("river", "bank")
    assert [(t.text.strip(), t.segment) for t in tokens] == [
        ("river", 0),
        ("<|endoftext|>", 0),
        ("<|endoftext|>", 0),
        ("bank", 1),
        ("<|endoftext|>", 1),
    ]
    assert {t.token_type for t in tokens} == {None}


def test_a_slow_tokenizer_is_aligned_with_the_text() -> None:
    tokens = HubTokenizer(Slow()).encode("The River  bank")
    assert [(t.raw, t.text, t.start, t.end, t.word) for t in tokens] == [
        ("the", "The", 0, 3, 0),
        ("riv", "Riv", 4, 7, 1),
        ("er", "er", 7, 9, 1),
        ("ban", "ban", 11, 14, 2),
        ("k", "k", 14, 15, 2),
        ("</s>", "</s>", 15, 15, None),
    ]


def test_an_unknown_piece_is_what_is_between_its_neighbours() -> None:
    tokens = HubTokenizer(Slow()).encode("the xyz bank")
    assert [(t.raw, t.text, t.word, t.unknown) for t in tokens[:4]] == [
        ("the", "the", 0, False),
        ("<unk>", "xyz", 1, True),
        ("ban", "ban", 2, False),
        ("k", "k", 2, False),
    ]
    assert HubTokenizer(Slow()).encode("the end")[1].text == "end", "the last one too"


def test_spaces_alone_are_no_word(bytes_: HubTokenizer) -> None:
    text = "the  river \n"
    tokens = [token for token in bytes_.encode(text) if not token.special]
    spaces = [token for token in tokens if token.text.isspace()]
    assert spaces and all(token.word is None for token in spaces)
    assert {token.word for token in tokens} - {None} == {0, 1}
    assert all(token.text for token in tokens)
    shown = [word.text for word in words_of(tokens, (text, ""))]
    assert shown == ["the", " ", "river", " ", "\n"]


def test_a_piece_that_is_not_in_the_text_has_no_word() -> None:
    """What a tokenizer puts in of itself; what follows is found again."""
    tokens = HubTokenizer(Slow(extra="zzz")).encode("the bank")
    assert [(t.raw, t.start, t.end, t.word) for t in tokens[:4]] == [
        ("zzz", 0, 0, None),
        ("the", 0, 3, 0),
        ("ban", 4, 7, 1),
        ("k", 7, 8, 1),
    ]


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_a_translators_two_sides_are_cut_each_in_its_own_way(tmp_path: Path) -> None:
    """Marian has one vocabulary and two ways to cut; its tokenizer is a slow one."""
    texts = {"source": "El banco está cerrado.", "target": "The bank is closed."}
    pieces: list[str] = ["</s>", "<unk>"]
    for side, text in texts.items():
        trained = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter([text] * 20),
            model_writer=trained,
            vocab_size=30,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (tmp_path / f"{side}.spm").write_bytes(trained.getvalue())
        cut = spm.SentencePieceProcessor(model_proto=trained.getvalue())
        pieces += [cut.id_to_piece(i) for i in range(3, cut.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, "<pad>"]))}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    files = {f"{side}_spm": str(tmp_path / f"{side}.spm") for side in texts}
    slow = hf.MarianTokenizer(**files, vocab=str(tmp_path / "vocab.json"))
    tokenizer = HubTokenizer(slow, begin_id=slow.pad_token_id)
    for tokens, text in (
        (tokenizer.encode(texts["source"]), texts["source"]),
        (tokenizer.encode_target(texts["target"]), texts["target"]),
    ):
        held = {i for t in tokens for i in range(t.start, t.end)}
        assert {i for i, char in enumerate(text) if not char.isspace()} == held
        assert sorted({t.word for t in tokens if t.word is not None}) == list(range(5))
    made = tokenizer.encode_target(texts["target"])
    assert tokenizer.decode([t.id for t in made]) == texts["target"]
    assert [*(t.id for t in made), slow.eos_token_id] == slow(text_target=texts["target"]).input_ids


def test_special_ids_have_names(wordpiece: HubTokenizer, bytes_: HubTokenizer) -> None:
    raw = wordpiece.raw
    named = [raw(i) for i in (wordpiece.begin_id, wordpiece.end_id, wordpiece.mask_id) if i]
    assert named == ["[CLS]", "[SEP]", "[MASK]"]
    assert bytes_.begin_id == bytes_.end_id == bytes_.id("<|endoftext|>")
    assert (bytes_.mask_id, bytes_.pad_id) == (None, None)


def test_a_saved_tokenizer_is_used_by_several_threads_at_once(bytes_: HubTokenizer) -> None:
    """transformers' own call sets truncation on the shared backend, and fails then."""
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: bytes_.encode("the river bank")[1].raw, range(200)))
    assert set(values) == {"Ġthe"}
