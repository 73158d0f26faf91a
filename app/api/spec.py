"""What requests are made of: the run spec, edits, and the types of their fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import GroupedMetadata, MaxLen
from attention_atlas.model.messages import Message
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

KindName = Literal["encoder", "decoder", "cross"]
TENSOR_FORMATS = ("json", "safetensors", "npz")
TensorFormat = Annotated[
    Literal["json", "safetensors", "npz"] | None,
    Field(description="left out, the Accept header decides"),
]
OneKind = Annotated[KindName | None, Field(description="the family's first if left out")]
LONGEST_ROW = 8192  # numbers of one row of attention
MOST_FIELDS = 100  # of one object in a request
SURROGATE = re.compile("[\ud800-\udfff]")
NUMBERS = r"-?[0-9]{1,9}( *, *-?[0-9]{1,9})*"  # by comma
PAIRS = r"[0-9]{1,4}-[0-9]{1,4}(,[0-9]{1,4}-[0-9]{1,4})*"  # 0-0,2-1
NO_NUL = r"^[^\x00]*$"
SETTING = "x-setting"  # in a schema: which setting limits the text; openapi.py writes the limit
BANK = "He sat on the river bank and watched the water."
MONEY = "She opened an account at the bank to save money."


def clean(text: str) -> str:
    """A text that can be tokenised and sent back: no NUL, no half of a surrogate pair."""
    for name, found in (
        ("a NUL byte", text.find("\0")),
        ("half of a surrogate pair", _surrogate(text)),
    ):
        if found >= 0:
            raise ValueError(
                Message(
                    "character-not-allowed",
                    "the text holds {name} at character {found}; remove it",
                    name=name,
                    found=found,
                )
            )
    return text


def _surrogate(text: str) -> int:
    match = SURROGATE.search(text)
    return match.start() if match else -1


def few(value: object) -> object:
    """An object with no more fields than any request has; each unknown one would be an error."""
    if isinstance(value, Mapping) and len(value) > MOST_FIELDS:
        raise ValueError(
            Message("too-many-fields", "may have at most {limit} fields", limit=MOST_FIELDS)
        )
    return value


def at_most(limit: int) -> BeforeValidator:
    """Refuse a longer list before its items are validated: each could be an error of its own."""

    def check(value: object) -> object:
        if isinstance(value, list | tuple) and len(value) > limit:
            raise ValueError(
                Message("too-many", "may have at most {limit} items", limit=limit, value=len(value))
            )
        return value

    return BeforeValidator(check)


@dataclass(frozen=True)
class JsonList(GroupedMetadata):
    """A list of at most so many items, in a query string as JSON; the first error ends it."""

    most: int

    def __iter__(self) -> Iterator[object]:
        yield MaxLen(self.most)
        yield FailFast()
        yield at_most(self.most)
        yield BeforeValidator(from_json)


def listed(value: object) -> object:
    """A number, a list, or numbers by comma: 3, [3, 5], "3,5" -> (3, 5)."""
    if isinstance(value, str):
        if not re.fullmatch(NUMBERS, value):
            raise ValueError(
                Message(
                    "not-a-list-of-numbers",
                    "{value!r} is not a number or numbers by comma",
                    value=value[:40],
                )
            )
        return tuple(int(part) for part in value.split(","))
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


def whole(value: object) -> object:
    """A whole number of JSON, where 3.0 is 3: no text, no boolean."""
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


def once(indices: tuple[int, ...]) -> tuple[int, ...]:
    """Each index once, so that the size of an answer is bounded by the model's."""
    if len(set(indices)) < len(indices):
        raise ValueError(Message("number-repeated", "a number is named more than once"))
    return indices


def from_json(value: object) -> object:
    """In a query string, edits are JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(Message("not-json", "in a query string this field is JSON")) from None
    return value


def spanning(span: str) -> WrapValidator:
    """Name both limits of a field in its error, not only the one that was crossed."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError as error:
            if error.errors()[0]["loc"]:  # something inside
                raise
            raise ValueError(
                Message("out-of-range", "must be {limit}", limit=Message("span", span))
            ) from None

    return WrapValidator(check)


LIMITED: dict[str, Any] = {"pattern": NO_NUL, SETTING: "max_characters"}
Text = Annotated[str, AfterValidator(clean), Field(json_schema_extra=LIMITED)]
Language = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(clean)]
LONGEST_WORD = 100
WordText = Annotated[str, Field(min_length=1, max_length=LONGEST_WORD), AfterValidator(clean)]
Whole = Annotated[int, BeforeValidator(whole)]
Index = Annotated[Whole, Field(ge=0)]
ByComma = Annotated[str, Field(pattern=f"^{NUMBERS}$")]
EachOnce = Annotated[
    tuple[int, ...],
    Field(min_length=1, max_length=1000, json_schema_extra={"uniqueItems": True}),
]
Indices = Annotated[
    tuple[Whole, ...],
    Field(min_length=1, max_length=1000, fail_fast=True),
    at_most(1000),
    BeforeValidator(listed, json_schema_input_type=EachOnce | int | ByComma),
    AfterValidator(once),
]
ManyIds = Annotated[tuple[Index, ...], Field(max_length=4096)]
Ids = Annotated[
    tuple[Index, ...],
    Field(max_length=4096, fail_fast=True),
    at_most(4096),
    BeforeValidator(listed, json_schema_input_type=ManyIds | Index | ByComma),
]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Closed(BaseModel):
    """A model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        return few(value)


@cache
def scalar(model: type[BaseModel], field: str) -> type | None:
    """bool, int or float, if that is what a field holds."""
    annotation = model.model_fields[field].annotation
    types = [kind for kind in (annotation, *get_args(annotation)) if kind in (bool, int, float)]
    return types[0] if len(types) == 1 else None


def of_type(kind: type | None, value: object) -> object:
    """The value, if its type in JSON is that of the field: true is no 1, and "3" no number.

    Raises PydanticKnownError.
    """
    if kind is bool and value is not None and not isinstance(value, bool):
        raise PydanticKnownError("bool_type")
    if kind in (int, float) and isinstance(value, bool | str):
        raise PydanticKnownError("int_type" if kind is int else "float_type")
    return value


With = Literal["zero", "mean", "none", "shuffle"]
WITH: dict[str, tuple[With, With]] = {  # the first if left out
    "ablate": ("zero", "mean"),
    "positions": ("none", "shuffle"),
}


def of_op(schema: dict[str, Any]) -> None:
    """What goes with each op, in the schema: EditSpec._goes_together checks the same."""
    ops = get_args(EditSpec.model_fields["op"].annotation)
    rules: list[tuple[str, dict[str, Any]]] = [
        (op, {"with": {"enum": [*WITH.get(op, ()), None]}}) for op in ops
    ]
    rules += [(op, {"row": {"maxItems": 0}}) for op in ops if op != "set"]
    rules += [("positions", {"layer": {"type": "null"}, "head": {"type": "null"}})]
    schema["allOf"] = [
        {"if": {"properties": {"op": {"const": op}}}, "then": {"properties": fields}}
        for op, fields in rules
    ]


class EditSpec(Closed):
    """One change inside the forward pass; `kind`, `layer`, `head` left out mean all."""

    model_config = ConfigDict(json_schema_extra=of_op)

    op: Literal["ablate", "block", "unmask", "set", "scale", "positions"]
    kind: KindName | None = None
    layer: int | None = None
    head: int | None = None
    query: int | None = Field(None, ge=0, description="block, set: index of the query token")
    key: int | None = Field(None, ge=0, description="block: index of the key token")
    row: Annotated[
        tuple[Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)], ...],
        Field(max_length=LONGEST_ROW, fail_fast=True),
        at_most(LONGEST_ROW),
    ] = Field((), description="set: the query's new attention, normalised")
    by: float = Field(1.0, allow_inf_nan=False, description="scale: what scores are multiplied by")
    with_: With | None = Field(
        None, alias="with", description="ablate: zero or mean; positions: none or shuffle"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="positions: of the shuffle")

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_type(cls, value: object, info: ValidationInfo) -> object:
        return of_type(scalar(cls, info.field_name or ""), value)

    @model_validator(mode="after")
    def _goes_together(self) -> EditSpec:
        """Check `with` and `row` against the op, and that positions name no layer and no head."""
        allowed = WITH.get(self.op, ())
        if self.with_ not in (None, *allowed):
            there = ", ".join(allowed) or "–"
            raise ValueError(
                Message(
                    "not-for-this-edit",
                    "with={with_} is not for {op}, which takes {there}",
                    with_=self.with_,
                    op=self.op,
                    there=there,
                )
            )
        if self.row and self.op != "set":
            raise ValueError(Message("row-is-for-set", "row is for set, not for {op}", op=self.op))
        if self.op == "positions" and (self.layer, self.head) != (None, None):
            raise ValueError(
                Message(
                    "positions-have-no-layer",
                    "positions are added once, before the layers: no layer, no head",
                )
            )
        return self


Edits = Annotated[
    tuple[EditSpec, ...], Field(max_length=64), at_most(64), BeforeValidator(from_json)
]


class ApiRequest(Closed):
    """The request of a resource: its fields, its formats, and the models its answer depends on."""

    formats: ClassVar[tuple[str, ...]] = ("json",)

    def models(self) -> tuple[str, ...]:
        return ()


def texts_in(request: ApiRequest) -> Iterator[tuple[str, str]]:
    """Each text of a request by its field's name: their length is limited."""
    for name, value in request:
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, ApiRequest):
                yield from texts_in(item)
            elif isinstance(item, str):
                yield name, item


class ModelRequest(ApiRequest):
    """The request of a resource that one model answers."""

    model: str = Field(description="a name from /models", examples=["bert"])

    def models(self) -> tuple[str, ...]:
        return (self.model,)


class TextRequest(ModelRequest):
    text: Text = Field(description="the text", examples=[BANK])
    text_pair: Text | None = Field(None, description="BERT's second sentence")


class TokenizeRequest(TextRequest):
    source_lang: Language | None = Field(
        None, description="the text's language, by a code of the model's `languages`"
    )
    target_lang: Language | None = Field(None, description="the language of its translation")


class RunRequest(TokenizeRequest):
    """The run spec: the input of one forward pass."""

    target: Text | None = Field(
        None, description="the decoder's text; by default it is decoded greedily"
    )
    target_ids: Ids = Field(
        (),
        description="the target's token ids, as /translate returned them",
    )
    edits: Edits = Field((), description="changes inside the forward pass; JSON in a query string")


NBest = Annotated[int, Field(ge=1, le=100, description="candidates at each position")]


class StreamRequest(ApiRequest):
    """A request whose answer can be streamed step by step."""

    stream: bool = Field(False, description="server-sent events as they come; `result` is the last")
