"""What `generate` returned: its text is run again, or the attention that came with it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model.arrays import BadRecord
from attention_atlas.model.hub import generated, in_memory
from attention_atlas.model.hub.generated import Generated
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec

from tests import saved

TEXT = "the river bank"
MADE: dict[str, tuple[Any, Any]] = {
    "gpt2": (saved.gpt2, hf.AutoModelForCausalLM),
    "llama": (saved.llama, hf.AutoModelForCausalLM),
    "bart": (saved.bart, hf.AutoModelForSeq2SeqLM),
    "t5": (saved.t5, hf.AutoModelForSeq2SeqLM),
}
TRANSLATORS = ("bart", "t5")
ALL = {"output_attentions": True, "return_dict_in_generate": True, "do_sample": False}


@pytest.fixture(params=MADE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(name: str, tmp_path: Path) -> tuple[Any, Any]:
    """A model of transformers and its tokenizer."""
    hf.logging.set_verbosity_error()
    make, cls = MADE[name]
    folder = make(tmp_path / name)
    model = cls.from_pretrained(folder, attn_implementation="eager").eval()
    return model, hf.AutoTokenizer.from_pretrained(folder)


def written(model: Any, tokenizer: Any, **options: Any) -> Any:
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    return model.generate(input_ids=ids, max_new_tokens=5, min_new_tokens=5, **ALL | options)


def again(model: Any, tokenizer: Any, out: Any) -> Any:
    """All that transformers says of the same ids, in one pass."""
    read = out.sequences[:, :-1]
    if not model.config.is_encoder_decoder:
        return model(input_ids=read, output_attentions=True)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    return model(input_ids=ids, decoder_input_ids=read, output_attentions=True)


@pytest.mark.parametrize("cache", [True, False])
def test_its_attention_is_that_of_one_pass(name: str, made: Any, cache: bool) -> None:
    out = written(*made, use_cache=cache)
    source = made[1].convert_ids_to_tokens(made[1](TEXT).input_ids)
    given = source if name in TRANSLATORS else None
    record = generated.recorded_of(out, made[1], generated.ids_of(out), given)
    records = run(record, Spec(record.tokenizer.text)).records
    wanted = again(*made, out)
    for kind, each in records.items():
        layers = wanted.attentions if given is None else wanted[f"{kind}_attentions"]
        torch.testing.assert_close(each.attn, torch.cat(layers), atol=1e-5, rtol=1e-5)
    assert record.notes == ()
    tokens = list(records.values())[-1].q_tokens
    assert [token.raw for token in tokens] == made[1].convert_ids_to_tokens(out.sequences[0][:-1])


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_a_text_that_is_read_back_is_run_by_the_model(name: str, made: Any) -> None:
    ours = in_memory.loaded(*made)
    if name == "gpt2":
        ids = made[1](TEXT, return_tensors="pt").input_ids
        assert generated.continuation(ours, made[1], ids) == Generated(TEXT)
        return
    target = run(ours, Spec(TEXT, target="the bank")).sequences["target"]
    ids = torch.tensor([[*(token.id for token in target), made[1].eos_token_id]])
    assert generated.translation(ours, made[1], TEXT, ids) == Generated(TEXT, "the bank")


@pytest.mark.parametrize("name", ["llama", "bart"])
def test_a_text_that_is_not_read_back_is_shown_by_its_attention(name: str, made: Any) -> None:
    out = written(*made)
    ours = in_memory.loaded(*made)
    if name == "bart":
        out.sequences[0, -1] = made[1].bos_token_id  # which no text has
        shown = generated.translation(ours, made[1], TEXT, out)
        kinds: tuple[str, ...] = ("encoder", "decoder", "cross")
    else:
        out.sequences[0, 0] = made[1].eos_token_id
        shown = generated.continuation(ours, made[1], out)
        kinds = ("decoder",)
    assert shown.record is not None and shown.record.kinds == kinds


def test_beams_are_refused(name: str, made: Any) -> None:
    out = written(*made, num_beams=2)
    source = ["the"] if name in TRANSLATORS else None
    with pytest.raises(BadRecord, match="num_beams=1"):
        generated.recorded_of(out, made[1], generated.ids_of(out), source)


@pytest.mark.parametrize("name", ["gpt2"])
def test_several_texts_and_text_alone_are_refused(made: Any) -> None:
    out = written(*made)
    with pytest.raises(BadRecord, match="returned 2 texts"):
        generated.ids_of(torch.cat([out.sequences] * 2))
    with pytest.raises(BadRecord, match="output_attentions=True"):
        generated.recorded_of(out.sequences, made[1], generated.ids_of(out))
