"""Tensors -> bytes: JSON, safetensors, npz, csv. Twin of static/js/wire.js."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
import safetensors.numpy

Array = np.ndarray[Any, np.dtype[Any]]

MEDIA_TYPES = {
    "json": "application/json",
    "safetensors": "application/vnd.safetensors",
    "npz": "application/x-npz",
    "csv": "text/csv; charset=utf-8",
}
QUANTIZE = {
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "uint8": lambda a: np.rint(a * 255).astype(np.uint8),
}


class Answer(NamedTuple):
    """An answer's labels, and its tensors by name."""

    fields: Mapping[str, Any]
    tensors: Mapping[str, Array]


def chosen_format(wanted: str | None, accept: str) -> str:
    """`format=` if it is given, else the first of our types in the Accept header, else JSON."""
    if wanted is not None:
        return wanted
    types = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    ours = {media.split(";")[0]: name for name, media in MEDIA_TYPES.items()}
    return next((ours[found] for found in types if found in ours), "json")


def encode(answer: Answer, format: str) -> bytes:
    """One of MEDIA_TYPES."""
    return ENCODERS[format](answer)


def json_bytes(fields: Mapping[str, Any]) -> bytes:
    """JSON in which a float32 keeps its shortest spelling, and infinities are null."""
    return orjson.dumps(dict(fields), option=orjson.OPT_SERIALIZE_NUMPY)


def _json(answer: Answer) -> bytes:
    tensors = {name: np.ascontiguousarray(array) for name, array in answer.tensors.items()}
    return json_bytes({**answer.fields, **tensors})


def _safetensors(answer: Answer) -> bytes:
    """Each field is JSON in `__metadata__`."""
    metadata = {name: orjson.dumps(value).decode() for name, value in answer.fields.items()}
    tensors = {name: np.ascontiguousarray(array) for name, array in answer.tensors.items()}
    return safetensors.numpy.save(tensors, metadata)


def _npz(answer: Answer) -> bytes:
    """The tensors, and the fields as one JSON string named `metadata`."""
    out = io.BytesIO()
    metadata = np.array(orjson.dumps(dict(answer.fields)).decode())
    np.savez_compressed(out, allow_pickle=False, metadata=metadata, **answer.tensors)
    return out.getvalue()


def _csv(answer: Answer) -> bytes:
    """One head, one line for each query and key that may look."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["query", "query_token", "key", "key_token", answer.fields["quantity"]])
    q_tokens, k_tokens = answer.fields["q_tokens"], answer.fields["k_tokens"]
    attn, mask = answer.tensors["attn"][0, 0], answer.tensors["mask"][0, 0]
    for q, k in np.argwhere(mask).tolist():
        rows.writerow([q, q_tokens[q]["text"], k, k_tokens[k]["text"], attn[q, k]])
    return out.getvalue().encode()


ENCODERS = {"json": _json, "safetensors": _safetensors, "npz": _npz, "csv": _csv}
