"""A client of a server, or of an app in this process: numbers with their tokens, as numpy.

import attention_atlas as atlas

with atlas.Client("http://127.0.0.1:8000") as client:
    attention = client.attention("bert", "He sat on the river bank.", layer=2)
    attention.sel(query="bank").top(3)
"""

from __future__ import annotations

import json
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack
from urllib.parse import urlencode

import httpx2
import numpy as np
import safetensors.numpy

from attention_atlas import __version__
from attention_atlas.results import (
    Array,
    AtlasError,
    Attention,
    Candidate,
    Classification,
    Comparison,
    HiddenStates,
    Metrics,
    Run,
    candidates_of,
    labels_of,
    tokens_of,
)
from attention_atlas.transport import (
    LOCAL,
    Fields,
    InProcess,
    Stream,
    refusal,
)
from attention_atlas.transport import tensors_of as tensors_in

PREFIX = "/api/v1"
SAFETENSORS = "application/vnd.safetensors"
LONGEST_ADDRESS = 4000  # characters of a query; what is longer is sent as JSON
KEPT = 32  # answers kept to be asked for with their ETag
LONGEST_PAUSE = 30.0  # seconds between two tries
PAGE = ("model", "text", "text_pair", "target", "source_lang", "target_lang")


class Inputs(TypedDict, total=False):
    """What a run takes beside a model and a text."""

    text_pair: str
    target: str
    target_ids: Sequence[int]
    source_lang: str
    target_lang: str
    edits: Sequence[Mapping[str, Any]]


class AttentionInputs(Inputs, total=False):
    """What `attention` takes beside a model and a text."""

    kind: str  # encoder, decoder or cross; by default the model's first
    layer: int | Sequence[int]  # by default all
    head: int | Sequence[int]
    quantity: str  # attn, or scores before the softmax
    reduce: str  # mean_heads, max_heads, rollout
    merge: str  # words
    special: str  # hide, renormalise


class Client:
    """Asks a server at an address, or an app (`create_app()`) in this process.

    `token` opens models where the operator asks for one. A busy server is asked again, after what
    it says in Retry-After, `retries` times. What a server refuses is raised as AtlasError, which
    names the field, the limit and the value.
    """

    def __init__(
        self,
        server: Any = "http://127.0.0.1:8000",
        *,
        token: str = "",
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        self.address = server.rstrip("/") if isinstance(server, str) else LOCAL
        self.retries = retries
        transport = None if isinstance(server, str) else InProcess(server)
        headers = {"User-Agent": f"attention-atlas/{__version__}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx2.Client(
            base_url=self.address, transport=transport, timeout=timeout, headers=headers
        )
        self._kept: OrderedDict[str, tuple[str, httpx2.Response]] = OrderedDict()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """The server's models: name, family, kinds, sizes, tasks, metrics."""
        return list(self.get("/models")["models"])

    def model(self, name: str) -> dict[str, Any]:
        """A model and its card: data, licences, training, the shape of each parameter."""
        return self.get(f"/models/{name}")

    def open_model(
        self, source: str, progress: Callable[[dict[str, Any]], object] = lambda step: None
    ) -> dict[str, Any]:
        """Open a model of the Hub or of a folder on the server: its summary, whose `name` others
        take. `progress` is called with each step: `stage`, `file`, `bytes`, `total`."""
        with self.stream("/models", {"model": source}) as events:
            for event in events:
                if event.name == "done":
                    return event.data
                progress(event.data)
        raise AtlasError("the server went away before the model was open", field="model")

    def add_record(
        self, attn: Any, tokens: Sequence[str], target_tokens: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Send attention of any library, (L, H, T, T) as numpy, with its T tokens: `record` is the
        model and `text` the text to ask for. With `target_tokens` attn is cross-attention, or a
        mapping of `encoder`, `decoder` and `cross`. The server keeps it in memory only."""
        given = attn if isinstance(attn, Mapping) else {"attn": attn}
        arrays = {name: np.ascontiguousarray(each, np.float32) for name, each in given.items()}
        texts = {"tokens": tokens} | ({"target_tokens": target_tokens} if target_tokens else {})
        metadata = {name: json.dumps(list(value)) for name, value in texts.items()}
        body = safetensors.numpy.save(arrays, metadata)
        headers = {"Content-Type": SAFETENSORS, "Accept": "application/json"}
        return dict(self._sent("POST", f"{PREFIX}/records", headers, content=body).json())

    def run(self, model: str, text: str, **inputs: Unpack[Inputs]) -> Run:
        """One forward pass: tokens, predictions, the shape of each kind of attention."""
        request: dict[str, Any] = {"model": model, "text": text, **inputs}
        fields = self.get("/run", request)
        return Run(
            model=fields["model"],
            text=fields["text"],
            text_pair=fields["text_pair"],
            target=fields["target"],
            source_tokens=tokens_of(fields["sequences"]["source"]),
            target_tokens=tokens_of(fields["sequences"]["target"]),
            kinds=tuple(fields["kinds"]),
            predictions=fields["predictions"],
            provenance=fields["provenance"],
            url=self._page("/explore", request),
        )

    def attention(self, model: str, text: str, **inputs: Unpack[AttentionInputs]) -> Attention:
        """Attention of one kind, (L, H, Q, K); by default all layers and heads of the first."""
        request = {"model": model, "text": text, **inputs}
        fields, tensors = self.tensors("/attention", request)
        opened_at = {"layer": fields["layers"][0], "head": fields["heads"][0]}
        return Attention(
            attn=tensors["attn"],
            mask=tensors["mask"].astype(bool),
            query_tokens=tokens_of(fields["q_tokens"]),
            key_tokens=tokens_of(fields["k_tokens"]),
            layers=_labels(fields["layers"], tensors["attn"].shape[0]),
            heads=_labels(fields["heads"], tensors["attn"].shape[1]),
            kind=fields["kind"],
            quantity=fields["quantity"],
            provenance=fields["provenance"],
            url=self._page("/explore", {**request, "kind": fields["kind"], **opened_at}),
        )

    def metrics(
        self, model: str, text: str, *, kind: str | None = None, **inputs: Unpack[Inputs]
    ) -> Metrics:
        """One number for each head: entropy, distance, and where it looks; and its roles."""
        request = {"model": model, "text": text, "kind": kind, **inputs}
        fields, tensors = self.tensors("/metrics", request)
        return Metrics(
            values=tensors,
            definitions=fields["definitions"],
            layers=tuple(fields["layers"]),
            heads=tuple(fields["heads"]),
            kind=fields["kind"],
            roles=tuple(fields["roles"]),
            provenance=fields["provenance"],
        )

    def hidden_states(
        self, model: str, text: str, *, word: str | None = None, **inputs: Unpack[Inputs]
    ) -> HiddenStates:
        """The residual stream at the embedding and after each layer, of all tokens or a word."""
        request = {"model": model, "text": text, "word": word, **inputs}
        fields, tensors = self.tensors("/hidden-states", request)
        return HiddenStates(
            hidden=tensors["hidden"],
            states=tuple(fields["states"]),
            tokens=tokens_of(fields["tokens"]),
            provenance=fields["provenance"],
        )

    def compare(
        self, a: Mapping[str, Any], b: Mapping[str, Any], word: str, **options: Any
    ) -> Comparison:
        """A word in two runs (`{"model": …, "text": …}`): similarity of its states, divergence of
        its attention in each head."""
        fields = self.get("/compare", {"a": dict(a), "b": dict(b), "word": word, **options})
        return Comparison(
            similarity=np.array(fields["similarity"]),
            states=tuple(fields["states"]),
            divergence=np.array(fields["divergence"]),
            ranked=tuple(fields["ranked"]),
            fields=fields,
            url=self._page(
                "/compare",
                {"model": a["model"], "text_a": a["text"], "text_b": b["text"], "word": word},
            ),
        )

    def fill_mask(
        self, model: str, text: str, **inputs: Unpack[Inputs]
    ) -> list[tuple[Candidate, ...]]:
        """The candidates for each [MASK] of a text."""
        fields = self.get("/fill-mask", {"model": model, "text": text, **inputs})
        return [candidates_of(mask["candidates"]) for mask in fields["masks"]]

    def next_token(self, model: str, text: str, **inputs: Unpack[Inputs]) -> tuple[Candidate, ...]:
        """The candidates for the token after a text."""
        fields = self.get("/next-token", {"model": model, "text": text, **inputs})
        return candidates_of(fields["candidates"])

    def classify(
        self,
        model: str,
        text: str,
        *,
        layer: int | None = None,
        head: int | None = None,
        **options: Any,
    ) -> Classification:
        """Labels of a fine-tuned head with their probabilities, and the attention that it reads.
        `options`: text_pair, choices, label, position, edits."""
        request = {"model": model, "text": text, "layer": layer, "head": head, **options}
        fields = self.get("/classify", request)
        return Classification(
            labels=labels_of(fields["labels"]),
            token_labels={
                row["position"]: labels_of(row["labels"]) for row in fields["token_labels"]
            },
            answer=fields["answer"],
            tokens=tokens_of(fields["tokens"]),
            reads=tuple(fields["reads"]),
            attention=np.array(fields["attention"], np.float32),
            fields=fields,
            url=self._page("/classify", {**request, "layer": fields["layer"]}),
        )

    def generate(self, model: str, text: str, **options: Any) -> Stream:
        """Events of a continuation: `start`, a `token` each, at last `result`."""
        return self.stream("/generate", {"model": model, "text": text, **options})

    def translate(self, model: str, text: str, **options: Any) -> Stream:
        """Events of a translation, likewise."""
        return self.stream("/translate", {"model": model, "text": text, **options})

    def page(self, path: str, fields: Mapping[str, Any]) -> str:
        """The HTML of a page. Raises AtlasError where the page would show a problem."""
        query = urlencode(_written(_given(fields)))
        accept = {"Accept": "application/problem+json, text/html;q=0.5"}
        return self._sent("GET", f"{path}?{query}", accept).text

    def get(self, path: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer of any resource."""
        answer = self._answer(path, request or {}, "application/json").json()
        return Fields(answer, self._http)

    def tensors(
        self, path: str, request: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """The fields and the tensors of any resource that has tensors."""
        fields, tensors = tensors_in(self._answer(path, request, SAFETENSORS).content)
        return Fields(fields, self._http), tensors

    def content(self, path: str, request: Mapping[str, Any], media: str) -> bytes:
        """The bytes of any resource's answer, of a media type."""
        return bytes(self._answer(path, request, media).content)

    def stream(self, path: str, request: Mapping[str, Any]) -> Stream:
        """The events of any resource that has events."""
        body = _given(request) | ({} if path == "/models" else {"stream": True})
        sent = self._http.build_request("POST", PREFIX + path, json=body, timeout=None)
        response = self._http.send(sent, stream=True)
        if response.status_code >= 400:
            response.read()
            raise refusal(self._http, response)
        return Stream(response)

    def _answer(self, path: str, request: Mapping[str, Any], media: str) -> httpx2.Response:
        """An answer; one that has not changed since is not sent again."""
        given = _given(request)
        query = "" if _is_nested(given) else urlencode(_written(given))
        if len(query) > LONGEST_ADDRESS or _is_nested(given):
            return self._sent("POST", PREFIX + path, {"Accept": media}, given)
        address = f"{PREFIX}{path}?{query}" if query else PREFIX + path
        key = f"{media} {address}"
        etag, kept = self._kept.get(key, ("", None))
        headers = {"Accept": media} | ({"If-None-Match": etag} if kept else {})
        response = self._sent("GET", address, headers)
        if kept is not None and response.status_code == 304:
            self._kept.move_to_end(key)
            return kept
        if tag := response.headers.get("etag"):
            self._kept[key] = tag, response
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return response

    def _sent(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: Any = None,
        content: bytes | None = None,
    ) -> httpx2.Response:
        """A response, after as many tries as it takes. Raises AtlasError."""
        for left in range(self.retries, -1, -1):
            try:
                response = self._http.request(
                    method, address, headers=headers, json=body, content=content
                )
            except httpx2.TransportError as error:
                raise AtlasError(f"no answer from {self.address}: {error}") from None
            if response.status_code not in (429, 503) or not left:
                break
            pause = _seconds(response.headers.get("retry-after", ""))
            time.sleep(min(pause, LONGEST_PAUSE) * random.uniform(1, 1.5))  # not all at once
        if response.status_code >= 400:
            raise refusal(self._http, response)
        return response

    def _page(self, path: str, fields: Mapping[str, Any]) -> str:
        """The address of the page that shows an answer."""
        names = (*PAGE, "kind", "layer", "head", "special", "merge", "text_a", "text_b", "word")
        shown = {name: fields[name] for name in names if fields.get(name) is not None}
        return f"{self.address}{path}?{urlencode(shown)}"


def _given(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that have a value."""
    return {name: value for name, value in request.items() if value is not None}


def _is_nested(request: Mapping[str, Any]) -> bool:
    """Whether a query string cannot say it."""
    values = request.values()
    lists = (value for value in values if isinstance(value, list | tuple))
    return any(isinstance(value, dict) for value in values) or any(
        not value or not all(isinstance(item, int) for item in value) for value in lists
    )


def _written(request: Mapping[str, Any]) -> dict[str, str]:
    """A request's fields as a query string has them."""
    return {
        name: ",".join(map(str, value))
        if isinstance(value, list | tuple | range)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
        for name, value in request.items()
    }


def _labels(numbers: Sequence[int], n: int) -> tuple[int, ...]:
    """The numbers of an axis; one that was reduced keeps its first."""
    return tuple(numbers) if len(numbers) == n else tuple(numbers[:n])


def _seconds(header: str) -> float:
    """Retry-After in seconds; where it is a date or missing, one."""
    try:
        return max(0.0, float(header))
    except ValueError:
        return 1.0
