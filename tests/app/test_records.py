"""Attention that was sent as a file: every view that needs only attention, memory only, limits."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model import record_files
from attention_atlas.model.arrays import BadRecord
from fastapi.testclient import TestClient

import attention_atlas as atlas

TOKENS = ["[CLS]", "the", "river", "bank", "[SEP]"]
TYPE = {"content-type": "application/octet-stream"}


def attention(*shape: int) -> Any:
    scores = np.random.default_rng(0).normal(size=shape or (2, 3, 5, 5))
    shares = np.exp(scores)
    return (shares / shares.sum(-1, keepdims=True)).astype(np.float32)


def as_safetensors(attn: Any, tokens: Any = TOKENS) -> bytes:
    metadata = {} if tokens is None else {"tokens": json.dumps(tokens)}
    return safetensors.numpy.save({"attn": attn}, metadata)


def as_npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


@pytest.fixture(scope="module")
def server() -> Any:
    settings = Settings(models="bert", threads=1, max_models=2, max_record=300_000)
    with TestClient(create_app(settings)) as client:
        yield client


def sent(server: TestClient, body: bytes, **headers: str) -> Any:
    return server.post("/api/v1/records", content=body, headers=TYPE | headers)


@pytest.mark.parametrize("make", [as_safetensors, lambda attn: as_npz(attn=attn, tokens=TOKENS)])
def test_a_file_is_a_model_of_one_text(server: TestClient, make: Any) -> None:
    attn = attention()
    answer = sent(server, make(attn)).json()
    spec = {"model": answer["record"], "text": answer["text"]}
    assert answer["model"]["source"] == "record" and answer["model"]["n_layer"] == 2
    shown = server.get(answer["links"]["attention"]).json()
    np.testing.assert_allclose(np.array(shown["attn"]), attn, atol=1e-6)
    assert [token["raw"] for token in shown["q_tokens"]] == TOKENS
    for path in ("/attention/overview", "/metrics", "/run"):
        assert server.get(f"/api/v1{path}", params=spec).status_code == 200, path
    page = server.get(answer["links"]["explore"].replace("?", ".json?")).json()
    assert (page["problem"], page["model"]) == (None, answer["record"])
    assert sent(server, make(attn)).json()["record"] == answer["record"]


def test_what_the_api_answers_can_be_sent_back(server: TestClient) -> None:
    spec = {"model": "bert", "text": "The river bank."}
    whole = server.get("/api/v1/attention", params=spec).json()
    for form in ("safetensors", "npz"):
        body = server.get("/api/v1/attention", params={**spec, "format": form}).content
        answer = sent(server, body).json()
        query = {"model": answer["record"], "text": answer["text"], "layer": 5}
        again = server.get("/api/v1/attention", params=query).json()
        np.testing.assert_allclose(again["attn"][0], whole["attn"][5], atol=1e-6)


def test_the_client_sends_arrays(server: TestClient) -> None:
    attn = attention()
    with atlas.Client(server.app) as client:
        answer = client.add_record(attn, TOKENS)
        result = client.attention(answer["record"], answer["text"])
    np.testing.assert_allclose(result.attn, attn, atol=1e-6)


TARGET = ["<s>", "la", "rive"]
KINDS = {
    "encoder": attention(2, 3, 5, 5),
    "decoder": attention(1, 2, 3, 3),
    "cross": attention(1, 2, 3, 5),
}


def test_an_encoder_decoders_attention_is_sent(server: TestClient) -> None:
    with atlas.Client(server.app) as client:
        answer = client.add_record(KINDS, TOKENS, TARGET)
        spec = {"model": answer["record"], "text": answer["text"]}
        for kind, attn in KINDS.items():
            result = client.attention(**spec, kind=kind)
            np.testing.assert_allclose(result.attn, attn, atol=1e-6)
        assert [token.raw for token in result.query_tokens] == TARGET
        assert client.metrics(**spec, kind="cross").values["entropy"].shape == (1, 2)
        assert [kind["shape"] for kind in client.run(**spec).kinds] == [
            list(attn.shape) for attn in KINDS.values()
        ]
        page = json.loads(client.page("/explore.json", {**spec, "kind": "cross"}))
    assert (page["problem"], page["kind"], len(page["q_tokens"])) == (None, "cross", 3)


def test_cross_attention_is_sent_and_sent_back(server: TestClient) -> None:
    texts = {"tokens": TOKENS, "target_tokens": TARGET}
    body = as_npz(attn=KINDS["cross"], **texts)
    answer = sent(server, body).json()
    spec = {"model": answer["record"], "text": answer["text"], "format": "safetensors"}
    again = sent(server, server.get("/api/v1/attention", params=spec).content).json()
    assert again["record"] == answer["record"] and again["model"]["kinds"] == ["cross"]
    body = safetensors.numpy.save(KINDS, {name: json.dumps(each) for name, each in texts.items()})
    assert sent(server, body).json()["model"]["kinds"] == [*KINDS]


def test_rows_that_do_not_sum_to_1_are_shown_and_said(server: TestClient) -> None:
    answer = sent(server, as_safetensors(attention() * 0.5)).json()
    [note] = answer["model"]["notes"]
    assert note["message"] == "Its rows do not all sum to 1: the largest difference is 0.5."
    assert server.get(answer["links"]["attention"]).status_code == 200


def damaged(at: int) -> bytes:
    return as_safetensors(attention())[:at]


class Trap:
    def __reduce__(self) -> Any:
        return (Path("/tmp/never").touch, ())


def pickled() -> bytes:
    out = io.BytesIO()
    np.savez(out, attn=attention(), tokens=np.array([Trap()] * 5, object))
    return out.getvalue()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("attn.npy", bytes(3_000_000))
    return out.getvalue()


def many_members() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for n in range(1001):
            packed.writestr(f"{n}.npy", b"")
    return out.getvalue()


WITH_NAN = attention() * np.where(np.eye(5), np.nan, 1).astype(np.float32)
LARGE = attention(1, 2, 200, 200).astype(np.float16)
REFUSED: list[tuple[bytes, str, str]] = [
    (
        as_npz(attn=KINDS["cross"], tokens=TOKENS, target_tokens=TARGET[1:]),
        "target_tokens",
        "3 queries and 5 keys; there are 5 tokens and 2 target tokens",
    ),
    (as_npz(**KINDS, tokens=TOKENS), "target_tokens", "give target_tokens too"),
    (as_safetensors(attention(), TOKENS[1:]), "tokens", "5 queries and 5 keys, and there are 4 to"),
    (as_safetensors(attention(3, 5, 5)), "attn", "attn is (3, 5, 5); its axes are (layer, head,"),
    (as_safetensors(WITH_NAN), "attn", "numbers that are not finite (NaN or infinite)"),
    (as_safetensors(-attention()), "attn", "has numbers below 0, down to -0."),
    (
        as_safetensors(attention(1, 2, 200, 200).astype(np.float16), ["a"] * 200),
        "attn",
        "at most 75000 are kept",
    ),
    (as_safetensors(attention(), None), "tokens", "the file has no tokens"),
    (as_safetensors(attention(), [1, 2, 3, 4, 5]), "tokens", "the file has no tokens"),
    (as_safetensors((attention() * 255).astype(np.uint8)), "attn", "holds pictures (uint8)"),
    (as_npz(tokens=TOKENS), "attn", "no tensor named attn"),
    (as_npz(attn=np.array([["x"]]), tokens=TOKENS), "attn", "not numbers"),
    (damaged(40), "attn", "neither whole safetensors nor npz"),
    (damaged(-9), "attn", "neither whole safetensors nor npz"),
    (as_npz(attn=attention())[:200], "attn", "neither whole safetensors nor npz"),
    (b"", "attn", "neither whole safetensors nor npz"),
    (b"\xff" * 99, "attn", "neither whole safetensors nor npz"),
    (pickled(), "tokens", "would have to run code to read"),
    (many_members(), "attn", "the archive has 1001 members; at most 1000"),
    (as_npz(attn=attention(), tokens=np.array(["a"] * 3000)), "tokens", "there are 3000 tokens"),
    (as_safetensors(attention(200, 100, 1, 1), ["a"]), "attn", "20000 heads in all layers"),
    (bomb(), "attn", "unpacked, the file has 3000000 bytes; at most 1200000 are taken"),
]


@pytest.mark.parametrize(("body", "field", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_shown_is_named(
    server: TestClient, body: bytes, field: str, message: str
) -> None:
    answer = sent(server, body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field and message in error["message"]
    chinese = sent(server, body, **{"accept-language": "zh"}).json()["errors"][0]["message"]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
    assert not Path("/tmp/never").exists()


def test_size_origin_and_permission_are_checked(server: TestClient) -> None:
    assert sent(server, bytes(300_001)).status_code == 413
    other = sent(server, as_safetensors(attention()), origin="http://elsewhere.example")
    assert other.status_code == 403
    form = {"content-type": "text/plain"}
    assert server.post("/api/v1/records", content=b"x", headers=form).status_code == 403
    with TestClient(create_app(Settings(models="gpt", threads=1, load_models="off"))) as closed:
        assert sent(closed, as_safetensors(attention())).status_code == 403


def test_as_many_are_kept_as_models_and_nothing_is_written(
    server: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for n in range(3):
        names.append(sent(server, as_safetensors(attention(1, n + 1, 5, 5))).json()["record"])
    here = {model["name"] for model in server.get("/api/v1/models").json()["models"]}
    assert here & {*names} == {*names[1:]}
    gone = server.get("/api/v1/attention", params={"model": names[0], "text": "x"})
    assert gone.status_code == 404
    assert list(tmp_path.iterdir()) == []


def test_labels_are_bounded_before_they_are_parsed() -> None:
    """In memory, lists of nothing take twenty times their bytes; no server need take the file."""
    nothing = "[" + "[]," * 6_000_000 + "[]]"
    body = safetensors.numpy.save({"attn": attention()}, {"tokens": nothing})
    metadata = np.array(nothing[:5_000_000])
    for each in (body, as_npz(attn=attention(), metadata=metadata)):
        with pytest.raises(BadRecord, match="bytes beside its attention"):
            record_files.loaded(each, 64_000_000)
