"""A file of attention and its tokens, as bytes: safetensors or npz. No pickle is ever opened.

    attn    (layer, head, query, key), or as any format of /attention has it
    tokens  strings: in safetensors as JSON in the metadata, in npz an array of strings

What /attention answers as safetensors or npz is such a file too: its k_tokens are the tokens.
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
from attention_atlas.model.messages import Message
from attention_atlas.model.recorded import BadRecord
from attention_atlas.model.zoo import Loaded

ZIP = b"PK\x03\x04"
MOST_TOKENS = 4096
LONGEST_TOKEN = 200  # characters
UNREADABLE = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, MemoryError)


def loaded(body: bytes, limit: int) -> Loaded:
    """A file ready to be shown; `limit` is of the bytes of its numbers as float32. Raises
    BadRecord."""
    attn, tokens = _npz(body, limit) if body.startswith(ZIP) else _safetensors(body)
    if attn is None:
        raise BadRecord("attn", Message("no-attn", "the file has no tensor named attn"))
    if not np.issubdtype(attn.dtype, np.number) or np.iscomplexobj(attn):
        message = Message("not-numbers", "attn is of {dtype}, not numbers", dtype=str(attn.dtype))
        raise BadRecord("attn", message)
    if 4 * attn.size > limit:
        message = Message(
            "record-too-large",
            "attn has {value} numbers; at most {limit} are kept",
            value=attn.size,
            limit=limit // 4,
        )
        raise BadRecord("attn", message)
    if attn.dtype == np.uint8:
        message = Message(
            "only-pictures", "attn holds pictures (uint8), not attention: save float16 or float32"
        )
        raise BadRecord("attn", message)
    result = recorded.loaded(attn, _checked(tokens))
    return result


def _checked(tokens: Any) -> list[str]:
    """Tokens of a file: strings, or the tokens of an answer by their raw spelling."""
    if isinstance(tokens, str):
        try:
            tokens = json.loads(tokens)
        except (ValueError, RecursionError):
            tokens = None
    if isinstance(tokens, list):
        tokens = [each.get("raw") if isinstance(each, dict) else each for each in tokens]
    if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens):
        message = Message(
            "no-tokens",
            "the file has no tokens: a list of strings named tokens, in safetensors as JSON in the "
            "metadata, in npz an array of strings",
        )
        raise BadRecord("tokens", message)
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
        raise BadRecord("tokens", message)
    return tokens


def _tokens_in(fields: Mapping[str, Any]) -> Any:
    return fields.get("tokens", fields.get("k_tokens"))


def _safetensors(body: bytes) -> tuple[Any, Any]:
    try:
        tensors = safetensors.numpy.load(body)
        length = int.from_bytes(body[:8], "little")
        metadata = json.loads(body[8 : 8 + length]).get("__metadata__", {})
    except (*UNREADABLE, safetensors.SafetensorError, RecursionError, AttributeError):
        message = Message("damaged-record", "the file is neither whole safetensors nor npz")
        raise BadRecord("attn", message) from None
    return tensors.get("attn"), _tokens_in(metadata)


def _npz(body: bytes, limit: int) -> tuple[Any, Any]:
    """No array is unpacked before its size is known: a small file may hold a large one."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            size = sum(each.file_size for each in packed.infolist())
        if size > 4 * limit:
            message = Message(
                "record-too-large-unpacked",
                "unpacked, the file has {value} bytes; at most {limit} are taken",
                value=size,
                limit=4 * limit,
            )
            raise BadRecord("attn", message)
        arrays = np.load(io.BytesIO(body), allow_pickle=False)
        names = set(arrays.files)
        attn = arrays["attn"] if "attn" in names else None
        if "tokens" in names:
            return attn, arrays["tokens"].tolist()
        metadata = json.loads(str(arrays["metadata"])) if "metadata" in names else {}
        return attn, _tokens_in(metadata)
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
