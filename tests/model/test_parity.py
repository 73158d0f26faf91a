"""Ours against PyTorch's and Hugging Face's, on random weights. Tolerance 1e-5 unless stated."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from attention_atlas.model.attention import Scoring, attend
from attention_atlas.model.checkpoint import from_hugging_face, to_hugging_face
from attention_atlas.model.generate import Beam, beam_search, generating, translating
from attention_atlas.model.languages import Frame
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.transformer import (
    GPT,
    Bert,
    Config,
    EncoderDecoder,
    MultiHeadAttention,
    Transformer,
)
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
)

EAGER = {"attn_implementation": "eager", "output_attentions": True}
NO_OP = Edit("scale", by=1.0)  # changes nothing, but needs the explicit path


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def randomised(model: nn.Module) -> nn.Module:
    """Biases and norms too, which start as 0 and 1; not what the model never learns."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.5)
    return model.eval()


def random_config(seed: int) -> Config:
    draw = random.Random(seed)
    n_head = draw.choice([1, 2, 3, 4])
    return Config(
        vocab_size=draw.randint(30, 60),
        n_ctx=draw.randint(12, 20),
        n_layer=draw.randint(1, 3),
        n_head=n_head,
        d_model=n_head * draw.choice([2, 4, 6]),
        d_ff=draw.randint(5, 40),
    )


def hugging_face_bert(c: Config) -> BertForPreTraining:
    return BertForPreTraining(
        BertConfig(
            vocab_size=c.vocab_size,
            hidden_size=c.d_model,
            num_hidden_layers=c.n_layer,
            num_attention_heads=c.n_head,
            intermediate_size=c.d_ff,
            max_position_embeddings=c.n_ctx,
            **EAGER,
        )
    )


def hugging_face_gpt(c: Config) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=c.vocab_size,
            n_embd=c.d_model,
            n_layer=c.n_layer,
            n_head=c.n_head,
            n_inner=c.d_ff,
            n_positions=c.n_ctx,
            bos_token_id=0,
            eos_token_id=0,
            **EAGER,
        )
    )


def hugging_face_marian(c: Config) -> MarianMTModel:
    model = MarianMTModel(
        MarianConfig(
            vocab_size=c.vocab_size,
            d_model=c.d_model,
            encoder_layers=c.n_layer,
            decoder_layers=c.n_layer,
            encoder_attention_heads=c.n_head,
            decoder_attention_heads=c.n_head,
            encoder_ffn_dim=c.d_ff,
            decoder_ffn_dim=c.d_ff,
            max_position_embeddings=c.n_ctx,
            activation_function="relu",
            scale_embedding=True,
            share_encoder_decoder_embeddings=True,
            pad_token_id=0,
            decoder_start_token_id=1,
            eos_token_id=2,
            **EAGER,
        )
    )
    # Marian's table has all sines, then all cosines; the paper's, and ours, takes turns.
    position = EncoderDecoder(c).get_buffer("position")
    model.model.encoder.embed_positions.weight.data.copy_(position)
    model.model.decoder.embed_positions.weight.data.copy_(position)
    return model


@dataclass(frozen=True)
class Pair:
    """One model twice, with the same weights."""

    config: Config
    ours: Transformer
    theirs: PreTrainedModel

    def ids(self, T: int) -> Tensor:
        return torch.randint(3, self.config.vocab_size, (2, T))


ARCHITECTURES = {
    "Bert": (Bert, hugging_face_bert),
    "GPT": (GPT, hugging_face_gpt),
    "EncoderDecoder": (EncoderDecoder, hugging_face_marian),
}


def make_pair(name: str, seed: int, direction: str) -> Pair:
    torch.manual_seed(seed)
    config = random_config(seed)
    make_ours, make_theirs = ARCHITECTURES[name]
    ours, theirs = randomised(make_ours(config)), randomised(make_theirs(config))
    if direction == "to":
        theirs.load_state_dict(to_hugging_face(ours))
    else:
        from_hugging_face(ours, theirs.state_dict())
    return Pair(config, ours, theirs)


@pytest.fixture(params=[(seed, to) for seed in range(3) for to in ("to", "from")], ids=str)
def bert_pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair("Bert", *request.param)


@pytest.fixture(params=[(seed, to) for seed in range(3) for to in ("to", "from")], ids=str)
def gpt_pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair("GPT", *request.param)


@pytest.fixture(params=[(seed, to) for seed in range(3) for to in ("to", "from")], ids=str)
def marian_pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair("EncoderDecoder", *request.param)


def same_attention(tape: Tape, kind: str, expected: tuple[Tensor, ...]) -> None:
    """Every layer, in order."""
    steps = [step for step in tape if step.kind == kind]
    assert [step.layer for step in steps] == list(range(len(expected)))
    for step, attn in zip(steps, expected, strict=True):
        close(step.attn, attn)


@torch.no_grad()
def test_bert_is_hugging_faces(bert_pair: Pair) -> None:
    ids, segments = bert_pair.ids(7), torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]])
    padding = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    tape = Tape()
    ours = bert_pair.ours(ids, segments, tape, padding)
    theirs = bert_pair.theirs(ids, token_type_ids=segments, attention_mask=padding.long())
    close(ours.logits, theirs.prediction_logits)
    close(ours.next_logits, theirs.seq_relationship_logits)
    same_attention(tape, "encoder", theirs.attentions)


@torch.no_grad()
def test_gpt_is_hugging_faces(gpt_pair: Pair) -> None:
    ids = gpt_pair.ids(9)
    tape = Tape()
    logits = gpt_pair.ours(ids, tape)
    theirs = gpt_pair.theirs(ids)
    close(logits, theirs.logits)
    same_attention(tape, "decoder", theirs.attentions)


@torch.no_grad()
def test_encoder_decoder_is_marian(marian_pair: Pair) -> None:
    source, target = marian_pair.ids(7), marian_pair.ids(5)
    padding = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    tape = Tape()
    logits = marian_pair.ours(source, target, tape, padding)
    theirs = marian_pair.theirs(
        source, attention_mask=padding.long(), decoder_input_ids=target, output_attentions=True
    )
    close(logits, theirs.logits)
    same_attention(tape, "encoder", theirs.encoder_attentions)
    same_attention(tape, "decoder", theirs.decoder_attentions)
    same_attention(tape, "cross", theirs.cross_attentions)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_go_there_and_back(name: str) -> None:
    ours = randomised(ARCHITECTURES[name][0](random_config(3)))
    copy = ARCHITECTURES[name][0](random_config(3))
    from_hugging_face(copy, to_hugging_face(ours))
    torch.testing.assert_close(copy.state_dict(), ours.state_dict(), atol=0, rtol=0)


def torch_attention(ours: MultiHeadAttention, D: int, H: int) -> nn.MultiheadAttention:
    """PyTorch's, with our weights; it keeps W_Q, W_K and W_V in one."""
    theirs = nn.MultiheadAttention(D, H, batch_first=True).eval()
    projections = ours.W_Q, ours.W_K, ours.W_V
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([linear.weight for linear in projections]),
            "in_proj_bias": torch.cat([linear.bias for linear in projections]),
            "out_proj.weight": ours.W_O.weight,
            "out_proj.bias": ours.W_O.bias,
        }
    )
    return theirs


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_multi_head_attention_is_torchs(seed: int) -> None:
    torch.manual_seed(seed)
    config = random_config(seed)
    ours = randomised(MultiHeadAttention(config))
    theirs = torch_attention(ours, config.d_model, config.n_head)
    x, memory = torch.randn(2, 3, config.d_model), torch.randn(2, 5, config.d_model)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    tape = Tape()
    out = ours(x, memory, mask=mask[:, None, None], track=tape.track("cross", 0))
    expected, attn = theirs(x, memory, memory, key_padding_mask=~mask, average_attn_weights=False)
    close(out, expected)
    close(tape.attended[0].attn, attn)


def qkv(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = (2, 4, 3, 6), (2, 4, 5, 6), (2, 4, 5, 6)
    return tuple(torch.randn(shape).to(dtype) for shape in shapes)


MASKS = {
    "no mask": None,
    "padding": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()[:, None, None],
    "causal": torch.ones(3, 5, dtype=torch.bool).tril(2),
    "nowhere": torch.tensor([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]]).bool(),
}


@pytest.mark.parametrize("mask", MASKS)
def test_attend_is_torchs(mask: str) -> None:
    q, k, v = qkv()
    close(
        attend(q, k, v, mask=MASKS[mask]),
        F.scaled_dot_product_attention(q, k, v, attn_mask=MASKS[mask]),
    )


def test_attend_takes_another_scale() -> None:
    q, k, v = qkv()
    expected = F.scaled_dot_product_attention(q, k, v, scale=0.7)
    close(attend(q, k, v, scoring=Scoring(0.7)), expected)
    close(
        attend(q, k, v, scoring=Scoring(0.7), track=Tape(edits=[NO_OP]).track("cross", 0)), expected
    )


# Half precision rounds q k^T and attn to 8 or 11 bits, which the fused kernel does not.
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]
)
def test_both_paths_give_one_number(mask: str, dtype: torch.dtype, tolerance: float) -> None:
    q, k, v = qkv(dtype)
    explicit = attend(q, k, v, mask=MASKS[mask], track=Tape(edits=[NO_OP]).track("cross", 0))
    close(explicit, attend(q, k, v, mask=MASKS[mask]), tolerance)


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_both_paths_give_one_model(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    inputs = {"bert": (ids, torch.zeros_like(ids)), "gpt": (ids,)}[name]
    fused, explicit = model(*inputs), model(*inputs, Tape(edits=[NO_OP]))
    torch.testing.assert_close(explicit, fused, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_both_paths_give_one_translation(encoder_decoder: EncoderDecoder) -> None:
    source, target = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([[9, 2, 6]])
    explicit = encoder_decoder(source, target, Tape(edits=[NO_OP]))
    close(explicit, encoder_decoder(source, target))


@pytest.mark.parametrize("seed", range(4))
def test_generate_is_transformers_generate(seed: int) -> None:
    pair = make_pair("GPT", seed, "to")
    ids = pair.ids(4)[:1]
    n = pair.config.n_ctx - 4
    theirs = pair.theirs.generate(ids, max_new_tokens=n, do_sample=False, pad_token_id=0).sequences
    steps = generating(pair.ours, ids, max_new_tokens=n, ends=(0,))
    assert [step.id for step in steps] == theirs[0, 4:].tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_beam", [1, 2, 4])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("ends", [False, True], ids=["endless", "ends"])
def test_translate_is_transformers_generate(
    seed: int, n_beam: int, length_penalty: float, ends: bool
) -> None:
    pair = make_pair("EncoderDecoder", seed, "to")
    pair.ours.embedding.weight.data *= 0.2  # several tokens are likely
    pair.theirs.load_state_dict(to_hugging_face(pair.ours))
    source, n = pair.ids(5)[:1], pair.config.n_ctx - 1
    free = [step.logits for step in translating(pair.ours, source, Frame(1, None, -1))]
    end = int(free[3].topk(3).indices[2]) if ends else 2
    [result] = pair.theirs.generate(
        source,
        num_beams=n_beam,
        length_penalty=length_penalty,
        max_new_tokens=n,
        do_sample=False,
        eos_token_id=end,
        forced_eos_token_id=None,
    ).sequences.tolist()
    theirs = result[1:]
    frame = Frame(1, None, end)
    if n_beam == 1:
        ours = [step.id for step in translating(pair.ours, source, frame) if step.id != end]
    else:
        [(_, ours)] = beam_search(pair.ours, source, frame, Beam(n_beam, length_penalty))
    assert ours == (theirs[: theirs.index(end)] if end in theirs else theirs)
