"""What a page and the API say of a model that is not shown as its family usually is."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

from tests import saved
from tests.published import published

TEXT = "He sat on the river bank."
INTERFACE = {
    "en": "mpnet does not use the attention interface of transformers",
    "zh": "mpnet 未使用 transformers 的注意力接口",
}
SPARSE = {
    "en": "opened with attention_type: original_full, which gives the same attention for texts of "
    "up to 28 tokens",
    "zh": "以 attention_type: original_full 打开；对不超过 28 个词元的文本，两者的注意力相同",
}
CODES = ("en", "zh")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("notices")
    bigbird = saved.bert(root / "bigbird")
    config = hf.BigBirdConfig(
        **saved.SIZES, attention_type="block_sparse", block_size=4, num_random_blocks=1
    )
    torch.manual_seed(0)
    (bigbird / "model.safetensors").unlink()
    hf.BigBirdForMaskedLM(config).save_pretrained(bigbird)
    panicking = saved.bert(root / "panicking")
    split = {"type": "Split", "pattern": {"Regex": "^(a+)+b"}, "behavior": "Isolated"}
    content = json.loads((panicking / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {**split, "invert": False}
    (panicking / "tokenizer.json").write_text(json.dumps(content))
    folders = (str(published(root / "mpnet", "MPNet")), str(bigbird), str(panicking))
    with TestClient(create_app(Settings(models="bert", model=folders, threads=1))) as client:
        client.root = root
        yield client


def get(client: TestClient, path: str, code: str = "en", **query: Any) -> Any:
    headers = {"accept-language": code}
    answer = client.get(path, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else html.unescape(answer.text)


@pytest.mark.parametrize("code", CODES)
def test_why_something_is_missing_is_in_the_language_of_the_request(
    client: TestClient, code: str
) -> None:
    card = get(client, "/api/v1/models/mpnet", code)
    assert card["why"] == INTERFACE[code]
    assert (card["why_code"], card["why_values"]) == ("no-attention-interface", {"family": "mpnet"})
    for path in ("/explore", "/models/mpnet"):
        page = get(client, path, code, model="mpnet", text=TEXT)
        assert INTERFACE[code] in page.split("</head>")[1]
    body = {"model": "mpnet", "text": TEXT, "quantity": "scores"}
    answer = client.post("/api/v1/attention", json=body, headers={"accept-language": code})
    assert answer.status_code == 422 and INTERFACE[code] in answer.json()["detail"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("path", ["/masks.json", "/arithmetic.json"])
def test_a_page_that_a_model_is_not_for_says_why(client: TestClient, path: str, code: str) -> None:
    [row] = get(client, path, code, model="mpnet")["ignored"]
    assert row["field"] == "model" and INTERFACE[code] in row["message"]


def test_a_model_that_lacks_nothing_has_no_reason(client: TestClient) -> None:
    card = get(client, "/api/v1/models/bert")
    assert (card["lacks"], card["why"], card["why_code"], card["why_values"]) == ([], "", "", {})


@pytest.mark.parametrize("code", CODES)
def test_a_bigbird_of_blocks_says_how_it_is_opened(client: TestClient, code: str) -> None:
    [note] = get(client, "/api/v1/models/bigbird", code)["notes"]
    assert SPARSE[code] in note["message"]
    assert SPARSE[code] in get(client, "/models/bigbird", code).split("</head>")[1]


def test_a_bigbird_of_blocks_has_the_full_attention_of_transformers(client: TestClient) -> None:
    model = hf.BigBirdForMaskedLM.from_pretrained(
        client.root / "bigbird", attention_type="original_full", attn_implementation="eager"
    ).eval()
    answer = get(client, "/api/v1/attention", model="bigbird", text=TEXT)
    ids = torch.tensor([[token["id"] for token in answer["q_tokens"]]])
    with torch.inference_mode():
        attn = torch.cat(model(input_ids=ids, output_attentions=True).attentions)
    torch.testing.assert_close(torch.tensor(answer["attn"]), attn, atol=1e-5, rtol=0)


def test_a_text_too_long_for_a_bigbird_of_blocks_is_refused(client: TestClient) -> None:
    body = {"model": "bigbird", "text": TEXT * 9}
    answer = client.post("/api/v1/run", json=body)
    assert answer.status_code == 422 and "28" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/v1/run", "/api/v1/tokenize", "/api/v1/attention"])
def test_a_tokenizer_that_panics_is_named(client: TestClient, path: str) -> None:
    """Its regular expression backtracks without end, and Rust panics."""
    body = {"model": "panicking", "text": "a" * 40}
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["field"], error["code"]) == ("text", "tokenizer-failed")
    assert "Tokenizer" in error["message"]
    page = client.get("/explore", params=body)
    assert page.status_code == 422 and "Tokenizer" in page.text


def test_a_tokenizer_that_panicked_goes_on(client: TestClient) -> None:
    client.post("/api/v1/run", json={"model": "panicking", "text": "a" * 40})
    assert client.post("/api/v1/run", json={"model": "panicking", "text": TEXT}).status_code == 200
