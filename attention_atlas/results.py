"""What a model answers: numpy arrays together with the tokens that they belong to.

Axes are always `layer, head, query, key`, and a selection keeps all four.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas
    import xarray

Array = np.ndarray[Any, np.dtype[Any]]
Index = int | Sequence[int] | None
Place = int | str | None  # of a token: its index, or its text or the text of its word
AXES = ("layer", "head", "query", "key")


class AtlasError(Exception):
    """A request that was refused; `field`, `limit` and `value` say what of it, and why."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        field: str = "",
        limit: Any = None,
        value: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.field = field
        self.limit = limit
        self.value = value


@dataclass(frozen=True)
class Token:
    """One piece of a text; `start` and `end` are its characters there."""

    id: int
    raw: str
    text: str
    start: int = 0
    end: int = 0
    special: bool = False
    unknown: bool = False
    word: int | None = None
    segment: int = 0
    token_type: int | None = None

    def __str__(self) -> str:
        return self.text.strip() or self.raw


class Cell(NamedTuple):
    """One number of attention and where it is."""

    layer: int
    head: int
    query: int
    query_token: str
    key: int
    key_token: str
    value: float


@dataclass(frozen=True)
class Attention:
    """Attention of one kind: `attn` and `mask` are (L, H, Q, K).

    attn[l, h, q, k] is how much the query token attends to the key token in head `heads[h]` of
    layer `layers[l]`. Where `mask` is false, attention is not allowed.
    """

    attn: Array
    mask: Array
    query_tokens: tuple[Token, ...]
    key_tokens: tuple[Token, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    kind: str
    quantity: str = "attn"
    queries: tuple[int, ...] = ()  # indices of the query tokens in their text
    keys: tuple[int, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        for name, tokens in (("queries", self.query_tokens), ("keys", self.key_tokens)):
            if not getattr(self, name):
                object.__setattr__(self, name, tuple(range(len(tokens))))
        object.__setattr__(self, "mask", np.broadcast_to(self.mask, self.attn.shape))
        labels = len(self.layers), len(self.heads), len(self.query_tokens), len(self.key_tokens)
        if self.attn.shape != labels:
            raise ValueError(f"attn {self.attn.shape} has labels for {labels}")

    def sel(
        self, *, layer: Index = None, head: Index = None, query: Place = None, key: Place = None
    ) -> Attention:
        """The attention of some layers, heads, query tokens and key tokens, by their numbers in
        the model and in the text, or by a token's or word's text. All four axes stay.

        Raises AtlasError for what is not there.
        """
        picked = (
            _numbered("layer", self.layers, layer),
            _numbered("head", self.heads, head),
            placed("query", self.query_tokens, self.queries, query),
            placed("key", self.key_tokens, self.keys, key),
        )
        cells = np.ix_(*picked)
        layers, heads, queries, keys = picked
        return replace(
            self,
            attn=self.attn[cells],
            mask=self.mask[cells],
            layers=_at(self.layers, layers),
            heads=_at(self.heads, heads),
            query_tokens=_at(self.query_tokens, queries),
            key_tokens=_at(self.key_tokens, keys),
            queries=_at(self.queries, queries),
            keys=_at(self.keys, keys),
        )

    def top(self, n: int = 5) -> list[Cell]:
        """The n largest numbers, in descending order."""
        values = np.where(self.mask, self.attn.astype(np.float64), -np.inf).ravel()
        best = np.argsort(-values, kind="stable")[:n]
        return [self._cell(*(int(i) for i in np.unravel_index(b, self.attn.shape))) for b in best]

    def _cell(self, layer: int, head: int, query: int, key: int) -> Cell:
        return Cell(
            self.layers[layer],
            self.heads[head],
            self.queries[query],
            str(self.query_tokens[query]),
            self.keys[key],
            str(self.key_tokens[key]),
            float(self.attn[layer, head, query, key]),
        )

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each number where attention is allowed. Needs pandas."""
        import pandas

        rows = [self._cell(*index) for index in np.argwhere(self.mask).tolist()]
        frame = pandas.DataFrame(rows, columns=list(Cell._fields))
        return frame.rename(columns={"value": self.quantity})

    def to_xarray(self) -> xarray.DataArray:
        """The same numbers with named axes; tokens are coordinates. Needs xarray."""
        import xarray

        return xarray.DataArray(
            self.attn,
            dims=AXES,
            coords={
                "layer": list(self.layers),
                "head": list(self.heads),
                "query": list(self.queries),
                "key": list(self.keys),
                "query_token": ("query", [str(token) for token in self.query_tokens]),
                "key_token": ("key", [str(token) for token in self.key_tokens]),
            },
            name=self.quantity,
            attrs={"kind": self.kind, **self.provenance},
        )


@dataclass(frozen=True)
class Metrics:
    """One number for each head: `values[name]` is (L, H)."""

    values: Mapping[str, Array]
    definitions: Mapping[str, str]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    kind: str
    roles: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def top(self, name: str, n: int = 5) -> list[tuple[int, int, float]]:
        """The n heads with the largest value of a metric: (layer, head, value)."""
        if name not in self.values:
            raise AtlasError(
                f"no metric {name!r}; there are {', '.join(self.values)}", field="name", value=name
            )
        values = self.values[name]
        best = np.argsort(-values, axis=None, kind="stable")[:n]
        rows = [np.unravel_index(b, values.shape) for b in best]
        return [(self.layers[l], self.heads[h], float(values[l, h])) for l, h in rows]  # noqa: E741

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each head, one column for each metric. Needs pandas."""
        import pandas

        index = pandas.MultiIndex.from_product([self.layers, self.heads], names=AXES[:2])
        columns = {name: values.ravel() for name, values in self.values.items()}
        return pandas.DataFrame(columns, index=index)


@dataclass(frozen=True)
class Run:
    """A forward pass: the tokens of its texts, the shapes of its attention, its predictions."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    source_tokens: tuple[Token, ...]
    target_tokens: tuple[Token, ...]
    kinds: tuple[Mapping[str, Any], ...]
    predictions: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True)
class HiddenStates:
    """The residual stream: `hidden` is (L + 1, T, D), of one word (L + 1, D)."""

    hidden: Array
    states: tuple[str, ...]
    tokens: tuple[Token, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A word in two sentences: `similarity` by state (L + 1), `divergence` of each head (L, H)."""

    similarity: Array
    states: tuple[str, ...]
    divergence: Array
    ranked: tuple[Mapping[str, Any], ...]
    fields: Mapping[str, Any]
    url: str = ""


@dataclass(frozen=True)
class Candidate:
    """A token that the model finds probable."""

    id: int
    token: str
    text: str
    logit: float
    probability: float


class Label(NamedTuple):
    """What a head may say, as the model's config names it; a number has no probability."""

    label: str
    logit: float
    probability: float | None


@dataclass(frozen=True)
class Classification:
    """What a head that tells labels apart says of a text, and the attention that it reads."""

    labels: tuple[Label, ...]  # of the text, the most probable first
    token_labels: Mapping[int, tuple[Label, ...]]  # index of a token -> its labels
    answer: Mapping[str, Any] | None  # first, last, text, probability
    tokens: tuple[Token, ...]
    reads: tuple[int, ...]  # tokens whose last hidden states the label is read from
    attention: Array  # (T,), of those that are read
    fields: Mapping[str, Any]  # the whole answer
    url: str


def labels_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Label, ...]:
    return tuple(Label(row["label"], row["logit"], row["probability"]) for row in rows)


def tokens_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Token, ...]:
    """Tokens of an answer; fields of a newer server are passed over."""
    known = Token.__dataclass_fields__.keys()
    return tuple(Token(**{name: row[name] for name in known if name in row}) for row in rows)


def candidates_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Candidate, ...]:
    """Candidates of an answer; likewise."""
    known = Candidate.__dataclass_fields__.keys()
    return tuple(Candidate(**{name: row[name] for name in known}) for row in rows)


def _at(values: tuple[Any, ...], indices: Sequence[int]) -> tuple[Any, ...]:
    return tuple(values[i] for i in indices)


def _numbered(name: str, numbers: tuple[int, ...], wanted: Index) -> list[int]:
    """Where the wanted layers or heads stand."""
    if wanted is None:
        return list(range(len(numbers)))
    several = [wanted] if isinstance(wanted, int) else list(wanted)
    for number in several:
        if number not in numbers:
            have = ", ".join(map(str, numbers))
            raise AtlasError(f"no {name} {number} here; there are {have}", field=name, value=number)
    return [numbers.index(number) for number in several]


def placed(
    name: str, tokens: tuple[Token, ...], positions: tuple[int, ...], wanted: Place
) -> list[int]:
    """Where a token stands, or all tokens whose text or whose word's text is the wanted one."""
    if wanted is None:
        return list(range(len(tokens)))
    if isinstance(wanted, int):
        if wanted not in positions:
            have = f"{positions[0]} to {positions[-1]}"
            raise AtlasError(f"no {name} {wanted} here: {have}", field=name, value=wanted)
        return [positions.index(wanted)]
    words: dict[tuple[int, int], list[int]] = {}
    for i, token in enumerate(tokens):
        if token.word is not None:
            words.setdefault((token.segment, token.word), []).append(i)
    matches = {i for i, token in enumerate(tokens) if str(token) == wanted}
    for places in words.values():
        if "".join(tokens[i].text for i in places).strip() == wanted:
            matches.update(places)
    if not matches:
        have = " ".join(str(token) for token in tokens)
        raise AtlasError(f"no {name} token {wanted!r} in: {have}", field=name, value=wanted)
    return sorted(matches)
