"""Tensors -> bytes: JSON, safetensors, npz, csv. Twin of static/js/lib/wire.js."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import brotli
import numpy as np
import orjson
import safetensors.numpy
import zstandard

from attention_atlas import __version__

Array = np.ndarray[Any, np.dtype[Any]]

MEDIA_TYPES = {
    "json": "application/json",
    "safetensors": "application/vnd.safetensors",
    "npz": "application/x-npz",
    "csv": "text/csv; charset=utf-8",
}
SMALL = 500  # bytes not worth compressing
LONGEST_NAME = 180  # letters of a file's name
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda content: zstandard.ZstdCompressor(3).compress(content),
    "br": lambda content: brotli.compress(content, quality=4),
    "gzip": lambda content: gzip.compress(content, 4),
}
QUANTIZE = {
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "uint8": lambda a: np.rint(a.clip(0, 1) * 255).astype(np.uint8),
}


class Answer(NamedTuple):
    """An answer's labels, and its tensors by name; in JSON they may be together in one field."""

    fields: Mapping[str, Any]
    tensors: Mapping[str, Array]
    together: str | None = None


def accepted(header: str) -> list[str]:
    """The values of an Accept or Accept-Encoding header, the preferred first, without q=0."""
    shares = []
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        share = float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0.0
        shares.append((-share, name))
    return [name for share, name in sorted(shares, key=lambda row: row[0]) if share]


def chosen_format(wanted: str | None, accept: str, formats: tuple[str, ...]) -> str:
    """`format=` if it is given, else the first of `formats` that is accepted, else JSON."""
    if wanted is not None:
        return wanted
    ours = {MEDIA_TYPES[name].split(";")[0]: name for name in formats}
    return next((ours[media] for media in accepted(accept) if media in ours), "json")


def compressed(content: bytes, accept_encoding: str) -> tuple[bytes, dict[str, str]]:
    """The content in a coding that the client accepts, and the headers that name it.

    Done here, on the worker that made the content, so that megabytes do not hold up the others.
    """
    if len(content) < SMALL:
        return content, {}
    if coding := chosen_coding(accept_encoding):
        return CODINGS[coding](content), {"Content-Encoding": coding}
    return content, {}


def chosen_coding(accept_encoding: str) -> str:
    """The first of CODINGS that is accepted, or none."""
    return next((coding for coding in accepted(accept_encoding) if coding in CODINGS), "")


def file_name(path: str, fields: Mapping[str, Any], format: str) -> str:
    """What an answer's file is of and where its numbers come from: a CSV has no other place for it.

    attention-gpt-decoder-L1H2-weights-8fb4d532-float32-Attention-Atlas-0.4.0.csv
    """
    parts = [path.rpartition("/")[2]]
    source = fields.get("provenance") or {}
    parts += [source["model"]] if source else []
    kind, reduce = fields.get("kind"), fields.get("reduce")
    parts += [name for name in (kind, reduce) if name and name != "none"]
    if len(fields.get("layers", ())) == len(fields.get("heads", ())) == 1:
        parts.append(f"L{fields['layers'][0]}H{fields['heads'][0]}")
    if source:
        parts += ["weights", source["sha256"][:8], source["dtype"]]
    name = "-".join([*parts, "Attention-Atlas", __version__])
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:LONGEST_NAME] + f".{format}"


def encode(answer: Answer, format: str) -> bytes:
    """One of MEDIA_TYPES."""
    return ENCODERS[format](answer)


def json_bytes(fields: Mapping[str, Any]) -> bytes:
    """JSON in which a float32 keeps its shortest spelling, and infinities are null."""
    return orjson.dumps(dict(fields), option=orjson.OPT_SERIALIZE_NUMPY)


def _json(answer: Answer) -> bytes:
    tensors = {name: np.ascontiguousarray(array) for name, array in answer.tensors.items()}
    grouped = {answer.together: tensors} if answer.together else tensors
    return json_bytes({**answer.fields, **grouped})


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
    """One head, one line for each query and key that may look; an empty token as it is raw."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["query", "query_token", "key", "key_token", answer.fields["quantity"]])
    q_tokens, k_tokens = answer.fields["q_tokens"], answer.fields["k_tokens"]
    attn, mask = answer.tensors["attn"][0, 0], answer.tensors["mask"][0, 0]
    q_texts, k_texts = ([t["text"] or t["raw"] for t in tokens] for tokens in (q_tokens, k_tokens))
    for q, k in np.argwhere(mask).tolist():
        rows.writerow([q, q_texts[q], k, k_texts[k], attn[q, k]])
    return out.getvalue().encode()


ENCODERS = {"json": _json, "safetensors": _safetensors, "npz": _npz, "csv": _csv}
