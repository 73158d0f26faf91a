"""Tokenizers: the spelling, readable text and character span of each token; and decoding."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise, repeat
from pathlib import Path
from typing import Protocol

import tokenizers as hf
from attention_atlas.model.languages import NO_LANGUAGES, Direction, Frame, Languages
from attention_atlas.model.record import Token
from attention_atlas.model.words import numbered
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCAB_SIZE = 8192
JOINERS = "\u200c\u200d"
# The examples of the pages: each of their words becomes one token, even if rare in the corpus.
WHOLE = (
    "He sat on the river bank and watched the water. She opened an account at the bank to save "
    "money. The children went to the river. They played in the water all day. Bob cashed a check "
    "at the bank. This is a new test. I like NLP. The bank is closed."
)
WHOLE_SPANISH = "El banco está cerrado. Me senté en el banco del parque."


class AnyTokenizer(Protocol):
    """The interface of a tokenizer, ours or one of transformers."""

    special_ids: set[int]
    unknown_id: int | None
    begin_id: int | None  # the first token of a text, or of a translator's target
    end_id: int | None
    end_ids: frozenset[int]  # a text may end with any of these
    pad_id: int | None
    mask_id: int | None
    languages: Languages  # that can be selected; none if the tokenizer does not distinguish any

    @property
    def separates(self) -> bool: ...
    @property
    def token_type(self) -> int | None: ...
    @property
    def vocab_size(self) -> int: ...
    def id(self, raw: str) -> int: ...
    def raw(self, i: int) -> str: ...
    def ids(self, text: str) -> list[int]: ...
    def encode(
        self, text: str, pair: str | None = None, direction: Direction | None = None
    ) -> tuple[Token, ...]: ...
    def encode_target(self, text: str, direction: Direction | None = None) -> tuple[Token, ...]: ...
    def frame(self, direction: Direction | None = None) -> Frame | None: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def label(self, ids: Sequence[int]) -> tuple[Token, ...]: ...
    def readable(self, i: int) -> str: ...


class Tokenizer:
    """A trained tokenizer; every method is a pure function of its arguments."""

    def __init__(self, backend: hf.Tokenizer) -> None:
        self.backend = backend
        added = backend.get_added_tokens_decoder()
        self.special_ids = {i for i, token in added.items() if token.special}
        self.byte_level = isinstance(backend.decoder, decoders.ByteLevel)
        self.unknown_id = backend.token_to_id("[UNK]")
        normalized = backend.normalizer.normalize_str("x") if backend.normalizer else "x"
        self.prefix = normalized.removesuffix("x")  # added before every text
        self.begin_id = self._first("<s>", "[CLS]", "<|endoftext|>")
        self.end_id = self._first("</s>", "[SEP]", "<|endoftext|>")
        self.end_ids = frozenset(() if self.end_id is None else (self.end_id,))
        self.has_types = self._first("[SEP]") is not None
        self.languages = NO_LANGUAGES
        self.pad_id = self._first("<pad>", "[PAD]")
        self.mask_id = self._first("[MASK]")

    @property
    def separates(self) -> bool:
        """Whether a token separates the two texts of a pair."""
        return self.has_types

    @property
    def token_type(self) -> int | None:
        """The token type of each token of one text; None if it gives none."""
        return 0 if self.has_types else None

    def _first(self, *spellings: str) -> int | None:
        """The id of the first of these special tokens that the vocabulary has."""
        ids = (self.backend.token_to_id(raw) for raw in spellings)
        return next((i for i in ids if i is not None), None)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        return cls(hf.Tokenizer.from_file(str(path)))

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    def id(self, raw: str) -> int:
        """The id of a token by its vocabulary spelling."""
        i = self.backend.token_to_id(raw)
        if i is None:
            raise KeyError(f"{raw!r} is not in the vocabulary")
        return i

    def raw(self, i: int) -> str:
        """The vocabulary spelling of an id."""
        raw = self.backend.id_to_token(i)
        if raw is None:
            raise KeyError(f"{i} is not in the vocabulary of {self.vocab_size}")
        return raw

    def ids(self, text: str) -> list[int]:
        """The ids of a text without special tokens, for training."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode(
        self, text: str, pair: str | None = None, direction: Direction | None = None
    ) -> tuple[Token, ...]:
        """The tokens of a text, and of BERT's second text, with the model's special tokens."""
        encoding = self.backend.encode(text, pair)
        texts = (text, pair or "")
        rows = zip(
            encoding.ids,
            encoding.tokens,
            encoding.offsets,
            encoding.type_ids,
            encoding.sequence_ids,
            strict=True,
        )
        tokens = [
            self._token(i, raw, span, texts[sequence or 0], segment)
            for i, raw, span, segment, sequence in rows
        ]
        if self.prefix:
            tokens = list(_without_prefix(tokens))
        return numbered(list(with_marks(tokens, texts)), texts)

    def encode_target(self, text: str, direction: Direction | None = None) -> tuple[Token, ...]:
        """The tokens of a translator's target without its end; both sides share a vocabulary."""
        tokens = self.encode(text)
        return tokens[:-1] if tokens and tokens[-1].id == self.end_id else tokens

    def frame(self, direction: Direction | None = None) -> Frame | None:
        """The tokens with which a translation begins and ends."""
        begin, end = self.begin_id, self.end_id
        return None if begin is None or end is None else Frame(begin, None, end)

    def _token(self, i: int, raw: str, span: tuple[int, int], text: str, segment: int) -> Token:
        special = i in self.special_ids and i != self.unknown_id
        start, end = span
        return Token(
            id=i,
            raw=raw,
            text=raw if special else text[start:end],
            start=start,
            end=end,
            special=special,
            unknown=i == self.unknown_id,
            segment=segment,
            token_type=segment if self.has_types else None,
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Byte-level ids without the special ones -> text."""
        pieces = [self._bytes(i) for i in ids if i not in self.special_ids]
        return b"".join(pieces).decode("utf-8", errors="replace").removeprefix(self.prefix)

    def label(self, ids: Sequence[int]) -> tuple[Token, ...]:
        """Byte-level ids, decoded by a model -> tokens, with spans in `decode(ids)`.

        A token that holds part of a character's bytes spans that whole character.
        """
        text = self.decode(ids)
        pieces = [b"" if i in self.special_ids else self._bytes(i) for i in ids]
        sizes = [len(piece) for piece in pieces]
        chars = char_of_byte(b"".join(pieces))
        shift = chars[-1] + 1 - len(text)  # the prefix that `decode` removes
        tokens = []
        for i, end, size in zip(ids, accumulate(sizes), sizes, strict=True):
            begin = end - size
            start = max(0, chars[min(begin, len(chars) - 1)] - shift)
            stop = max(start, chars[min(end - 1, len(chars) - 1)] + 1 - shift) if size else start
            tokens.append(self._token(i, self.raw(i), (start, stop), text, 0))
        return numbered(tokens, [text])

    def readable(self, i: int) -> str:
        """One id as a person reads it: " the", "ing"; half a character as its bytes, "\\xe9"."""
        raw = self.raw(i)
        if i in self.special_ids:
            return raw
        if self.byte_level:
            return self._bytes(i).decode("utf-8", errors="backslashreplace")
        return raw.removeprefix("##")

    def _bytes(self, i: int) -> bytes:
        return bytes(BYTE_OF_CHAR[char] for char in self.raw(i))


def _without_prefix(tokens: list[Token]) -> Iterator[Token]:
    """The added space before the first word has no text if it is a token of its own."""
    for token, after in pairwise([*tokens, None]):
        assert token is not None
        alone = token.raw == "Ġ" and after is not None and after.start == token.start
        yield token._replace(text="", end=token.start) if alone else token


def with_marks(tokens: Sequence[Token], texts: Sequence[str]) -> Iterator[Token]:
    """Extend spans by combining marks and joiners that the normalizer removed from a letter."""
    starts = {(token.segment, token.start) for token in tokens}
    for token in tokens:
        text, end = texts[min(token.segment, len(texts) - 1)], token.end
        while token.start < end < len(text) and is_mark(text[end]):
            if (token.segment, end) in starts:
                break
            end += 1
        spanned = not token.special and end > token.end
        yield token._replace(text=text[token.start : end], end=end) if spanned else token


def is_mark(char: str) -> bool:
    """Whether a character changes the one before it: an accent, a vowel sign, a joiner."""
    return unicodedata.category(char).startswith("M") or char in JOINERS


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte, inverted."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in kept]
    return {chr(b): b for b in kept} | {chr(256 + n): b for n, b in enumerate(rest)}


BYTE_OF_CHAR = _byte_alphabet()


def char_of_byte(data: bytes) -> list[int]:
    """For each byte, the index of its character; bytes that make none become U+FFFD."""
    ends = range(1, len(data) + 1)
    return [len(data[:end].decode("utf-8", errors="replace")) - 1 for end in ends] or [0]


def train_wordpiece(
    texts: Iterable[str], vocab_size: int = VOCAB_SIZE, *, whole: str = WHOLE
) -> hf.Tokenizer:
    """BERT's tokenizer: lower-cased, accents removed, words divided into ##pieces."""
    backend = hf.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=specials, limit_alphabet=400, show_progress=False
    )
    backend.train_from_iterator(chain(texts, _often(whole)), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, specials.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return backend


def train_gpt_bpe(
    texts: Iterable[str], vocab_size: int = VOCAB_SIZE, *, whole: str = WHOLE
) -> hf.Tokenizer:
    """GPT-2's tokenizer: byte-level BPE, so that decoding returns any text byte for byte.

    A space is added before a text, so that its first word has the same token as elsewhere.
    """
    both = chain(texts, _often(whole))
    return _train_bpe(both, vocab_size, ["<|endoftext|>"], "<|endoftext|> $A", nfc=False)


def train_translator_bpe(
    texts: Iterable[str], vocab_size: int = VOCAB_SIZE, *, whole: str = f"{WHOLE} {WHOLE_SPANISH}"
) -> hf.Tokenizer:
    """One byte-level BPE for both languages; a space is added before a sentence."""
    both = chain(texts, _often(whole))
    return _train_bpe(both, vocab_size, ["<pad>", "<s>", "</s>"], "$A </s>", nfc=True)


def _often(text: str) -> Iterator[str]:
    """A text repeated so often that each of its words becomes one token."""
    return repeat(text, 2000)


def _train_bpe(
    texts: Iterable[str], vocab_size: int, specials: list[str], template: str, *, nfc: bool
) -> hf.Tokenizer:
    backend = hf.Tokenizer(models.BPE())
    begun = [*([normalizers.NFC()] if nfc else []), normalizers.Prepend(" ")]
    backend.normalizer = normalizers.Sequence(begun)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    framing = [(name, i) for i, name in enumerate(specials) if name in template]
    backend.post_processor = processors.TemplateProcessing(
        single=template, pair=None, special_tokens=framing
    )
    return backend
