"""What models at work are asked, and what they answer: API.md's names."""

from __future__ import annotations

from typing import Annotated, Literal

from attention_atlas.app.api.spec import (
    Asked,
    Content,
    Edits,
    Ids,
    Indices,
    KindShape,
    Measured,
    ModelSummary,
    Provenance,
    Seed,
    Text,
    TokenizeRequest,
    TokenOut,
)
from pydantic import BaseModel, Field

NBest = Annotated[int, Field(ge=1, le=100, description="candidates of each place")]


class Stepwise(Asked):
    """What is answered step by step, or whole."""

    model: str = Field(description="a name from /models")
    stream: bool = Field(False, description="server-sent events as they come; `result` is the last")

    def models(self) -> tuple[str, ...]:
        return (self.model,)


class Decoding(Stepwise):
    """A text to go on from, token by token."""

    text: Text = Field(description="the text", examples=["El banco está cerrado."])
    edits: Edits = Field((), description="changes inside every forward pass")
    head: int | None = Field(
        None, ge=0, description="whose rows are given, in every layer; left out, the mean of heads"
    )


class TranslateRequest(Decoding):
    num_beams: int = Field(1, ge=1, le=8, description="hypotheses kept; 1 is greedy")
    length_penalty: float = Field(
        1.0, ge=0, le=5, description="score = log-probability / length ** length_penalty"
    )
    max_new_tokens: int | None = Field(None, ge=1, description="all that the model takes")
    reference: Text | None = Field(None, description="a translation to be read: teacher forcing")
    top: NBest = 5


class GenerateRequest(Decoding):
    max_new_tokens: int = Field(40, ge=1, description="the prompt and these must fit in n_ctx")
    temperature: float = Field(1.0, ge=0, le=10, description="0 takes the most probable token")
    top_k: int = Field(0, ge=0, description="only the k most probable; 0 keeps all")
    top_p: float = Field(1.0, gt=0, le=1, description="only the fewest that reach this share")
    seed: Seed = Field(0, description="of the draws")
    forced: Ids = Field((), description="ids that the continuation begins with: another branch")
    top: NBest = 10


class NextTokenRequest(TokenizeRequest):
    edits: Edits = Field((), description="changes inside the forward pass; JSON in a query string")
    top: NBest = 10


class FillMaskRequest(NextTokenRequest):
    words: Indices | None = Field(
        None, description="words of `text` to hide, by the number that their tokens have"
    )
    words_pair: Indices | None = Field(None, description="the same of `text_pair`")


class NextSentenceRequest(TokenizeRequest):
    text_pair: Text = Field(description="the sentence that may follow")


class CorruptionRequest(TokenizeRequest):
    seed: Seed = Field(0, description="of the choice")
    top: NBest = 5


PatternName = Literal["pairs", "list", "copy", "signs"]


class FewShotRequest(Stepwise):
    """A pattern that a decoder picks up from examples, measured over many prompts."""

    pattern: PatternName = "pairs"
    n_max: int = Field(4, ge=0, le=8, description="most examples")
    n_prompt: int = Field(32, ge=2, le=128, description="random prompts for each number of them")
    seed: Seed = 0


class CandidateOut(BaseModel):
    """A token that might be said, and what each filter leaves of its probability."""

    id: int
    token: str = Field(description="as the vocabulary spells it")
    text: str
    logit: float
    probability: float = Field(description="the model's own, before any filter")
    temperature: float | None = Field(None, description="after the temperature")
    top_k: float | None = Field(None, description="and after top_k; 0 if it is out")
    top_p: float | None = Field(None, description="and after top_p: what is drawn from")


class SaidOut(BaseModel):
    """One token as it was decoded."""

    token: TokenOut
    log_probability: float = Field(description="in the model's own distribution")
    probability: float = Field(description="in the distribution it was drawn from")
    entropy: float = Field(description="of the model's own distribution, in nats")
    rank: int = Field(description="0: the most probable")
    forced: bool = Field(description="it was given, not chosen")
    n_kept: dict[str, int] = Field(description="generate: tokens that each filter leaves")
    candidates: list[CandidateOut]


class NodeOut(BaseModel):
    """A hypothesis of a beam as it grows by one token."""

    id: int
    parent: int | None
    step: int
    token: TokenOut
    log_probability: float = Field(description="of the token")
    total: float = Field(description="of the hypothesis so far")
    ended: bool


class HypothesisOut(BaseModel):
    text: str
    score: float = Field(description="log_probability / length ** length_penalty")
    log_probability: float


class ReferenceOut(BaseModel):
    """A translation that was typed, read by teacher forcing."""

    text: str
    log_probability: float
    steps: list[SaidOut]


class TranslateAnswer(BaseModel):
    model: str
    text: str
    num_beams: int
    length_penalty: float
    target: str
    finished: bool = Field(description="it ends with </s>; else the limit cut it off")
    tokens: list[TokenOut] = Field(description="of the target, </s> included, <s> not")
    log_probabilities: list[float]
    log_probability: float = Field(description="their sum")
    steps: list[SaidOut]
    hypotheses: list[HypothesisOut] = Field(description="the best first")
    tree: list[NodeOut] = Field(description="of the beam; empty if num_beams is 1")
    reference: ReferenceOut | None
    sequences: dict[str, list[TokenOut]] = Field(description="source and target as /run has them")
    kinds: list[KindShape]
    provenance: Provenance
    links: dict[str, str]


class GenerateAnswer(BaseModel):
    model: str
    text: str
    continuation: str
    finished: str = Field(description="end: of the text; length: max_new_tokens")
    prompt: list[TokenOut]
    tokens: list[TokenOut] = Field(description="new ones, with their spans in the continuation")
    log_probabilities: list[float]
    steps: list[SaidOut]
    provenance: Provenance
    links: dict[str, str]


class NextTokenAnswer(BaseModel):
    """What comes after a text, and how each of its tokens looked to the model before it came."""

    model: str
    text: str
    candidates: list[CandidateOut]
    entropy: float = Field(description="of the distribution after the text, in nats")
    tokens: list[TokenOut]
    log_probabilities: list[float | None] = Field(description="null for the first token")
    entropies: list[float | None] = Field(description="of the distribution before each token")
    ranks: list[int | None] = Field(description="0: it was the most probable")
    provenance: Provenance


class MaskOut(BaseModel):
    position: int
    entropy: float = Field(description="in nats")
    candidates: list[CandidateOut]


class FillMaskAnswer(BaseModel):
    model: str
    text: str
    text_pair: str | None
    masked: str = Field(description="the text as the model reads it")
    masked_pair: str | None = Field(description="and the second one")
    tokens: list[TokenOut] = Field(description="of these")
    words: list[int | None] = Field(
        description="of each token, which word of the text as it was asked for it is"
    )
    masks: list[MaskOut]
    provenance: Provenance


class NextSentenceAnswer(BaseModel):
    model: str
    text: str
    text_pair: str
    is_next: float = Field(description="probability that text_pair follows text")
    swapped: float = Field(description="that text follows text_pair")
    provenance: Provenance


class CorruptedOut(BaseModel):
    position: int
    fate: str = Field(description="masked, replaced (by a random token) or kept")
    shown: str = Field(description="what the model reads there")
    probability: float = Field(description="of the right token")
    loss: float = Field(description="its negative log-probability, in nats")
    candidates: list[CandidateOut]


class CorruptionAnswer(BaseModel):
    """A text as BERT sees it in training."""

    model: str
    text: str
    text_pair: str | None
    seed: int
    tokens: list[TokenOut] = Field(description="as they are without noise")
    chosen: list[CorruptedOut]
    loss: float | None = Field(
        description="mean over the chosen places: what training lowers; null if there is none"
    )
    provenance: Provenance


class HeadOut(BaseModel):
    layer: int
    head: int


class ShotOut(BaseModel):
    """Accuracy with n examples in the prompt, by which heads are switched off."""

    n: int
    accuracy: dict[str, Measured]
    prompt: str = Field(description="one of the prompts")
    answer: str = Field(description="what is to follow it")


class FewShotAnswer(BaseModel):
    model: str
    pattern: str
    definition: str
    n_prompt: int
    seed: int
    off: dict[str, list[HeadOut]] = Field(description="none, induction, previous_token, others")
    scores: dict[str, list[list[float]]] = Field(description="(L, H), on random tokens said twice")
    definitions: dict[str, str]
    shots: list[ShotOut]
    provenance: Provenance


class WorkExample(BaseModel):
    label: str
    model: str
    text: str
    text_pair: str | None = None
    words: str = Field("", description="fill: numbers of the words to hide, by comma")


class TranslatePage(Content):
    models: list[ModelSummary] = Field(description="those that translate")
    examples: list[WorkExample]
    model: str
    model_b: str = Field(description="the one beside it; empty for none")
    text: str
    num_beams: int
    length_penalty: float
    reference: str
    layer: int
    head: int | None = Field(description="null is the mean of heads")
    step: int
    translation: TranslateAnswer | None = None
    other: TranslateAnswer | None = None


class GeneratePage(Content):
    models: list[ModelSummary] = Field(description="those that generate")
    examples: list[WorkExample]
    model: str
    text: str
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    forced: str
    step: int
    pattern: str
    patterns: dict[str, str] = Field(description="pattern -> what it is")
    n_max: int
    generation: GenerateAnswer | None = None


class FillPage(Content):
    models: list[ModelSummary] = Field(description="those that fill in blanks")
    examples: list[WorkExample]
    partners: list[str] = Field(description="sentences that follow nothing in particular")
    model: str
    text: str
    text_pair: str
    words: str
    words_pair: str
    layer: int
    head: int | None = Field(description="null is the mean of heads")
    seed: int
    filled: FillMaskAnswer | None = None
    next: NextSentenceAnswer | None = None
    corruption: CorruptionAnswer | None = None
