"""Small random models of many families, as transformers makes them from a config: no network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers as hf
from attention_atlas.model.hub.adapters import Adapter, HubDecoder, HubEncoder, HubEncoderDecoder
from attention_atlas.model.hub.opening import adapt
from attention_atlas.model.tape import Tape
from torch import Tensor

SOURCE = torch.tensor([[5, 9, 7, 12, 3, 22]])  # Tk 6
TARGET = torch.tensor([[4, 11, 8, 30]])  # Tq 4

ONE = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
ONE |= {"intermediate_size": 40, "max_position_embeddings": 32, "pad_token_id": 0}
GROUPED = ONE | {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2}
BOTH = {"vocab_size": 50, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3}
BOTH |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 40}
BOTH |= {"decoder_ffn_dim": 36, "max_position_embeddings": 32, "pad_token_id": 0}
BOTH |= {"bos_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 0}
T5 = {"vocab_size": 50, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2}
T5 |= {"num_decoder_layers": 3, "num_heads": 4, "decoder_start_token_id": 0}

WORDS, NEXT, PAIR = hf.AutoModelForMaskedLM, hf.AutoModelForCausalLM, hf.AutoModelForSeq2SeqLM
# name -> transformers' class, its config
FAMILIES: dict[str, tuple[Any, Callable[[], Any]]] = {
    "BERT": (WORDS, lambda: hf.BertConfig(**ONE)),
    "RoBERTa": (WORDS, lambda: hf.RobertaConfig(**ONE)),
    "DistilBERT": (
        WORDS,
        lambda: hf.DistilBertConfig(
            vocab_size=50, dim=24, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=32
        ),
    ),
    "ELECTRA": (WORDS, lambda: hf.ElectraConfig(**ONE, embedding_size=12)),
    "ALBERT": (WORDS, lambda: hf.AlbertConfig(**ONE, embedding_size=12)),
    "ModernBERT": (
        WORDS,
        lambda: hf.ModernBertConfig(**ONE, local_attention=4, global_attn_every_n_layers=2),
    ),
    "MPNet": (WORDS, lambda: hf.MPNetConfig(**ONE)),
    "DeBERTa-v2": (
        WORDS,
        lambda: hf.DebertaV2Config(
            **ONE, relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False
        ),
    ),
    "XLNet": (
        NEXT,
        lambda: hf.XLNetConfig(vocab_size=50, d_model=24, n_layer=2, n_head=4, d_inner=40),
    ),
    "GPT-2": (
        NEXT,
        lambda: hf.GPT2Config(vocab_size=50, n_embd=24, n_layer=2, n_head=4, n_positions=32),
    ),
    "OPT": (NEXT, lambda: hf.OPTConfig(**ONE, ffn_dim=40, word_embed_proj_dim=24)),
    "GPT-NeoX": (NEXT, lambda: hf.GPTNeoXConfig(**ONE)),
    "Llama": (NEXT, lambda: hf.LlamaConfig(**GROUPED)),
    "Mistral": (NEXT, lambda: hf.MistralConfig(**GROUPED, sliding_window=3)),
    "Qwen2": (NEXT, lambda: hf.Qwen2Config(**GROUPED)),
    "Qwen3": (NEXT, lambda: hf.Qwen3Config(**GROUPED)),
    "Gemma 2": (NEXT, lambda: hf.Gemma2Config(**GROUPED, sliding_window=3)),
    "Gemma 3": (NEXT, lambda: hf.Gemma3TextConfig(**GROUPED, sliding_window=3)),
    "Phi": (NEXT, lambda: hf.PhiConfig(**(ONE | {"hidden_size": 32}))),
    "OLMo 2": (NEXT, lambda: hf.Olmo2Config(**GROUPED)),
    "Cohere 2": (NEXT, lambda: hf.Cohere2Config(**GROUPED)),
    "Mixtral": (
        NEXT,
        lambda: hf.MixtralConfig(
            **ONE, num_key_value_heads=2, num_local_experts=2, num_experts_per_tok=1
        ),
    ),
    "DeepSeek-V3": (
        NEXT,
        lambda: hf.DeepseekV3Config(
            **ONE,
            num_key_value_heads=4,
            kv_lora_rank=8,
            q_lora_rank=8,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=6,
            n_routed_experts=4,
            num_experts_per_tok=2,
            first_k_dense_replace=1,
            moe_intermediate_size=16,
            n_group=1,
            topk_group=1,
        ),
    ),  # fmt: skip
    "Llama 4": (NEXT, lambda: hf.Llama4TextConfig(**GROUPED, num_local_experts=2)),
    "BLOOM": (NEXT, lambda: hf.BloomConfig(vocab_size=50, hidden_size=24, n_layer=2, n_head=4)),
    "Falcon": (
        NEXT,
        lambda: hf.FalconConfig(**ONE, num_kv_heads=2, new_decoder_architecture=True),
    ),
    "GPT-J": (
        NEXT,
        lambda: hf.GPTJConfig(
            vocab_size=50, n_embd=24, n_layer=2, n_head=4, rotary_dim=4, n_positions=32
        ),
    ),
    "gpt-oss": (
        NEXT,
        lambda: hf.GptOssConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2),
    ),
    "Marian": (PAIR, lambda: hf.MarianConfig(**BOTH)),
    "BART": (PAIR, lambda: hf.BartConfig(**BOTH)),
    "M2M100": (PAIR, lambda: hf.M2M100Config(**BOTH)),
    "Pegasus": (PAIR, lambda: hf.PegasusConfig(**BOTH)),
    "T5": (PAIR, lambda: hf.T5Config(**T5)),
}
OWN_WAY = ("MPNet", "DeBERTa-v2", "XLNet", "BLOOM", "Falcon", "GPT-J", "gpt-oss")
DECODERS = ("GPT-2", "OPT", "GPT-NeoX", "Llama", "Mistral", "Qwen2", "Qwen3", "Gemma 2", "Gemma 3")
DECODERS += (
    "Phi",
    "OLMo 2",
    "Cohere 2",
    "Mixtral",
    "DeepSeek-V3",
    "Llama 4",
    "BLOOM",
    "Falcon",
    "GPT-J",
    "gpt-oss",
)
LENS = tuple(name for name in FAMILIES if name not in OWN_WAY)


def made(name: str, seed: int = 0, **options: Any) -> Any:
    """A model of transformers whose weights are far enough apart that attention is sharp."""
    auto, config = FAMILIES[name]
    torch.manual_seed(seed)
    model = auto.from_config(config(), attn_implementation="eager", **options).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@cache
def adapted(name: str) -> Any:
    """The same model through the lens. Tests share it, and some take gradients."""
    with torch.inference_mode(False):
        model = made(name)
    return adapt(model)


def through(adapter: Adapter, tape: Tape | None = None) -> Tensor:
    """The last hidden state of a source, or of a source's target."""
    if isinstance(adapter, HubEncoder):
        return adapter.encode(SOURCE, torch.zeros_like(SOURCE), tape)
    if isinstance(adapter, HubDecoder):
        return adapter.hidden(SOURCE, tape)
    assert isinstance(adapter, HubEncoderDecoder)
    return adapter.hidden(TARGET, adapter.encode(SOURCE, tape), tape)


def rotated(adapter: Adapter) -> frozenset[Any]:
    """The layers whose queries and keys carry their positions."""
    return adapter.findings.calls.rotated


def adapter_of(config: Any, **options: Any) -> Adapter:
    """A model of a config, sharp enough to tell its layers apart."""
    torch.manual_seed(0)
    auto = options.pop("auto", hf.AutoModelForCausalLM)
    model = auto.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return adapt(model.to(options.get("dtype", torch.float32)))
