"""A decoder on another model's encoder (EncoderDecoderModel), through the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.hub.reasons import BadModel
from fastapi.testclient import TestClient
from safetensors.torch import load, load_file, save_file
from transformers.models.encoder_decoder.modeling_encoder_decoder import shift_tokens_right

from tests import saved
from tests.spoilt import WEIGHTS

TEXT, TARGET = "He sat on the river bank.", "the bank"
WIDER = saved.SIZES | {"hidden_size": 32, "num_hidden_layers": 3}
GPT2 = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64, "add_cross_attention": True}


def bert2bert(decoder: Any) -> Any:
    """A model of two stacks whose weights are far enough apart that attention is sharp."""
    torch.manual_seed(0)
    config = hf.EncoderDecoderConfig.from_encoder_decoder_configs(
        hf.BertConfig(**saved.SIZES), decoder, decoder_start_token_id=2, eos_token_id=3
    )
    config._attn_implementation = "eager"
    model = hf.EncoderDecoderModel(config).eval()
    model.set_attn_implementation("eager")
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def tied() -> Any:
    """As transformers 4 ties them: the encoder's weights are the decoder's."""
    model = bert2bert(hf.BertConfig(**saved.SIZES, is_decoder=True, add_cross_attention=True))
    model.encoder.load_state_dict(model.decoder.bert.state_dict(), strict=False)
    return model


MADE = {
    "untied": lambda: bert2bert(hf.BertConfig(**saved.SIZES)),
    "wider": lambda: bert2bert(hf.BertConfig(**WIDER)),
    "gpt2": lambda: bert2bert(hf.GPT2Config(vocab_size=saved.SIZES["vocab_size"], **GPT2)),
    "tied": tied,
}


def kept(folder: Path, name: str, model: Any) -> Path:
    """The model's folder; of a tied one, what both stacks share is there once."""
    saved.bert(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder)
    if name == "tied":
        saved.changed(folder, tie_encoder_decoder=True)
        tensors = load_file(folder / WEIGHTS)
        once = {key: x for key, x in tensors.items() if not key.startswith("encoder.e")}
        assert len(once) < len(tensors)
        save_file(once, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: make() for name, make in MADE.items()}


@pytest.fixture(scope="module")
def client(
    models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    place = tmp_path_factory.mktemp("models")
    folders = tuple(str(kept(place / name, name, model)) for name, model in models.items())
    settings = Settings(threads=1, models="bert", model=folders, max_models=4)
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        assert client.get("/readyz").json()["missing"] == {}
        yield client


def asked(client: TestClient, path: str, **params: str) -> Any:
    answer = client.get(f"/api/v1/{path}", params={"text": TEXT, "target": TARGET} | params)
    assert answer.status_code == 200, answer.text
    return answer


def own(model: Any, sequences: dict[str, Any]) -> Any:
    """What transformers gives for the same tokens."""
    source, target = ([token["id"] for token in sequences[side]] for side in ("source", "target"))
    inputs = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([target])}
    with torch.inference_mode():
        return model(**inputs, output_attentions=True)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
@pytest.mark.parametrize("name", MADE)
def test_attention_is_the_models_own(
    client: TestClient, models: dict[str, Any], name: str, kind: str
) -> None:
    answer = asked(client, "attention", model=name, kind=kind, format="safetensors")
    run = asked(client, "run", model=name).json()
    output = own(models[name], run["sequences"])
    layers = output.cross_attentions if kind == "cross" else getattr(output, f"{kind}_attentions")
    torch.testing.assert_close(load(answer.content)["attn"], torch.cat(layers), atol=1e-5, rtol=0)


def test_a_target_is_framed_as_in_training(client: TestClient) -> None:
    """The labels, moved on by one: their own [CLS] after the one that begins."""
    run = asked(client, "run", model="untied").json()
    raw = [token["raw"] for token in run["sequences"]["target"]]
    assert raw == ["[CLS]", "[CLS]", "the", "bank"]
    labels = torch.tensor([[2, *(token["id"] for token in run["sequences"]["target"][2:]), 3]])
    moved = shift_tokens_right(labels, 0, 2)[0].tolist()
    assert moved == [token["id"] for token in run["sequences"]["target"]]


@pytest.mark.parametrize("name", MADE)
def test_the_probability_of_a_target_is_the_models_own(
    client: TestClient, models: dict[str, Any], name: str
) -> None:
    run = asked(client, "run", model=name).json()
    ids = [token["id"] for token in run["sequences"]["target"]]
    log_p = own(models[name], run["sequences"]).logits[0].log_softmax(-1)
    wanted = sum(log_p[i, following].item() for i, following in enumerate([*ids[1:], 3]))
    assert run["predictions"]["log_probability"] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("name", MADE)
def test_a_head_of_the_decoder_can_be_edited(client: TestClient, name: str) -> None:
    edits = '[{"op": "block", "kind": "cross", "layer": 1, "head": 2, "query": 1, "key": 3}]'
    answer = asked(client, "attention", model=name, kind="cross", format="safetensors", edits=edits)
    attn = load(answer.content)["attn"]
    assert attn[1, 2, 1, 3] == 0
    torch.testing.assert_close(attn.sum(-1), torch.ones(attn.shape[:-1]))


def test_a_tied_model_lacks_nothing_by_its_files(models: dict[str, Any], tmp_path: Path) -> None:
    """Without the entry in its config a half of its tensors is missing."""
    folder = saved.changed(kept(tmp_path, "tied", models["tied"]), tie_encoder_decoder=False)
    with pytest.raises(BadModel, match="of its tensors are missing: encoder.e"):
        open_model(str(folder), torch.device("cpu"))


def test_two_vocabularies_need_two_tokenizers(tmp_path: Path) -> None:
    model = bert2bert(hf.GPT2Config(vocab_size=7000, **GPT2))
    folder = kept(tmp_path, "other", model)
    with pytest.raises(BadModel, match="reads 12,000 kinds of tokens and its decoder writes 7,000"):
        open_model(str(folder), torch.device("cpu"))


def test_a_pair_is_refused_where_token_types_would_tell_its_texts_apart(
    models: dict[str, Any], tmp_path: Path
) -> None:
    """transformers gives them to the encoder; here a translator's is given none."""
    folder = kept(tmp_path, "untied", models["untied"])
    assert open_model(str(folder), torch.device("cpu")).takes_pair
    names = ["input_ids", "token_type_ids", "attention_mask"]
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_input_names": names}))
    assert not open_model(str(folder), torch.device("cpu")).takes_pair
