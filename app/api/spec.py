"""What our JSON looks like, in and out. API.md's names."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

KindName = Literal["encoder", "decoder", "cross"]
Format = Literal["json", "safetensors", "npz", "csv"]
BANK = "He sat on the river bank and watched the water."
MONEY = "She opened an account at the bank to save money."


def clean(text: str) -> str:
    """A text that can be tokenised and sent back: no NUL, no half of a surrogate pair."""
    for name, found in (
        ("a NUL byte", text.find("\0")),
        ("half of a surrogate pair", _surrogate(text)),
    ):
        if found >= 0:
            raise ValueError(f"the text holds {name} at character {found}; remove it")
    return text


def _surrogate(text: str) -> int:
    return next((i for i, char in enumerate(text) if unicodedata.category(char) == "Cs"), -1)


def listed(value: object) -> object:
    """A number, a list, or numbers by comma: 3, [3, 5], "3,5" -> (3, 5)."""
    if isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]{1,9}( *, *-?[0-9]{1,9})*", value):
            raise ValueError(f"{value[:40]!r} is not a number or numbers by comma")
        return tuple(int(part) for part in value.split(","))
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def once(indices: tuple[int, ...]) -> tuple[int, ...]:
    """Each index once, so that the model's sizes bound an answer's."""
    if len(set(indices)) < len(indices):
        raise ValueError("a number is named more than once")
    return indices


def from_json(value: object) -> object:
    """In a query string, edits are JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("in a query string this field is JSON") from None
    return value


def spanning(span: str) -> WrapValidator:
    """What is outside a field's limits is told both of them, not only the one it crossed."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError as error:
            first = error.errors()[0]
            if first["loc"]:  # something inside
                raise
            raise ValueError(f"{first['msg']}: {span}") from None

    return WrapValidator(check)


Text = Annotated[str, AfterValidator(clean)]
Indices = Annotated[
    tuple[StrictInt, ...],
    Field(min_length=1, max_length=1000),
    BeforeValidator(listed),
    AfterValidator(once),
]


Ids = Annotated[
    tuple[Annotated[StrictInt, Field(ge=0)], ...],
    Field(max_length=4096),
    BeforeValidator(listed),
]


class Closed(BaseModel):
    """A model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


With = Literal["zero", "mean", "none", "shuffle"]
WITH: dict[str, tuple[With, With]] = {  # the first if left out
    "ablate": ("zero", "mean"),
    "positions": ("none", "shuffle"),
}


class EditSpec(Closed):
    """One change inside the forward pass; `kind`, `layer`, `head` left out mean all."""

    op: Literal["ablate", "block", "unmask", "set", "scale", "positions"]
    kind: KindName | None = None
    layer: int | None = None
    head: int | None = None
    query: int | None = Field(None, ge=0, description="block, set: the token that looks")
    key: int | None = Field(None, ge=0, description="block: the token looked at")
    row: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        (), description="set: the query's new attention, normalised"
    )
    by: float = Field(1.0, allow_inf_nan=False, description="scale: what scores are multiplied by")
    with_: With | None = Field(
        None, alias="with", description="ablate: zero or mean; positions: none or shuffle"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="positions: of the shuffle")

    @model_validator(mode="after")
    def _goes_together(self) -> EditSpec:
        """Each op has its own words for `with`; positions are of a stack, not of a head."""
        allowed = WITH.get(self.op, ())
        if self.with_ not in (None, *allowed):
            there = " or ".join(allowed) or "no with"
            raise ValueError(f"with={self.with_} is not for {self.op}, which takes {there}")
        if self.row and self.op != "set":
            raise ValueError(f"row is for set, not for {self.op}")
        if self.op == "positions" and (self.layer, self.head) != (None, None):
            raise ValueError("positions are added once, before the layers: no layer, no head")
        return self


Edits = Annotated[tuple[EditSpec, ...], Field(max_length=64), BeforeValidator(from_json)]


class Asked(Closed):
    """What a resource is asked with: it says its formats, and whose weights it depends on."""

    formats: ClassVar[tuple[str, ...]] = ("json",)

    def models(self) -> tuple[str, ...]:
        return ()


class TokenizeRequest(Asked):
    model: str = Field(description="a name from /models", examples=["bert"])
    text: Text = Field(description="the text", examples=[BANK])
    text_pair: Text | None = Field(None, description="BERT's second sentence")

    def models(self) -> tuple[str, ...]:
        return (self.model,)


class RunRequest(TokenizeRequest):
    """One run spec everywhere."""

    target: Text | None = Field(
        None, description="the encoder-decoder's output side; left out, it is decoded greedily"
    )
    target_ids: Ids = Field(
        (), description="the target as /translate said it, by ids; its text may be cut otherwise"
    )
    edits: Edits = Field((), description="changes inside the forward pass; JSON in a query string")


class AttentionRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz", "csv")

    kind: KindName | None = Field(None, description="the family's first if left out")
    layer: Indices | None = Field(None, description="numbers by comma; all if left out")
    head: Indices | None = Field(None, description="numbers by comma; all if left out")
    quantity: Literal["attn", "scores"] = Field("attn", description="scores: before the softmax")
    reduce: Literal["none", "mean_heads", "max_heads", "rollout"] = Field(
        "none", description="over heads; rollout also over layers"
    )
    merge: Literal["none", "words"] = Field(
        "none", description="words: summed over the pieces of a key, averaged over a query's"
    )
    special: Literal["keep", "hide", "renormalise"] = Field(
        "keep", description="special tokens; renormalise: hidden, then rows sum to 1 again"
    )
    dtype: Literal["float32", "float16", "uint8"] = Field(
        "float32", description="uint8 is round(255 attn), for pictures only"
    )
    format: Format | None = Field(None, description="left out, the Accept header decides")


class OverviewRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz")

    kind: KindName | None = Field(None, description="the family's first if left out")
    size: int = Field(64, ge=1, le=512, description="pictures are at most this many cells a side")
    format: Literal["json", "safetensors", "npz"] | None = Field(
        None, description="left out, the Accept header decides"
    )


class MetricsRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz")

    kind: KindName | None = Field(None, description="the family's first if left out")
    format: Literal["json", "safetensors", "npz"] | None = Field(
        None, description="left out, the Accept header decides"
    )


class AnatomyRequest(MetricsRequest):
    layer: int = Field(0, ge=0, description="one layer")
    head: int = Field(0, ge=0, description="one head")
    query: int = Field(0, ge=0, description="the token that looks, by its position")


Word = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(clean)]


class HiddenRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz")

    sequence: Literal["source", "target"] = Field("source", description="target: the translator's")
    word: Word | None = Field(None, description="this word only, the mean of its pieces")
    occurrence: int = Field(0, ge=0, description="which one, if the word is there several times")
    format: Literal["json", "safetensors", "npz"] | None = Field(
        None, description="left out, the Accept header decides"
    )


def paired(value: object) -> object:
    """Pairs as text: "0-0,2-1" -> ((0, 0), (2, 1))."""
    if isinstance(value, str):
        if not re.fullmatch(r"([0-9]{1,4}-[0-9]{1,4}(,[0-9]{1,4}-[0-9]{1,4})*)?", value):
            raise ValueError("an alignment is pairs of word numbers: 0-0,2-1")
        return tuple(tuple(map(int, pair.split("-"))) for pair in value.split(",") if pair)
    return value


Index = Annotated[StrictInt, Field(ge=0)]
Pairs = Annotated[tuple[tuple[Index, Index], ...], Field(max_length=2000), BeforeValidator(paired)]


class CompareRequest(Asked):
    """Two run specs and a word; in a query string the specs are JSON."""

    a: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec", examples=[{"model": "bert", "text": BANK}]
    )
    b: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="another", examples=[{"model": "bert", "text": MONEY}]
    )
    word: Word = Field(description="the word looked at", examples=["bank"])
    word_b: Word | None = Field(None, description="in B, if it is another")
    occurrence_a: int = Field(0, ge=0, description="which one, if A has the word several times")
    occurrence_b: int = Field(0, ge=0, description="which one in B")
    kind: KindName | None = Field(None, description="each family's first if left out")
    layer: int | None = Field(None, ge=0, description="the head whose rows are given; else the")
    head: int | None = Field(None, ge=0, description="one that differs most")
    align: Pairs | None = Field(
        None, description="pairs of key words of A and B; else equal words in order"
    )

    def models(self) -> tuple[str, ...]:
        return self.a.model, self.b.model


class PositionsRequest(Asked):
    """Sinusoidal encodings by their sizes, or what a model learned or uses."""

    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz")

    kind: Literal["sinusoidal"] | None = Field(None, description="the paper's, by the sizes below")
    model: str | None = Field(None, description="what this model learned or uses")
    n_positions: int | None = Field(None, ge=1, le=1024, description="64, or all a model has")
    d_model: Annotated[int, Field(ge=2, le=1024, multiple_of=2), spanning("even, 2 to 1024")] = (
        Field(64, description="even; sinusoidal only")
    )
    base: float = Field(10_000.0, gt=1, le=1e9, description="above 1; sinusoidal only")
    measure: Literal["cosine", "dot"] = Field("cosine", description="of two positions' likeness")
    shift: int = Field(1, ge=0, le=1023, description="k: PE(pos + k) is a linear map of PE(pos)")
    format: Literal["json", "safetensors", "npz"] | None = Field(
        None, description="left out, the Accept header decides"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> PositionsRequest:
        if self.model is not None and self.kind is not None:
            raise ValueError("kind=sinusoidal or model=, not both")
        return self

    def models(self) -> tuple[str, ...]:
        return (self.model,) if self.model is not None else ()


class EmbeddingRequest(TokenizeRequest):
    pass


class PermutationRequest(TokenizeRequest):
    text_b: Text | None = Field(
        None,
        description="the same words in another order; else reversed, or the tokens of a lone word",
    )


HALF_MAX = 65504  # the largest number of float16


class MasksRequest(Asked):
    """Several texts as one batch; in a query string they are a JSON list."""

    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz")

    model: str = Field(description="a name from /models", examples=["bert"])
    texts: Annotated[
        tuple[Text, ...],
        Field(min_length=1, max_length=8),
        spanning("one to eight texts, one a line"),
        BeforeValidator(from_json),
    ] = Field(description="one to eight", examples=[["This is a test", "This is it"]])
    kind: KindName | None = Field(None, description="the family's first if left out")
    layer: int = Field(0, ge=0, description="one layer")
    head: int = Field(0, ge=0, description="one head")
    off: Annotated[
        tuple[Literal["causal", "padding"], ...],
        BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    ] = Field((), description="masks that are switched off in every layer, by comma")
    fill: float | None = Field(
        None, ge=-1e30, le=0, description="in place of -inf in this head's scores"
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of the scores, with fill"
    )
    format: Literal["json", "safetensors", "npz"] | None = Field(
        None, description="left out, the Accept header decides"
    )

    @model_validator(mode="after")
    def _fits(self) -> MasksRequest:
        """Half precision ends long before float32 does."""
        if self.precision == "float16" and self.fill is not None and self.fill < -HALF_MAX:
            raise ValueError(f"fill={self.fill:g} is not in float16, which ends at -{HALF_MAX}")
        return self

    def models(self) -> tuple[str, ...]:
        return (self.model,)


Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ScalingRequest(Asked):
    d_k: Annotated[int, Field(ge=1, le=4096), spanning("1 to 4096")] = Field(
        256, description="the largest width; powers of 2 up to it"
    )
    n_key: int = Field(16, ge=2, le=256, description="keys of each query")
    seed: Seed = Field(0, description="of the random vectors")


class GradientsRequest(Asked):
    depth: int = Field(24, ge=1, le=64, description="layers of the small stack")
    width: int = Field(64, ge=1, le=256)
    seed: Seed = 0


class CostRequest(Asked):
    n_max: int = Field(512, ge=64, le=1024, description="tokens; 64, 128, … up to it")
    n_head: int = Field(8, ge=1, le=32)
    d: int = Field(32, ge=1, le=256, description="width of a head")
    n_loop: int = Field(64, ge=1, le=128, description="tokens of the loop in Python")


class LayerRequest(TokenizeRequest):
    layer: int = Field(0, ge=0, description="one layer")


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class OpenProblem(Problem):
    """Why a model could not be opened."""

    reason: Literal[
        "not-found",
        "offline",
        "no-safetensors",
        "damaged",
        "remote-code",
        "too-large",
        "no-memory",
        "not-text",
        "unsupported",
        "busy",
        "failed",
    ]


class TokenOut(BaseModel):
    id: int
    raw: str = Field(description="as the vocabulary spells it")
    text: str = Field(description="as a person reads it; for an unknown one what it stands for")
    start: int
    end: int
    special: bool
    unknown: bool
    word: int | None
    segment: int


class Measured(BaseModel):
    """One measure of quality, on text the model has never seen."""

    value: float
    low: float = Field(description="of the 95 % bootstrap interval")
    high: float
    n: int
    of: str = Field(description="what the n items are")
    detail: str = Field(description="which head, which layer, a signature")
    compare: str = Field(description="what chance or something simple would give")
    by: dict[str, float] = Field(description="the same, of each layer or set")


class ModelSummary(BaseModel):
    name: str
    architecture: str = Field(description="as its maker calls it")
    family: str
    kinds: list[str]
    n_layer: int
    n_head: int
    n_kv_head: int = Field(description="heads of keys and values; fewer where queries share them")
    d_model: int
    d_head: int
    d_ff: int
    vocab_size: int
    n_ctx: int
    shapes: dict[str, tuple[int, int]] = Field(description="kind -> its layers and heads")
    positions: str
    n_parameters: int
    tasks: list[str]
    mask: str | None = Field(description="how a blank is written, if it has a token for one")
    takes_pair: bool = Field(description="whether a second text may follow the first")
    position_table: bool = Field(description="whether it adds position vectors to its input")
    lacks: list[str] = Field(description="of q, k, v, scores, edits: what cannot be had of it")
    why: str = Field(description="why it lacks that")
    source: str = Field(description="bundled, hub or path")
    device: str
    dtype: str = Field(description="the precision it is computed in")
    sha256: str
    metrics: dict[str, Measured]


class ModelCard(ModelSummary):
    data: list[dict[str, str]] = Field(description="what it was trained on, with licences")
    not_for: str = Field(description="what it must not be used for")
    training: dict[str, Any]
    curve: list[dict[str, float]] = Field(description="loss by step and tokens")
    heads: list[dict[str, Any]] = Field(
        description="step, tokens, and by kind and metric each head's score then, (L, H)"
    )
    parameter_shapes: dict[str, list[int]]


class Models(BaseModel):
    models: list[ModelSummary]
    ready_to_open: list[str] = Field(description="opened when they are asked for by name")


class OpenRequest(Closed):
    model: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(clean)] = Field(
        description="a Hub name or a folder", examples=["prajjwal1/bert-tiny"]
    )


class OpenProgress(BaseModel):
    """How far the opening of a model is."""

    stage: Literal["looking", "downloading", "converting", "loading", "trying"]
    file: str
    bytes: int = Field(description="done of the total")
    total: int


class Provenance(BaseModel):
    model: str
    sha256: str = Field(description="of the weights")
    revision: str = Field(description="sha256 of config, tokenizer and the like; none if bundled")
    version: str
    torch: str
    device: str
    dtype: str


class Tokenized(BaseModel):
    model: str
    text: str
    text_pair: str | None
    tokens: list[TokenOut]
    n_ctx: int


class KindShape(BaseModel):
    kind: str
    q: str = Field(description="the sequence of the query axis: source or target")
    k: str = Field(description="the sequence of the key axis")
    n_layer: int
    n_head: int
    shape: list[int]


class RunAnswer(BaseModel):
    model: str
    text: str
    text_pair: str | None
    target: str | None
    target_decoded: bool
    sequences: dict[str, list[TokenOut]]
    kinds: list[KindShape]
    predictions: dict[str, Any]
    provenance: Provenance
    links: dict[str, str]


class TensorAnswer(BaseModel):
    """The labels of a record's tensors, which are nested lists here and tensors in safetensors."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layers: list[int]
    heads: list[int]
    axes: list[str]
    shape: list[int]
    dtype: str
    q_tokens: list[TokenOut]
    k_tokens: list[TokenOut]
    provenance: Provenance
    mask: list[list[list[list[bool]]]] = Field(
        description="(1 or L, 1 or H, Tq, Tk): true where looking is allowed; broadcasts to shape"
    )


class AttentionAnswer(TensorAnswer):
    quantity: str
    reduce: str
    merge: str
    special: str
    attn: list[list[list[list[float | None]]]]


class OverviewAnswer(TensorAnswer):
    block: list[int] = Field(description="tokens in a cell: along the query, along the key")
    n_kv_head: int = Field(description="groups of heads that share keys and values, in order")
    attn: list[list[list[list[int]]]] = Field(description="round(255 attn), by block maximum")


class MetricsAnswer(BaseModel):
    """One number per head: metrics[name][layer][head]."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layers: list[int]
    heads: list[int]
    axes: list[str]
    definitions: dict[str, str]
    metrics: dict[str, list[list[float]]]
    provenance: Provenance


class AnatomyAnswer(BaseModel):
    """One head, one query token, step by step."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layer: int
    head: int
    query: int
    q_tokens: list[TokenOut]
    k_tokens: list[TokenOut]
    score: str = Field(description="dot_product, or additive: products are v tanh(q + k)")
    scale: float = Field(description="1 / sqrt(d) as a rule; 1 for additive attention")
    softcap: float | None = Field(description="scores stay within plus and minus this (Gemma 2)")
    rotated: bool = Field(description="q and k carry their positions: they are after rotation")
    q: list[float] = Field(description="(d,)")
    k: list[list[float]] = Field(description="(Tk, d)")
    products: list[list[float]] = Field(description="(Tk, d): q times k, dimension by dimension")
    dots: list[float] = Field(description="(Tk,): products summed over d")
    bias: list[float] | None = Field(None, description="(Tk,): added to the scores, if anything is")
    scores: list[float | None] = Field(
        description="(Tk,): dots times scale, and bias; null where masked"
    )
    mask: list[bool] = Field(description="(Tk,): true where looking is allowed")
    attn: list[float] = Field(description="(Tk,): softmax of the scores")
    v: list[list[float]] = Field(description="(Tk, width of a value)")
    z: list[float] = Field(description="the head's output: attn times v, summed over keys")
    provenance: Provenance


class PositionsAnswer(BaseModel):
    kind: str = Field(description="sinusoidal or learned")
    model: str | None
    n_positions: int
    d_model: int
    base: float | None
    measure: str
    shift: int
    shift_error: float | None = Field(
        description="largest |PE(pos + k) - M PE(pos)|, with one matrix M for all pos; "
        "sinusoidal, and null where no two positions are k apart"
    )
    encoding: list[list[float]] = Field(description="(n, D)")
    similarity: list[list[float]] = Field(description="(n, n), by the measure")
    by_distance: list[float] = Field(description="(n,): mean similarity of positions k apart")
    wavelengths: list[float] = Field(description="(D / 2,): positions in a turn; sinusoidal only")
    turns: list[list[list[float]]] = Field(
        description="(D / 2, 2, 2): M, which is these on its diagonal, a rotation of each pair of "
        "dimensions; sinusoidal only"
    )
    provenance: Provenance | None = Field(description="null where there are no weights")


class EmbeddingAnswer(BaseModel):
    """Word + position + segment = input, as lengths of vectors, token by token."""

    model: str
    text: str
    text_pair: str | None
    tokens: list[TokenOut]
    parts: dict[str, list[float]] = Field(description="word, position, segment, sum, input: norms")


class PermutationAnswer(BaseModel):
    """The same words in two orders, with positions and without."""

    model: str
    text: str
    text_b: str = Field(description="empty where the tokens themselves are reversed")
    same: bool = Field(description="both orders are one: nothing moves, nothing is shown by it")
    causal: bool = Field(description="a causal mask tells order too: then nothing stays the same")
    tokens_a: list[TokenOut]
    tokens_b: list[TokenOut]
    order: list[int] = Field(description="where each token of A is in B")
    difference: dict[str, float] = Field(
        description="with, without positions: largest difference of a token's last hidden state"
    )
    by_token: dict[str, list[float]] = Field(description="the same, token by token of A")


class FillsOut(BaseModel):
    """When a very negative number in place of -inf leaks: the one asked for, or -1e4 in float16."""

    fill: float
    dtype: str
    reach: float = Field(
        description="a score is seen until it is this far below the largest of its row"
    )
    n_key: int
    blind: float = Field(description="to each key of a row whose keys are all masked")
    blind_infinity: float | None = Field(description="the same at -inf: null is NaN")
    by: float | None = Field(
        description="a power of ten: this head's scores times it leak, with fill added where "
        "masked; null where none does"
    )
    leak: float | None = Field(description="to a row's masked keys together then, at most")
    lowest: float = Field(description="the least number of the precision")
    added: float | None = Field(description="lowest + fill, two masks added up: null is -inf")


class MasksAnswer(BaseModel):
    """A batch of texts, B of them, filled up to the longest; masks are true where looking is
    allowed."""

    model: str
    texts: list[str]
    kind: str
    layer: int
    head: int
    pad: str = Field(description="the token that fills up")
    q_tokens: list[list[TokenOut]] = Field(description="of each text, without padding")
    k_tokens: list[list[TokenOut]]
    losses: dict[str, float] = Field(
        description="of the next word, in nats, with the causal mask on and off; a GPT alone"
    )
    fills: FillsOut
    leak: float = Field(description="largest attention of a real query to what it may not see")
    pad_attention: list[float] = Field(description="of each text: its queries' mean to padding")
    ids: list[list[int]] = Field(description="(B, Tk)")
    padding: list[list[bool]] = Field(description="(B, Tk): true at real tokens")
    causal: list[list[bool]] | None = Field(description="(Tq, Tk); null where there is none")
    combined: list[list[list[bool]]] = Field(description="(B, Tq, Tk): padding and causal")
    scores: list[list[list[float]]] = Field(description="(B, Tq, Tk), before the mask")
    masked: list[list[list[float | None]]] = Field(description="(B, Tq, Tk); -inf is null")
    attn: list[list[list[float]]] = Field(description="(B, Tq, Tk)")
    row_sums: list[list[float]] = Field(description="(B, Tq)")
    provenance: Provenance


class ScalingOut(BaseModel):
    d_k: int
    variance: float = Field(description="of q·k, of random vectors; d_k in theory")
    entropy: dict[str, float] = Field(description="of the softmax, in nats: plain, scaled")
    gradient: dict[str, float] = Field(description="size of the softmax's Jacobian")


class ScalingAnswer(BaseModel):
    n_key: int
    n_sample: int
    seed: int
    widths: list[ScalingOut]


class RegroupedOut(BaseModel):
    """The same queries and keys cut into another number of heads."""

    n_head: int
    d: int
    n_number: int = Field(description="attention weights: n_head T T")
    entropy: float = Field(description="mean over heads and queries, in nats")
    apart: float = Field(description="how different the heads are: mean divergence, in nats")


class HeadPartsAnswer(BaseModel):
    """What each head adds to a layer's attention output, as lengths of vectors."""

    model: str
    text: str
    layer: int
    tokens: list[TokenOut]
    norms: list[list[float]] = Field(description="(H, T)")
    output: list[float] = Field(description="(T,): length of all heads' sum and the bias")
    error: float = Field(description="of the parts' sum against W_O of the concatenation")
    regrouped: list[RegroupedOut] = Field(description="fewer and more heads, same d_model")


class BlockOut(BaseModel):
    residual: float = Field(description="length of what comes in, mean over tokens")
    attention: float = Field(description="of what self-attention adds")
    feed_forward: float = Field(description="of what the feed-forward network adds")
    token_std: tuple[float, float] = Field(description="of a token's dimensions; after layer norm")
    dimension_std: tuple[float, float] = Field(description="over tokens; after batch norm")


class BlocksAnswer(BaseModel):
    model: str
    text: str
    tokens: list[TokenOut]
    layers: list[BlockOut]


class GradientsAnswer(BaseModel):
    """The gradient's length at the input of each layer, the last one's 1."""

    depth: int
    width: int
    seed: int
    stacks: dict[str, list[float]] = Field(description="plain, norm, residual, residual_norm")


class CostOut(BaseModel):
    n: int
    n_number: int = Field(description="attention weights: H T T")
    seconds: float = Field(description="equation 1 written out")
    bytes: int = Field(description="most held at a time, by PyTorch's allocator, beside q, k, v")
    fused_seconds: float = Field(description="the same as one kernel, that keeps no weights")
    fused_bytes: int


class CostAnswer(BaseModel):
    """Measured when asked, on the server's machine: another time gives other numbers."""

    device: str
    threads: int
    n_head: int
    d: int
    sizes: list[CostOut]
    exponents: dict[str, float] = Field(
        description="p of value ~ T^p, fitted: seconds, bytes, fused_seconds, fused_bytes"
    )
    loop: dict[str, float] = Field(description="loop, product: seconds; error between them")
    n_loop: int


class HiddenAnswer(BaseModel):
    """The residual stream: hidden[0] at the embedding, hidden[i] after layer i - 1."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    sequence: str
    axes: list[str]
    shape: list[int]
    tokens: list[TokenOut] = Field(description="of the sequence, or of the word")
    hidden: list[Any] = Field(description="(L + 1, T, D), or (L + 1, D) of one word")
    provenance: Provenance


class UnitOut(BaseModel):
    text: str = Field(description="a word or mark of the text, or a special token")
    tokens: list[int] = Field(description="the tokens it is made of")
    special: bool


class SideOut(BaseModel):
    """One of the two runs."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    q_words: list[UnitOut]
    k_words: list[UnitOut]
    word: int = Field(description="which of q_words is looked at")
    occurrence: int
    n_occurrence: int
    provenance: Provenance


class Near(BaseModel):
    text: str
    sentence: str
    sense: str = Field(description="of a reference sentence; empty for a word of the two texts")
    cosine: float


class References(BaseModel):
    """The word in sentences where its sense is known; mean cosines, layer by layer."""

    source: str
    n: dict[str, int] = Field(description="sentences of each sense")
    within: dict[str, list[float]] = Field(description="between sentences of one sense")
    between: list[float] = Field(description="between sentences of different senses")
    a: dict[str, list[float]] = Field(description="A's word with the sentences of each sense")
    b: dict[str, list[float]]


class RankedHead(BaseModel):
    layer: int
    head: int
    divergence: float
    aligned: float
    a: str = Field(description="the word that A looks at most there, and how much")
    attn_a: float
    b: str
    attn_b: float


class CompareAnswer(BaseModel):
    a: SideOut
    b: SideOut
    alignment: list[tuple[int, int]] = Field(description="pairs of k_words of A and B")
    similarity: list[float] | None = Field(
        description="cosine of the word's hidden states, from the embedding on; null for two models"
    )
    references: References | None
    nearest_a: list[list[Near]] = Field(description="for each layer, the nearest words to A's")
    nearest_b: list[list[Near]]
    divergence: list[list[float]] = Field(
        description="(L, H): Jensen-Shannon, in nats, over all words; one without a partner counts"
    )
    divergence_aligned: list[list[float]] = Field(
        description="(L, H): over aligned words alone, their shares made to sum to 1"
    )
    unaligned_a: list[list[float]] = Field(description="(L, H): attention to words without partner")
    unaligned_b: list[list[float]]
    ranked: list[RankedHead] = Field(description="the heads that differ most first")
    layer: int
    head: int
    row_a: list[float] = Field(description="the word's attention to k_words of A, in that head")
    row_b: list[float]
    difference: list[list[float]] | None = Field(
        description="A minus B between aligned words, queries by keys; null across two sequences"
    )


class Example(BaseModel):
    label: str
    model: str
    text: str
    text_pair: str | None = None


class Limits(BaseModel):
    max_characters: int


class Top(BaseModel):
    query: int
    key: int
    attn: float


class Content(BaseModel):
    """What a page shows, and what it says when it cannot."""

    ignored: list[FieldError] = []
    problem: Problem | None = None


class ModelsPage(Content):
    models: list[ModelSummary]
    ready_to_open: list[str] = Field(description="opened when they are asked for by name")
    headlines: dict[str, str] = Field(description="model -> the measure it is best known by")
    missing: dict[str, str] = Field(description="models that could not be loaded, and why")


class Forming(BaseModel):
    """The heads of one kind by one metric at one step of training."""

    step: int
    tokens: int
    scores: list[list[float]] = Field(description="(L, H)")
    layer: int = Field(description="of the head that scores highest")
    head: int
    score: float


class ModelPage(Content):
    name: str
    card: ModelCard | None = None
    places: dict[str, str] = Field({}, description="measure -> its head, in the explorer")
    kind: str = ""
    metric: str = ""
    metrics: list[str] = Field([], description="those the heads' scores are known by")
    forming: list[Forming] = []


class CompareExample(BaseModel):
    label: str
    model: str
    text: str
    text_b: str
    word: str
    model_b: str | None = None
    word_b: str | None = None
    off: str = ""


class ComparePage(Content):
    models: list[ModelSummary]
    examples: list[CompareExample]
    model: str
    text: str
    model_b: str
    text_b: str
    word: str
    word_b: str | None
    off: str = Field(description="a head of B that is switched off: layer.head")
    kind: str
    comparison: CompareAnswer | None


class PositionsPage(Content):
    models: list[ModelSummary] = Field(description="those that have position vectors")
    others: list[ModelSummary] = Field(description="those that know positions in another way")
    model: str
    n_positions: int
    d_model: int
    base: float
    measure: str
    shift: int
    dimension: int
    position: int
    text: str
    text_b: str
    shift_error: float | None = None
    embedding: EmbeddingAnswer | None = None
    permutation: PermutationAnswer | None = None


class MasksPage(Content):
    models: list[ModelSummary] = Field(description="those that have masks")
    model: str
    texts: list[str]
    kind: str
    layer: int
    head: int
    row: int = Field(description="which of the texts is drawn")
    off: list[str]
    fill: float | None
    precision: str
    fills: FillsOut | None = None
    leak: float | None = None
    losses: dict[str, float] = {}
    pad: str = ""
    q_tokens: list[list[TokenOut]] = []
    rows: list[list[int]] = Field([], description="the ids, padding included")
    row_sums: list[float] = Field([], description="of the text that is drawn")


class ArithmeticPage(Content):
    models: list[ModelSummary]
    model: str
    text: str
    word: int = Field(description="the query: index of its token")
    layer: int
    head: int
    d_k: int
    depth: int
    scaling: ScalingAnswer | None = None
    heads: HeadPartsAnswer | None = None
    blocks: BlocksAnswer | None = None
    gradients: GradientsAnswer | None = None


class ExplorePage(Content):
    ready_to_open: list[str] = Field(description="models that are opened when they are chosen")
    opens: bool = Field(description="whether the page may open models by name")
    models: list[ModelSummary]
    examples: list[Example]
    limits: Limits
    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layer: int
    head: int
    query: int | None = Field(description="index of the locked token, on the side it is of")
    side: str
    view: str
    special: str
    merge: str
    run: RunAnswer | None
    q_tokens: list[TokenOut] = Field(description="of the head shown: pieces or words")
    k_tokens: list[TokenOut]
    top: list[Top]
