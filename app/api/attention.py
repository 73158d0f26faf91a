"""The REST API under /api/v1: each resource one function. The contract is API.md's."""

from __future__ import annotations

from typing import Any

from attention_atlas.app import wire
from attention_atlas.app.api import arithmetic
from attention_atlas.app.api.common import (
    PREFIX,
    attention_fields,
    attention_record,
    input_fields,
    labels,
    run_answer,
)
from attention_atlas.app.api.compare import compare_answer
from attention_atlas.app.api.decoding import (
    CorruptionAnswer,
    CorruptionRequest,
    FewShotAnswer,
    FewShotRequest,
    FillMaskAnswer,
    FillMaskRequest,
    GenerateAnswer,
    GenerateRequest,
    NextSentenceAnswer,
    NextSentenceRequest,
    NextTokenAnswer,
    NextTokenRequest,
    TranslateAnswer,
    TranslateRequest,
)
from attention_atlas.app.api.generate import (
    corruption_answer,
    few_shot_answer,
    fill_mask_answer,
    generate_answer,
    next_sentence_answer,
    next_token_answer,
    translate_answer,
)
from attention_atlas.app.api.masks import masks_answer
from attention_atlas.app.api.opening import EVENTS, check_sender, opening
from attention_atlas.app.api.positions import embedding_answer, permutation_answer, positions_answer
from attention_atlas.app.api.resource import PROBLEMS, resource
from attention_atlas.app.api.spec import (
    AnatomyAnswer,
    AnatomyRequest,
    AttentionAnswer,
    AttentionRequest,
    BlocksAnswer,
    CompareAnswer,
    CompareRequest,
    CostAnswer,
    CostRequest,
    EmbeddingAnswer,
    EmbeddingRequest,
    GradientsAnswer,
    GradientsRequest,
    HeadPartsAnswer,
    HiddenAnswer,
    HiddenRequest,
    LayerRequest,
    MasksAnswer,
    MasksRequest,
    MetricsAnswer,
    MetricsRequest,
    ModelCard,
    Models,
    OpenRequest,
    OverviewAnswer,
    OverviewRequest,
    PermutationAnswer,
    PermutationRequest,
    PositionsAnswer,
    PositionsRequest,
    RunAnswer,
    RunRequest,
    ScalingAnswer,
    ScalingRequest,
    Tokenized,
    TokenizeRequest,
)
from attention_atlas.app.service import Service, refusing
from attention_atlas.app.streaming import Emit, stepwise
from attention_atlas.app.wire import Answer
from attention_atlas.model import metrics, reductions
from attention_atlas.model.analysis.compare import pieces, side, word_states
from attention_atlas.model.record import AttentionRecord, Part, Sketch, axes
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

router = APIRouter(prefix=PREFIX, tags=["API"])
OPENING: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENTS: {}}, "description": "progress; at last done, or problem"},
    **{status: PROBLEMS[status] for status in (403, 422, 503)},
}


@router.get("/models")
def models(request: Request) -> Models:
    """The models there are."""
    service: Service = request.app.state.service
    return Models(models=service.summaries(), ready_to_open=service.library.ready_to_open)


@router.post("/models", response_class=StreamingResponse, responses=OPENING)
async def open_model(request: Request, asked: OpenRequest) -> StreamingResponse:
    """Open a model of the Hub or of a folder: events `progress`, then `done` or `problem`."""
    service: Service = request.app.state.service
    check_sender(request, service)
    return await opening(service, asked.model)


@router.get("/models/{model:path}", responses={404: PROBLEMS[404]})
async def model_card(request: Request, model: str) -> ModelCard:
    """One model, and its card: data, licences, training curve, evaluation, parameter shapes."""
    service: Service = request.app.state.service
    await service.ready(model)
    return service.card(model)


@resource(router, "/tokenize", TokenizeRequest, Tokenized)
def tokenize(service: Service, asked: TokenizeRequest) -> Answer:
    """The text as the model sees it: id, spelling, character span and word of each token."""
    fields = {
        "model": asked.model,
        "text": asked.text,
        "text_pair": asked.text_pair,
        "tokens": labels(service.tokens(asked)),
        "n_ctx": service.card(asked.model).n_ctx,
    }
    return Answer(fields, {})


@resource(router, "/run", RunRequest, RunAnswer)
def run(service: Service, asked: RunRequest) -> Answer:
    """One forward pass: tokens, the shapes of its attention, what the model predicts."""
    return Answer(run_answer(service, asked).model_dump(), {})


@resource(router, "/attention", AttentionRequest, AttentionAnswer)
def attention(service: Service, asked: AttentionRequest) -> Answer:
    """Attention of one kind, attn[layer][head][query][key]; a masked place is 0, a score null."""
    run, record = attention_record(service, asked)
    chosen = {"quantity", "reduce", "merge", "special", "dtype"}
    fields = {
        **attention_fields(service, asked, run, record),
        **asked.model_dump(include=chosen),
    }
    attn = wire.QUANTIZE[asked.dtype](record.attn.numpy())
    return Answer(fields, {"attn": attn, "mask": record.mask.numpy()})


@resource(router, "/attention/overview", OverviewRequest, OverviewAnswer)
def overview(service: Service, asked: OverviewRequest) -> Answer:
    """Every layer and head as a small uint8 picture: the first thing to draw."""
    record: AttentionRecord | Sketch
    if service.is_long(asked):
        run, record = service.sketch(asked, asked.kind, asked.size)
        attn, mask, block = record.attn, record.mask, record.block
    else:
        service.run(asked)  # of everything: the heads that are looked at next are then cached
        run, record = service.record(asked, Part(kind=asked.kind))
        attn, mask, block = reductions.thumbnails(record, asked.size)
    fields = {
        **attention_fields(service, asked, run, record),
        "shape": list(attn.shape),
        "block": list(block),
        "n_kv_head": service.groups(asked.model, record.kind),
        "dtype": "uint8",
    }
    return Answer(fields, {"attn": wire.QUANTIZE["uint8"](attn.numpy()), "mask": mask.numpy()})


@resource(router, "/metrics", MetricsRequest, MetricsAnswer)
def head_metrics(service: Service, asked: MetricsRequest) -> Answer:
    """One number per head, of each metric that has a meaning for this kind, and its definition."""
    record: AttentionRecord | Sketch
    if service.is_long(asked):
        run, record = service.sketch(asked, asked.kind, 0)
        measured = record.metrics
    else:
        service.run(asked)
        run, record = service.record(asked, Part(kind=asked.kind))
        measured = metrics.measured(record)
    found = {name: scores.numpy() for name, scores in measured.items()}
    definitions = metrics.definitions()
    fields = {
        **input_fields(asked, run),
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head"],
        "definitions": {name: definitions[name] for name in found},
        "provenance": service.provenance(asked.model).model_dump(),
    }
    return Answer(fields, found, "metrics")


@resource(router, "/anatomy", AnatomyRequest, AnatomyAnswer)
def head_anatomy(service: Service, asked: AnatomyRequest) -> Answer:
    """One head, one query token: q, k, products, dots, scores, attn, v and the output z."""
    run, found = service.anatomy(asked)
    fields = {
        **input_fields(asked, run),
        "kind": found.kind,
        "layer": found.layer,
        "head": found.head,
        "query": found.query,
        "q_tokens": labels(found.q_tokens),
        "k_tokens": labels(found.k_tokens),
        "score": found.score,
        "scale": found.scale,
        "softcap": found.softcap,
        "rotated": found.rotated,
        "provenance": service.provenance(asked.model).model_dump(),
    }
    return Answer(fields, {name: tensor.numpy() for name, tensor in found.tensors().items()})


@resource(router, "/hidden-states", HiddenRequest, HiddenAnswer)
def hidden(service: Service, asked: HiddenRequest) -> Answer:
    """The residual stream at the embedding and after each layer, of all tokens or of one word."""
    states = service.hidden(asked, asked.sequence)
    run = service.run(asked)
    tokens = list(run.sequences[asked.sequence])
    if asked.word is not None:
        kind = next(k for k in run.records if axes(k, run.sequences)[0] == asked.sequence)
        with refusing():
            found = side(run, run.records[kind], asked.word, asked.occurrence)
        tokens = [tokens[i] for i in pieces(found)]
        states = word_states(states, pieces(found))
    fields = {
        **input_fields(asked, run),
        "sequence": asked.sequence,
        "axes": ["layer", "token", "dimension"] if asked.word is None else ["layer", "dimension"],
        "shape": list(states.shape),
        "tokens": labels(tuple(tokens)),
        "provenance": service.provenance(asked.model).model_dump(),
    }
    return Answer(fields, {"hidden": states.numpy()})


@resource(router, "/compare", CompareRequest, CompareAnswer)
def compare(service: Service, asked: CompareRequest) -> Answer:
    """A word in two runs: its hidden states by layer, the heads in which it looks elsewhere."""
    return Answer(compare_answer(service, asked).model_dump(), {})


@resource(router, "/positions", PositionsRequest, PositionsAnswer)
def positions(service: Service, asked: PositionsRequest) -> Answer:
    """Position encodings, sinusoidal by their sizes or a model's: how alike two positions are."""
    return positions_answer(service, asked)


@resource(router, "/embedding", EmbeddingRequest, EmbeddingAnswer)
def embedding(service: Service, asked: EmbeddingRequest) -> Answer:
    """Word + position + segment = input, token by token, as lengths of vectors."""
    return embedding_answer(service, asked)


@resource(router, "/permutation", PermutationRequest, PermutationAnswer)
def permutation(service: Service, asked: PermutationRequest) -> Answer:
    """The same words in two orders: without positions, the same vectors in that order."""
    return permutation_answer(service, asked)


@resource(router, "/masks", MasksRequest, MasksAnswer)
def masks(service: Service, asked: MasksRequest) -> Answer:
    """Texts padded into one batch: their masks, and a head's scores before and after."""
    return masks_answer(service, asked)


@resource(router, "/arithmetic/scaling", ScalingRequest, ScalingAnswer)
def scaling(service: Service, asked: ScalingRequest) -> Answer:
    """Why scores are divided by sqrt(d): variance, entropy and gradient by width, measured."""
    return arithmetic.scaling_answer(asked)


@resource(router, "/arithmetic/heads", LayerRequest, HeadPartsAnswer)
def head_parts(service: Service, asked: LayerRequest) -> Answer:
    """What each head adds to a layer's attention output, token by token."""
    return arithmetic.heads_answer(service, asked)


@resource(router, "/arithmetic/blocks", TokenizeRequest, BlocksAnswer)
def blocks(service: Service, asked: TokenizeRequest) -> Answer:
    """Residual stream, updates, and what layer norm and batch norm average over, by layer."""
    return arithmetic.blocks_answer(service, asked)


@resource(router, "/arithmetic/gradients", GradientsRequest, GradientsAnswer)
def gradients(service: Service, asked: GradientsRequest) -> Answer:
    """The gradient through a deep stack, with and without residuals and norms."""
    return arithmetic.gradients_answer(asked)


@resource(router, "/arithmetic/cost", CostRequest, CostAnswer)
def cost(service: Service, asked: CostRequest) -> Answer:
    """Attention's time and memory by the number of tokens, measured when asked."""
    return arithmetic.cost_answer(service, asked)


@stepwise(router, "/translate", TranslateRequest, TranslateAnswer)
def translate(service: Service, asked: TranslateRequest, emit: Emit) -> Answer:
    """A translation, greedy or by beam, token by token; a reference read by teacher forcing."""
    return translate_answer(service, asked, emit)


@stepwise(router, "/generate", GenerateRequest, GenerateAnswer)
def generate(service: Service, asked: GenerateRequest, emit: Emit) -> Answer:
    """A continuation, token by token, and what each filter leaves of each distribution."""
    return generate_answer(service, asked, emit)


@resource(router, "/next-token", NextTokenRequest, NextTokenAnswer)
def next_token(service: Service, asked: NextTokenRequest) -> Answer:
    """The distribution after a text, and how sure the model was of each of its tokens."""
    return next_token_answer(service, asked)


@resource(router, "/fill-mask", FillMaskRequest, FillMaskAnswer)
def fill_mask(service: Service, asked: FillMaskRequest) -> Answer:
    """What the model would write for each [MASK]."""
    return fill_mask_answer(service, asked)


@resource(router, "/next-sentence", NextSentenceRequest, NextSentenceAnswer)
def next_sentence(service: Service, asked: NextSentenceRequest) -> Answer:
    """The probability that a sentence follows another."""
    return next_sentence_answer(service, asked)


@resource(router, "/corruption", CorruptionRequest, CorruptionAnswer)
def corruption(service: Service, asked: CorruptionRequest) -> Answer:
    """BERT's training noise on a text: 15 % chosen, most of them hidden, and the loss there."""
    return corruption_answer(service, asked)


@stepwise(router, "/few-shot", FewShotRequest, FewShotAnswer)
def measure_few_shot(service: Service, asked: FewShotRequest, emit: Emit) -> Answer:
    """A pattern's accuracy by the number of examples in the prompt, and the heads that carry it."""
    return few_shot_answer(service, asked, emit)
