"""A model that is in memory: its own attention, and left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from attention_atlas.model.hub.in_memory import loaded, sha256
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec

from tests import saved

TEXT = "the bank of the river"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = (saved.bert, saved.gpt2, saved.llama)
    return {make.__name__: make(tmp_path_factory.mktemp(make.__name__)) for make in made}


def opened(folder: Path, cls: Any, **options: Any) -> tuple[Any, Any]:
    hf.logging.set_verbosity_error()
    return cls.from_pretrained(folder, **options), hf.AutoTokenizer.from_pretrained(folder)


def expected(model: Any, tokenizer: Any) -> torch.Tensor:
    """transformers' own eager attention, (L, H, T, T)."""
    was = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        output = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True)
    model.set_attn_implementation(was)
    return torch.stack(output.attentions)[:, 0]


def attention(model: Any, tokenizer: Any) -> torch.Tensor:
    [record] = run(loaded(model, tokenizer), Spec(TEXT)).records.values()
    return record.attn


CLASSES = [
    ("bert", hf.AutoModelForMaskedLM),
    ("bert", hf.AutoModelForSequenceClassification),
    ("bert", hf.AutoModelForTokenClassification),
    ("bert", hf.AutoModelForQuestionAnswering),
    ("gpt2", hf.AutoModelForCausalLM),
    ("gpt2", hf.AutoModelForSequenceClassification),
    ("llama", hf.AutoModelForCausalLM),
]


@pytest.mark.parametrize("name, cls", CLASSES)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_it_is_the_models_own_attention(folders, name, cls, implementation):
    model, tokenizer = opened(folders[name], cls, attn_implementation=implementation)
    torch.testing.assert_close(attention(model, tokenizer), expected(model, tokenizer))


def test_the_model_and_its_tokenizer_stay_as_they_were(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForMaskedLM)
    model.train()
    tokenizer.backend_tokenizer.enable_truncation(5)
    storage = {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()}
    before = model.config.to_dict(), dict(vars(model.bert))
    attention(model, tokenizer)
    assert model.training and all(part.training for part in model.modules())
    assert model.config._attn_implementation == "sdpa"
    assert (model.config.to_dict(), dict(vars(model.bert))) == before
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 5
    assert {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()} == storage
    assert all(not module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_it_stays_so_where_it_cannot_be_opened(folders, monkeypatch):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForMaskedLM)
    monkeypatch.setattr(hf.BertForMaskedLM, "get_output_embeddings", lambda self: 1 / 0)
    with pytest.raises(BadModel):
        loaded(model, tokenizer)
    assert model.config._attn_implementation == "sdpa" and model.training is False


def test_the_parameters_are_shared(folders):
    model, tokenizer = opened(folders["gpt2"], hf.AutoModelForCausalLM)
    here = loaded(model, tokenizer)
    with torch.no_grad():
        model.transformer.h[0].attn.c_attn.weight.mul_(3)
    [record] = run(here, Spec(TEXT)).records.values()
    torch.testing.assert_close(record.attn, expected(model, tokenizer))


def test_half_precision_is_not_rounded_in_place(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForMaskedLM, dtype=torch.bfloat16)
    before = sha256(model)
    assert loaded(model, tokenizer).dtype == "bfloat16"
    assert sha256(model) == before


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapters_layers_take_part(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForMaskedLM)
    plain = attention(model, tokenizer)
    config = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    tuned = peft.get_peft_model(model, config).eval()
    with_adapter = attention(tuned, tokenizer)
    torch.testing.assert_close(with_adapter, expected(tuned.get_base_model(), tokenizer))
    assert not torch.allclose(with_adapter, plain)


def test_a_compiled_model_is_what_it_was_made_from(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForMaskedLM)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(attention(compiled, tokenizer), attention(model, tokenizer))


def test_what_cannot_be_shown_is_named(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForMaskedLM)
    other = hf.AutoTokenizer.from_pretrained(folders["llama"])
    small = hf.BertForMaskedLM(hf.BertConfig(**(saved.SIZES | {"vocab_size": 100})))
    with pytest.raises(BadModel, match="tokens up to 11,999 and the model vectors up to 99"):
        loaded(small, tokenizer)
    with pytest.raises(BadModel, match="Linear is not a model of transformers"):
        loaded(torch.nn.Linear(2, 3), other)
    with pytest.raises(BadModel, match="str is not a tokenizer"):
        loaded(model, "bert")
    with torch.device("meta"), pytest.raises(BadModel, match="meta device"):
        loaded(hf.BertForMaskedLM(model.config), tokenizer)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7] = torch.nan
    with pytest.raises(BadModel, match="word_embeddings.weight holds numbers that are not finite"):
        loaded(model, tokenizer)
