"""What `generate` of transformers returned, as a text that the model reads again, or as the
attention that was recorded with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from attention_atlas.model import recorded
from attention_atlas.model.arrays import BadRecord
from attention_atlas.model.messages import Message
from attention_atlas.model.run import sequences_of
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.zoo import Loaded


class Generated(NamedTuple):
    """A generation as a run: a text, and a translator's target; or what has its attention."""

    text: str
    target: str | None = None
    record: Loaded | None = None


def is_generation(value: Any) -> bool:
    """Whether it is an output of `generate`, or the ids in it."""
    ids = getattr(value, "sequences", value)
    return hasattr(ids, "tolist") and not getattr(ids, "is_floating_point", bool)()


def continuation(loaded: Loaded, tokenizer: Any, out: Any) -> Generated:
    """A decoder's prompt and what follows it. Raises BadRecord."""
    ids = ids_of(out)
    for text in _texts(tokenizer, ids):
        if _ids_read(loaded, Spec(text), "source") == ids:
            return Generated(text)
    record = recorded_of(out, tokenizer, ids)
    return Generated(recorded.text_of(record), record=record)


def translation(loaded: Loaded, tokenizer: Any, text: str, out: Any) -> Generated:
    """What a translator wrote about a text. Raises BadRecord."""
    ids = ids_of(out)
    ends = loaded.tokenizer.end_ids
    framed = ids[:-1] if ids[-1:] and ids[-1] in ends else ids
    for target in _texts(tokenizer, ids):
        if _ids_read(loaded, Spec(text, target=target), "target") == framed:
            return Generated(text, target)
    source = [token.raw for token in loaded.tokenizer.encode(text)]
    record = recorded_of(out, tokenizer, ids, source)
    return Generated(recorded.text_of(record), record=record)


def recorded_of(
    out: Any, tokenizer: Any, ids: Sequence[int], source: Sequence[str] | None = None
) -> Loaded:
    """The attention that an output of `generate` has, with its tokens. The last token was written,
    and not read."""
    tokens = tokenizer.convert_ids_to_tokens(list(ids)[:-1])
    if getattr(out, "beam_indices", None) is not None:
        message = Message(
            "beams-generated",
            "its beams changed places, and its attention is of all of them: generate with "
            "num_beams=1",
        )
        raise BadRecord("attn", message)
    has = "attentions" if source is None else "cross_attentions"
    if not getattr(out, has, None):
        message = Message(
            "generated-otherwise",
            "its text is tokenized differently from what was generated: generate with "
            "output_attentions=True and return_dict_in_generate=True",
        )
        raise BadRecord("attn", message)
    if source is None:
        return recorded.loaded(out, tokens)
    return recorded.loaded(out, source, target_tokens=tokens)


def ids_of(out: Any) -> list[int]:
    """The ids of one text. Raises BadRecord if there are several."""
    ids = getattr(out, "sequences", out)
    rows = [ids.tolist()] if ids.ndim == 1 else ids.tolist()
    if len(rows) != 1:
        message = Message("several-generated", "generate returned {n} texts; give one", n=len(rows))
        raise BadRecord("text", message)
    return list(rows[0])


def _texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What ids may be the tokens of; some tokenizers add the space that begins a text."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return [text, text.removeprefix(" ")] if text.startswith(" ") else [text]


def _ids_read(loaded: Loaded, spec: Spec, name: str) -> list[int]:
    """The ids that the model reads of a text; none if it does not take it."""
    try:
        sequences, _ = sequences_of(loaded, spec)
    except BadInput:
        return []
    return [token.id for token in sequences.get(name, ())]
