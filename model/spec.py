"""What to run: a text, a target, edits; checked against the model before any computation.

Every check raises BadInput, which names the field of the request and the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attention_atlas.model.languages import Direction, Frame
from attention_atlas.model.messages import Message
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
        raise BadInput(
            "text",
            Message("no-tokens", "the text has no tokens: only spaces or invisible characters"),
        )
    check_length(loaded, "text", len(tokens))
    unknown = next((t for t in tokens if t.id >= loaded.config.vocab_size), None)
    if unknown is not None:
        raise BadInput(
            "text",
            Message(
                "no-vector",
                "{model} has no vector for its token {raw}",
                model=loaded.name,
                raw=unknown.raw,
            ),
        )
    return tokens


def _check_texts(loaded: Loaded, text: str, text_pair: str | None) -> None:
    """Something to read in each text; to a decoder that goes on, spaces are something."""
    if not text:
        raise BadInput("text", Message("empty", "the text is empty; type at least one word"))
    if text_pair is not None and not loaded.takes_pair:
        raise BadInput(
            "text_pair",
            Message("not-a-pair", "{model} takes one text, not a pair", model=loaded.name),
        )
    if "translate" in loaded.tasks and is_blank(text):
        raise BadInput(
            "text",
            Message("no-words", "the text has no words: only spaces or invisible characters"),
        )
    if text_pair is not None and is_blank(text_pair):
        message = Message(
            "no-words", "the second text has no words; type at least one, or leave it out"
        )
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
        raise BadInput(
            field,
            Message(
                "not-available",
                "{model} has no {what} to show: {why}",
                model=loaded.name,
                what=what,
                why=loaded.why,
            ),
        )


def check_spec(loaded: Loaded, spec: Spec) -> None:
    """Languages, target and edits apply to the model."""
    direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    has_target = spec.target is not None or bool(spec.target_ids)
    if has_target and loaded.model.sequences is not None:
        message = Message("recorded-target", "the attention here has its own target, or none")
        raise BadInput("target", message)
    if has_target and "translate" not in loaded.tasks:
        raise BadInput(
            "target",
            Message(
                "no-target",
                "{model} has no target; that is for the encoder-decoder",
                model=loaded.name,
            ),
        )
    if spec.edits:
        check_has(loaded, "edits", "edits")
    for edit in spec.edits:
        if edit.op == "positions":
            check_position_vectors(loaded, "edits")
        decodes = "translate" in loaded.tasks and not has_target
        grows = "decoder" in loaded.kinds and edit.kind in (None, "decoder")
        if edit.op == "set" and grows and decodes:
            message = Message(
                "needs-a-target",
                "set on decoder attention needs a target: while decoding, the row grows",
            )
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
        raise BadInput(
            field or "kind",
            Message(
                "unknown-kind",
                "{model} has {kinds} attention, not {kind}",
                model=loaded.name,
                kinds=kinds,
                kind=kind,
            ),
        )
    n_layer, n_head = loaded.shape(kind)
    _in_range(loaded, field or "layer", "layer", layers, n_layer)
    _in_range(loaded, field or "head", "head", heads, n_head)


def check_position_vectors(loaded: Loaded, field: str) -> None:
    """The model adds position vectors to its input."""
    if loaded.model.position_vectors() is not None:
        return
    if not loaded.has_self_attention:
        raise BadInput(
            field,
            Message(
                "no-positions",
                "{model} has no position encoding: it reads word by word",
                model=loaded.name,
            ),
        )
    raise BadInput(
        field,
        Message(
            "no-position-vectors",
            "{model} adds no position vectors to its input: its positions ({positions}) act "
            "inside attention",
            model=loaded.name,
            positions=loaded.model.positions,
        ),
    )


def check_tokens(loaded: Loaded, edit: Edit, sequences: Sequences, field: str = "edits") -> None:
    """The edit's query and key are tokens, for some kind of attention that it applies to."""
    kinds = [kind for kind in loaded.kinds if edit.kind in (None, kind)]
    for axis, index in enumerate((edit.query, edit.key)):
        n = max(len(sequences[axes(kind, sequences)[axis]]) for kind in kinds)
        if index is not None and index >= n:
            name = ("query", "key")[axis]
            message = Message(
                "token-out-of-range",
                "{name} {index} does not exist: the text has {n} {name} tokens",
                name=name,
                index=index,
                n=n,
            )
            raise BadInput(field, message)


def _in_range(loaded: Loaded, field: str, name: str, indices: Sequence[int], n: int) -> None:
    for index in indices:
        if not 0 <= index < n:
            message = Message(
                "out-of-range",
                "{name} {index} does not exist: {model} has {name}s 0 to {limit}",
                name=name,
                index=index,
                model=loaded.name,
                limit=n - 1,
            )
            raise BadInput(field, message)


def check_length(loaded: Loaded, field: str, n: int) -> None:
    """At most n_ctx tokens."""
    n_ctx = loaded.config.n_ctx
    if n > n_ctx:
        raise BadInput(
            field,
            Message(
                "too-many-tokens",
                "{value} tokens is too long: {model} takes {limit}. Remove {excess} or more.",
                value=n,
                model=loaded.name,
                limit=n_ctx,
                excess=n - n_ctx,
            ),
        )


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
            raise BadInput(
                field,
                Message(
                    "no-languages",
                    "{model} has no {value} languages",
                    model=loaded.name,
                    value=field.replace("_lang", ""),
                ),
            )
        if code is not None and code not in codes:
            message = Message(
                "unknown-language",
                "{model} has no language {code}; it has {names}",
                model=loaded.name,
                code=code[:40],
                names=", ".join(codes),
            )
            raise BadInput(field, message)
    marked = languages.mark(text)
    if marked is not None and target_lang not in (None, marked):
        message = Message(
            "begins-twice",
            "the text itself begins with {tokens}; remove one of the two",
            tokens=languages.tokens[marked],
        )
        raise BadInput("target_lang", message)
    return languages.direction(source_lang, marked or target_lang)


def check_ids(loaded: Loaded, ids: Sequence[int], field: str) -> None:
    """The ids are in the model's vocabulary."""
    n = loaded.config.vocab_size
    for i in ids:
        if not 0 <= i < n:
            message = Message(
                "token-out-of-range",
                "token {value} does not exist: {model} has tokens 0 to {limit}",
                value=i,
                model=loaded.name,
                limit=n - 1,
            )
            raise BadInput(field, message)
