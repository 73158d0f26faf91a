"""A file of attention and its tokens, as bytes: safetensors or npz. No pickle is ever opened.

    attn           (layer, head, query, key), or as any format of /attention has it
    tokens         strings: in safetensors as JSON in the metadata, in npz an array of strings
    target_tokens  likewise, if attn is cross-attention, from the target (queries) to the tokens

In place of attn a file may have encoder, decoder and cross, or some of them. What /attention
answers as safetensors or npz is such a file too: its k_tokens are the tokens.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from attention_atlas.model import recorded
from attention_atlas.model.arrays import BadRecord
from attention_atlas.model.messages import Message
from attention_atlas.model.tape import KINDS
from attention_atlas.model.zoo import Loaded

ZIP = b"PK\x03\x04"
MOST_TOKENS = 4096
LONGEST_TOKEN = 200  # characters
MOST_HEADS = 16_384  # in all layers: a page draws each
MOST_LABELS = 16_000_000  # bytes beside the attention: as JSON they are much larger in memory
MOST_MEMBERS = 1000  # of an archive, whose list is read before anything else
MEMBER = b"PK\x01\x02"  # begins each row of that list
UNREADABLE = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, MemoryError)


def loaded(body: bytes, limit: int) -> Loaded:
    """A file ready to be shown; `limit` is of the bytes of its numbers as float32. Raises
    BadRecord."""
    arrays, fields = _npz(body, limit) if body.startswith(ZIP) else _safetensors(body)
    attentions = {name: arrays[name] for name in ("attn", *KINDS) if name in arrays}
    if not attentions:
        raise BadRecord("attn", Message("no-attn", "the file has no tensor named attn"))
    for name, array in attentions.items():
        _check_numbers(name, array)
    n = sum(array.size for array in attentions.values())
    if 4 * n > limit:
        message = Message(
            "record-too-large",
            "attn has {value} numbers; at most {limit} are kept",
            value=n,
            limit=limit // 4,
        )
        raise BadRecord("attn", message)
    _check_heads(attentions)
    tokens, target_tokens = _tokens_in(fields)
    given: Any = attentions.get("attn", attentions)
    checked = None if target_tokens is None else _checked(target_tokens, "target_tokens")
    return recorded.loaded(given, _checked(tokens), target_tokens=checked)


def _check_numbers(name: str, array: Any) -> None:
    """Refuse what is not attention."""
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        message = Message(
            "not-numbers", "{name} is of {dtype}, not numbers", name=name, dtype=str(array.dtype)
        )
        raise BadRecord("attn", message)
    if array.dtype == np.uint8:
        message = Message(
            "only-pictures",
            "{name} holds pictures (uint8), not attention: save float16 or float32",
            name=name,
        )
        raise BadRecord("attn", message)


def _check_heads(attentions: Mapping[str, Any]) -> None:
    for name, array in attentions.items():
        if array.ndim == 4 and (n := array.shape[0] * array.shape[1]) > MOST_HEADS:
            message = Message(
                "too-many-heads-recorded",
                "{name} has {value} heads in all layers; at most {limit} are taken",
                name=name,
                value=n,
                limit=MOST_HEADS,
            )
            raise BadRecord("attn", message)


def _check_labels(n_byte: int) -> None:
    """What is parsed as JSON or made into strings is bounded before."""
    if n_byte > MOST_LABELS:
        message = Message(
            "record-labels-too-large",
            "the file has {value} bytes beside its attention; at most {limit} are taken",
            value=n_byte,
            limit=MOST_LABELS,
        )
        raise BadRecord("tokens", message)


def _tokens_in(fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """The tokens of a file and those of its target, or of an answer of /attention."""
    if "tokens" in fields:
        return fields["tokens"], fields.get("target_tokens")
    is_cross = _plain(fields.get("kind")) == "cross"
    return fields.get("k_tokens"), fields.get("q_tokens") if is_cross else None


def _plain(value: Any) -> Any:
    """A field of metadata, which is JSON or a word."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _checked(tokens: Any, name: str = "tokens") -> list[str]:
    """Tokens of a file: strings, or the tokens of an answer by their raw spelling."""
    tokens = _plain(tokens)
    if isinstance(tokens, list):
        tokens = [each.get("raw") if isinstance(each, dict) else each for each in tokens]
    if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens):
        message = Message(
            "no-tokens",
            "the file has no tokens: a list of strings named {name}, in safetensors as JSON in the "
            "metadata, in npz an array of strings",
            name=name,
        )
        raise BadRecord(name, message)
    longest = max(map(len, tokens), default=0)
    if len(tokens) > MOST_TOKENS or longest > LONGEST_TOKEN:
        message = Message(
            "too-many-tokens-recorded",
            "{value} tokens, the longest of {longest} characters; at most {limit} of {most} are "
            "taken",
            value=len(tokens),
            longest=longest,
            limit=MOST_TOKENS,
            most=LONGEST_TOKEN,
        )
        raise BadRecord(name, message)
    return tokens


def _safetensors(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    length = int.from_bytes(body[:8], "little")
    if length < len(body):  # else it is damaged
        _check_labels(length)
    try:
        tensors = safetensors.numpy.load(body)
        metadata = json.loads(body[8 : 8 + length]).get("__metadata__", {})
    except (*UNREADABLE, safetensors.SafetensorError, RecursionError, AttributeError):
        message = Message("damaged-record", "the file is neither whole safetensors nor npz")
        raise BadRecord("attn", message) from None
    return tensors, metadata


def _npz(body: bytes, limit: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """No array is unpacked before its size is known: a small file may hold a large one."""
    if (n := body.count(MEMBER)) > MOST_MEMBERS:
        message = Message(
            "too-many-members",
            "the archive has {value} members; at most {limit} are taken",
            value=n,
            limit=MOST_MEMBERS,
        )
        raise BadRecord("attn", message)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            sizes = {each.filename: each.file_size for each in packed.infolist()}
            size = sum(each.file_size for each in packed.infolist())
        if size > 4 * limit:
            message = Message(
                "record-too-large-unpacked",
                "unpacked, the file has {value} bytes; at most {limit} are taken",
                value=size,
                limit=4 * limit,
            )
            raise BadRecord("attn", message)
        attentions = {f"{name}.npy" for name in ("attn", *KINDS)}
        _check_labels(sum(n for name, n in sizes.items() if name not in attentions))
        opened = np.load(io.BytesIO(body), allow_pickle=False)
        names = {*opened.files} & {"attn", *KINDS}
        arrays = {name: opened[name] for name in names}
        texts = {*opened.files} & {"tokens", "target_tokens"}
        fields = {name: opened[name].tolist() for name in texts}
        metadata = json.loads(str(opened["metadata"])) if "metadata" in opened.files else {}
        return arrays, metadata | fields
    except BadRecord:
        raise
    except (*UNREADABLE, RecursionError, NotImplementedError, AttributeError) as error:
        if "pickle" in str(error):
            message = Message(
                "pickled-record",
                "the file holds objects that Python would have to run code to read: save tokens "
                "as an array of strings",
            )
            raise BadRecord("tokens", message) from None
        message = Message("damaged-record", "the file is neither whole safetensors nor npz")
        raise BadRecord("attn", message) from None
