"""Models of Hugging Face at work: as transformers itself has them, and on every page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

from tests import saved

TEXT = "El banco está cerrado."


def changed(folder: Path, file: str, **values: Any) -> Path:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny models, each a little unlike the bundled ones."""
    root = tmp_path_factory.mktemp("models")
    saved.gpt2(root / "gpt2")
    changed(saved.bart(root / "bart"), "generation_config.json", forced_bos_token_id=77)
    saved.bart(root / "plain")
    nomask = saved.bert(root / "nomask")
    changed(nomask, "tokenizer_config.json", mask_token=None)
    model = hf.GPT2LMHeadModel.from_pretrained(root / "gpt2")
    saved.gpt2(root / "half")
    model.to(torch.bfloat16).save_pretrained(root / "half")
    return root


@pytest.fixture(scope="module")
def hub(folder: Path) -> Any:
    names = ("gpt2", "bart", "plain", "nomask", "half")
    model = tuple(str(folder / name) for name in names)
    settings = Settings(models="bert", model=model, threads=1, max_models=len(names))
    with TestClient(create_app(settings)) as client:
        yield client


def post(hub: TestClient, path: str, **body: Any) -> Any:
    answer = hub.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["bart", "plain"])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_translation_is_transformers(
    hub: TestClient, folder: Path, name: str, num_beams: int
) -> None:
    """What generation_config says must come first does."""
    answer = post(hub, "/translate", model=name, text=TEXT, num_beams=num_beams, max_new_tokens=9)
    model = hf.BartForConditionalGeneration.from_pretrained(folder / name).eval()
    ids = torch.tensor([[token["id"] for token in answer["sequences"]["source"]]])
    options = {"num_beams": num_beams, "max_new_tokens": 9, "do_sample": False}
    theirs = model.generate(ids, forced_eos_token_id=None, **options)[0, 1:].tolist()
    ours = [token["id"] for token in answer["tokens"]]
    assert ours == theirs[: len(ours)] and len(ours) > 3
    assert (ours[0] == 77) == (name == "bart")
    attention = hub.get(answer["links"]["attention"] + "&kind=cross").json()
    assert attention["q_tokens"] == answer["sequences"]["target"]


def test_a_typed_target_is_what_the_model_was_trained_on(hub: TestClient, folder: Path) -> None:
    answer = post(hub, "/run", model="plain", text=TEXT, target="The bank is closed.")
    tokenizer = hf.AutoTokenizer.from_pretrained(folder / "plain")
    model = hf.BartForConditionalGeneration.from_pretrained(folder / "plain").eval()
    ids = torch.tensor([[token["id"] for token in answer["sequences"]["source"]]])
    labels = tokenizer(text_target="The bank is closed.", return_tensors="pt").input_ids
    with torch.inference_mode():
        log_p = model(input_ids=ids, labels=labels).logits[0].log_softmax(-1)
    expected = log_p.gather(-1, labels[0][:, None]).sum().item()
    assert answer["predictions"]["log_probability"] == pytest.approx(expected, abs=1e-3)
    read = post(hub, "/translate", model="plain", text=TEXT, reference="The bank is closed.")
    assert read["reference"]["log_probability"] == pytest.approx(expected, abs=1e-3)


def test_a_continuation_is_transformers(hub: TestClient, folder: Path) -> None:
    answer = post(hub, "/generate", model="gpt2", text="The old king", temperature=0)
    model = hf.GPT2LMHeadModel.from_pretrained(folder / "gpt2").eval()
    ids = torch.tensor([[token["id"] for token in answer["prompt"]]])
    options = {"max_new_tokens": 40, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    theirs = model.generate(ids, pad_token_id=1, **options)[0]
    ours = [token["id"] for token in answer["tokens"]]
    assert ours == theirs[ids.size(1) :].tolist()[: len(ours)]


def test_a_text_ends_with_any_of_its_ends(hub: TestClient, folder: Path, tmp_path: Path) -> None:
    """Chat models name several in generation_config.json."""
    spec = {"text": "The old king", "temperature": 0, "max_new_tokens": 9}
    ids = [token["id"] for token in post(hub, "/generate", model="gpt2", **spec)["tokens"]]
    ends = [0, ids[4]]
    copy = changed(saved.gpt2(tmp_path / "ends"), "generation_config.json", eos_token_id=ends)
    with TestClient(create_app(Settings(models="bert", model=(str(copy),), threads=1))) as client:
        answer = post(client, "/generate", model="ends", **spec)
    assert [token["id"] for token in answer["tokens"]] == ids[: ids.index(ids[4]) + 1]
    assert answer["finished"] == "end"


def test_half_precision_is_taken_apart_too(hub: TestClient) -> None:
    for view in ("/anatomy", "/attention", "/metrics", "/hidden-states", "/run"):
        assert post(hub, view, model="half", text="The river bank")
    answer = post(hub, "/anatomy", model="half", text="The river bank", query=2)
    assert answer["provenance"]["dtype"] == "bfloat16"
    assert sum(answer["attn"]) == pytest.approx(1, abs=1e-6)


def test_a_short_decoder_has_few_shots_as_far_as_they_fit(hub: TestClient) -> None:
    body = post(hub, "/few-shot", model="gpt2", pattern="pairs", n_max=1, n_prompt=2)
    assert len(body["shots"]) == 2
    answer = hub.post("/api/v1/few-shot", json={"model": "gpt2", "pattern": "copy", "n_max": 8})
    assert answer.status_code == 422 and "gpt2 takes 64" in answer.json()["detail"]


def test_without_a_mask_token_there_are_no_blanks(hub: TestClient) -> None:
    assert post(hub, "/tokenize", model="nomask", text="hi")
    answer = hub.post("/api/v1/fill-mask", json={"model": "nomask", "text": "hi"})
    assert answer.status_code == 422 and "is not for fill-mask" in answer.json()["detail"]
    assert hub.get("/fill?model=nomask").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/translate?model=bart&num_beams=2",
        "/translate?model=plain&layer=2&head=3",
        "/generate?model=gpt2",
        "/generate?model=half",
        "/masks?model=bart&kind=decoder&layer=2",
        "/masks?model=plain&kind=cross",
        "/compare?model=gpt2",
        "/positions?model=bart",
        "/attention?model=gpt2&layer=2&head=3",
        "/attention?model=plain&layer=1",
        "/explore?model=half&view=anatomy&query=1",
    ],
)
def test_each_page_that_makes_sense_is_there(hub: TestClient, address: str) -> None:
    answer = hub.get(address.replace("?", ".json?", 1))
    assert answer.status_code == 200
    assert (answer.json()["problem"], answer.json()["ignored"]) == (None, [])


def test_a_layer_that_a_kind_lacks_is_named(hub: TestClient) -> None:
    answer = hub.get("/masks.json?model=plain&kind=encoder&layer=2")
    assert answer.status_code == 200
    assert (
        answer.json()["ignored"][0]["message"] == "layer 2 does not exist: 0, 1; 0 is shown instead"
    )


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"decoder_start_token_id": None}),
        ("generation_config.json", {"decoder_start_token_id": None}),
    ],
)
def test_a_decoders_beginning_is_found_in_either_file(
    tmp_path: Path, file: str, values: dict[str, Any]
) -> None:
    model = str(changed(saved.bart(tmp_path / "bart"), file, **values))
    settings = Settings(models="bert", model=(model,), threads=1)
    with TestClient(create_app(settings)) as client:
        answer = post(client, "/run", model="bart", text=TEXT, target="The bank")
        assert answer["sequences"]["target"][0]["raw"] == "</s>"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/positions?model=recurrent", "model recurrent does not exist"),
        ("/fill?model=gpt2", "model gpt2: does not fill in blanks; bert is shown instead"),
    ],
)
def test_a_page_says_why_a_model_is_not_for_it(hub: TestClient, address: str, said: str) -> None:
    answer = hub.get(address.replace("?", ".json?", 1)).json()
    assert said in answer["ignored"][0]["message"]
