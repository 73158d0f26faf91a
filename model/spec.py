"""What to run: a text, a target, edits; checked against the model before any computation.

Every check raises BadInput, which names the field of the request and the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attention_atlas.model.languages import Direction, Frame
from attention_atlas.model.record import Selection, Token, axes
from attention_atlas.model.tape import Edit, Kind
from attention_atlas.model.words import is_blank
from attention_atlas.model.zoo import Loaded

Sequences = dict[str, tuple[Token, ...]]  # "source", and of a translator "target"


class BadInput(Exception):
    """A request that this model cannot process; `field` is the part of it that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Spec:
    """The input of a run: a text; for some models a second text, a target, languages; edits."""

    text: str
    text_pair: str | None = None
    target: str | None = None  # None: decoded greedily
    target_ids: tuple[int, ...] = ()  # a decoded target; its text may be tokenized differently
    source_lang: str | None = None  # for a tokenizer with languages; None: its default
    target_lang: str | None = None
    edits: tuple[Edit, ...] = ()


def tokenize(
    loaded: Loaded, text: str, text_pair: str | None = None, direction: Direction | None = None
) -> tuple[Token, ...]:
    """The tokens of a text, special tokens included."""
    _check_texts(loaded, text, text_pair)
    tokens = loaded.tokenizer.encode(text, text_pair, direction)
    if all(token.special and token.start == token.end for token in tokens):
        raise BadInput("text", "the text has no tokens: only spaces or invisible characters")
    check_length(loaded, "text", len(tokens))
    unknown = next((t for t in tokens if t.id >= loaded.config.vocab_size), None)
    if unknown is not None:
        raise BadInput("text", f"{loaded.name} has no vector for its token {unknown.raw}")
    return tokens


def _check_texts(loaded: Loaded, text: str, text_pair: str | None) -> None:
    """Something to read in each text; to a decoder that goes on, spaces are something."""
    if not text:
        raise BadInput("text", "the text is empty; type at least one word")
    if text_pair is not None and not loaded.takes_pair:
        raise BadInput("text_pair", f"{loaded.name} takes one text, not a pair")
    if "translate" in loaded.tasks and is_blank(text):
        raise BadInput("text", "the text has no words: only spaces or invisible characters")
    if text_pair is not None and is_blank(text_pair):
        message = "the second text has no words; type at least one, or leave it out"
        raise BadInput("text_pair", message)


def check(loaded: Loaded, spec: Spec, selection: Selection) -> None:
    """The input and the selection of a run."""
    check_spec(loaded, spec)
    check_selection(loaded, selection)


def check_selection(loaded: Loaded, selection: Selection) -> None:
    """The selected kind, layers, heads and quantity exist."""
    check_heads(loaded, selection.kind, selection.layers or (), selection.heads or ())
    check_has(loaded, selection.quantity, "quantity")


def check_has(loaded: Loaded, what: str, field: str) -> None:
    """The quantity, edits or predictions are available for the model."""
    if what in loaded.lacks:
        raise BadInput(field, f"{loaded.name} has no {what} to show: {loaded.why}")


def check_spec(loaded: Loaded, spec: Spec) -> None:
    """Languages, target and edits apply to the model."""
    direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    has_target = spec.target is not None or bool(spec.target_ids)
    if has_target and "translate" not in loaded.tasks:
        raise BadInput("target", f"{loaded.name} has no target; that is for the encoder-decoder")
    if spec.edits:
        check_has(loaded, "edits", "edits")
    for edit in spec.edits:
        if edit.op == "positions":
            check_position_vectors(loaded, "edits")
        decodes = "translate" in loaded.tasks and not has_target
        grows = "decoder" in loaded.kinds and edit.kind in (None, "decoder")
        if edit.op == "set" and grows and decodes:
            message = "set on decoder attention needs a target: while decoding, the row grows"
            raise BadInput("edits", message)
        layers = () if edit.layer is None else (edit.layer,)
        heads = () if edit.head is None else (edit.head,)
        check_heads(loaded, edit.kind, layers, heads, field="edits")


def check_heads(
    loaded: Loaded,
    kind: Kind | None,
    layers: Sequence[int],
    heads: Sequence[int],
    *,
    field: str = "",
) -> None:
    """The kind, layers and heads exist. `field`: the name to report, by default of each its own."""
    if kind is not None and kind not in loaded.kinds:
        kinds = ", ".join(loaded.kinds)
        raise BadInput(field or "kind", f"{loaded.name} has {kinds} attention, not {kind}")
    n_layer, n_head = loaded.shape(kind)
    _in_range(loaded, field or "layer", "layer", layers, n_layer)
    _in_range(loaded, field or "head", "head", heads, n_head)


def check_position_vectors(loaded: Loaded, field: str) -> None:
    """The model adds position vectors to its input."""
    if loaded.model.position_vectors() is not None:
        return
    if not loaded.has_self_attention:
        raise BadInput(field, f"{loaded.name} has no position encoding: it reads word by word")
    reason = f"its positions are {loaded.model.positions}, inside attention"
    raise BadInput(field, f"{loaded.name} adds no position vectors to its input: {reason}")


def check_tokens(loaded: Loaded, edit: Edit, sequences: Sequences) -> None:
    """The edit's query and key are tokens, for some kind of attention that it applies to."""
    kinds = [kind for kind in loaded.kinds if edit.kind in (None, kind)]
    for axis, index in enumerate((edit.query, edit.key)):
        n = max(len(sequences[axes(kind, sequences)[axis]]) for kind in kinds)
        if index is not None and index >= n:
            name = ("query", "key")[axis]
            message = f"{name} {index} does not exist: the text has {n} {name} tokens"
            raise BadInput("edits", message)


def _in_range(loaded: Loaded, field: str, name: str, indices: Sequence[int], n: int) -> None:
    for index in indices:
        if not 0 <= index < n:
            message = f"{name} {index} does not exist: {loaded.name} has {name}s 0 to {n - 1}"
            raise BadInput(field, message)


def check_length(loaded: Loaded, field: str, n: int) -> None:
    """At most n_ctx tokens."""
    n_ctx = loaded.config.n_ctx
    if n > n_ctx:
        message = f"{n} tokens is too long: {loaded.name} takes {n_ctx}"
        raise BadInput(field, f"{message}. Remove {n - n_ctx} or more.")


def frame(loaded: Loaded, direction: Direction | None = None) -> Frame:
    """The tokens with which a translation into a language begins and ends."""
    known = loaded.tokenizer.frame(direction)
    assert known is not None  # every translator that is opened has one
    return known


def beginning(loaded: Loaded, framed: Frame) -> Token:
    """The token with which the decoder's input begins."""
    raw = loaded.tokenizer.raw(framed.begin)
    return Token(framed.begin, raw, raw, special=True)


def direction_of(
    loaded: Loaded, text: str, source_lang: str | None, target_lang: str | None
) -> Direction:
    """The selected languages; for one that is None, the tokenizer's default."""
    languages = loaded.tokenizer.languages
    for field, code, codes in (
        ("source_lang", source_lang, languages.source),
        ("target_lang", target_lang, languages.target),
    ):
        if code is not None and not codes:
            raise BadInput(field, f"{loaded.name} has no {field.replace('_lang', '')} languages")
        if code is not None and code not in codes:
            message = f"{loaded.name} has no language {code[:40]}; it has {', '.join(codes)}"
            raise BadInput(field, message)
    marked = languages.mark(text)
    if marked is not None and target_lang not in (None, marked):
        message = f"the text itself begins with {languages.tokens[marked]}; remove one of the two"
        raise BadInput("target_lang", message)
    return languages.direction(source_lang, marked or target_lang)


def check_ids(loaded: Loaded, ids: Sequence[int], field: str) -> None:
    """The ids are in the model's vocabulary."""
    n = loaded.config.vocab_size
    for i in ids:
        if not 0 <= i < n:
            message = f"token {i} does not exist: {loaded.name} has tokens 0 to {n - 1}"
            raise BadInput(field, message)
