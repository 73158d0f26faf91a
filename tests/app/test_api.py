"""The REST contract."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import safetensors.numpy

BANK = "He sat on the river bank."
ONE = {"model": "bert", "text": BANK, "layer": 2, "head": 3}
EVERY_KIND = [
    ("bert", "encoder"),
    ("gpt", "decoder"),
    ("translator", "encoder"),
    ("translator", "decoder"),
    ("translator", "cross"),
    ("recurrent", "cross"),
]


def test_models_are_described(get):
    models = {model["name"]: model for model in get("/models")["models"]}
    assert {name: models[name]["family"] for name in models} == {
        "bert": "encoder",
        "gpt": "decoder",
        "translator": "encoder-decoder",
        "recurrent": "recurrent",
    }
    assert models["translator"]["kinds"] == ["encoder", "decoder", "cross"]
    for model in models.values():
        assert model["d_model"] == 256
        assert model["d_head"] * model["n_head"] == model["d_model"]
        assert 5e6 <= model["n_parameters"] <= 10e6
        assert len(model["sha256"]) == 64


@pytest.mark.parametrize("name", ["bert", "gpt", "translator", "recurrent"])
def test_a_card_names_its_data_and_licences(get, name):
    card = get(f"/models/{name}")
    assert card["data"]
    assert all(source["licence"] and source["attribution"] for source in card["data"])
    first, last = card["curve"][0], card["curve"][-1]
    assert last["held_out_loss"] < first["held_out_loss"] - 1
    assert (
        sum(np.prod(shape) for shape in card["parameter_shapes"].values()) == (card["n_parameters"])
    )


def test_tokens_carry_their_spans(get):
    answer = get("/tokenize", model="bert", text=BANK)
    words = [token for token in answer["tokens"] if not token["special"]]
    assert [token["text"] for token in words] == ["He", "sat", "on", "the", "river", "bank", "."]
    assert all(BANK[token["start"] : token["end"]] == token["text"] for token in words)
    assert [token["word"] for token in words] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("model", "kind"), EVERY_KIND)
def test_rows_sum_to_one_and_axes_have_their_tokens(get, model, kind):
    answer = get("/attention", model=model, text="El banco está cerrado.", kind=kind)
    attn = np.array(answer["attn"], np.float32)
    assert attn.shape == tuple(answer["shape"])
    assert attn.shape[2:] == (len(answer["q_tokens"]), len(answer["k_tokens"]))
    np.testing.assert_allclose(attn.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("model", "kind"), [("gpt", "decoder"), ("translator", "decoder")])
def test_masked_places_are_zero_and_their_scores_null(get, model, kind):
    asked = {"model": model, "text": "El banco.", "kind": kind, "layer": 1, "head": 2}
    attn = np.array(get("/attention", **asked)["attn"][0][0])
    scores = get("/attention", **asked, quantity="scores")["attn"][0][0]
    ahead = np.triu(np.ones_like(attn, dtype=bool), 1)
    assert (attn[ahead] == 0).all()
    assert (np.array([[value is None for value in row] for row in scores]) == ahead).all()


def test_scores_soften_to_attention(get):
    attn = np.array(get("/attention", **ONE)["attn"])
    scores = np.exp(np.array(get("/attention", **ONE, quantity="scores")["attn"]))
    np.testing.assert_allclose(scores / scores.sum(-1, keepdims=True), attn, atol=1e-5)


def test_a_part_is_that_part_of_the_whole(get):
    whole = np.array(get("/attention", model="gpt", text=BANK)["attn"])
    part = get("/attention", model="gpt", text=BANK, layer="4,1", head=7)
    assert (part["layers"], part["heads"], part["shape"][:2]) == ([4, 1], [7], [2, 1])
    np.testing.assert_array_equal(np.array(part["attn"]), whole[[4, 1]][:, [7]])


def test_cross_attention_goes_from_target_to_source(get):
    asked = {"model": "translator", "text": "El banco.", "target": "The bank."}
    answer = get("/attention", **asked, kind="cross")
    assert [token["text"] for token in answer["q_tokens"]] == ["<s>", "The", " bank", "."]
    assert [token["text"] for token in answer["k_tokens"]] == ["El", " banco", ".", "</s>"]


def test_a_target_left_out_is_decoded_greedily(get):
    decoded = get("/run", model="translator", text="El banco está cerrado.")
    assert decoded["target_decoded"] is True
    given = get("/run", model="translator", text=decoded["text"], target=decoded["target"])
    assert given["target_decoded"] is False
    assert given["predictions"]["log_probability"] == pytest.approx(
        decoded["predictions"]["log_probability"], abs=1e-4
    )


def test_run_says_what_there_is_and_where(get, client):
    answer = get("/run", model="translator", text="Hola.", target="Hello.")
    shapes = {kind["kind"]: (kind["q"], kind["k"], kind["shape"]) for kind in answer["kinds"]}
    T, S = len(answer["sequences"]["target"]), len(answer["sequences"]["source"])
    assert shapes == {
        "encoder": ("source", "source", [4, 8, S, S]),
        "decoder": ("target", "target", [4, 8, T, T]),
        "cross": ("target", "source", [4, 8, T, S]),
    }
    for link in answer["links"].values():
        assert client.get(link).status_code == 200


def test_predictions_are_distributions(get):
    following = get("/run", model="gpt", text="The king and the")["predictions"]["next_token"]
    probabilities = [candidate["probability"] for candidate in following]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    blank = get("/run", model="bert", text="He sat on the [MASK] bank.")["predictions"]["masks"]
    assert [mask["position"] for mask in blank] == [5]
    pair = get("/run", model="bert", text="It rained.", text_pair="They went home.")
    assert 0 < pair["predictions"]["is_next"] < 1


@pytest.mark.parametrize(
    "resource", ["/attention", "/attention/overview", "/run", "/tokenize", "/metrics", "/anatomy"]
)
def test_post_answers_what_get_answers(client, resource):
    asked = {"model": "bert", "text": BANK}
    got = client.get(f"/api/v1{resource}", params=asked)
    posted = client.post(f"/api/v1{resource}", json=asked)
    assert got.json() == posted.json()
    assert got.headers["etag"] == posted.headers["etag"]


def test_every_format_holds_the_same_numbers(client):
    asked = {**ONE, "model": "gpt"}
    as_json = client.get("/api/v1/attention", params=asked).json()
    attn = np.array(as_json["attn"], np.float32)
    accept = {"Accept": "application/vnd.safetensors"}
    content = client.get("/api/v1/attention", params=asked, headers=accept).content
    tensors = safetensors.numpy.load(content)
    np.testing.assert_array_equal(tensors["attn"], attn)
    np.testing.assert_array_equal(tensors["mask"], np.array(as_json["mask"]))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    labels = {name: json.loads(value) for name, value in header["__metadata__"].items()}
    assert labels == {name: as_json[name] for name in as_json if name not in ("attn", "mask")}
    answer = client.get("/api/v1/attention", params={**asked, "format": "npz"})
    npz = np.load(io.BytesIO(answer.content))
    np.testing.assert_array_equal(npz["attn"], attn)
    assert json.loads(str(npz["metadata"])) == labels
    answer = client.get("/api/v1/attention", params={**asked, "format": "csv"})
    rows = list(csv.DictReader(answer.text.splitlines()))
    for row in rows:
        q, k = int(row["query"]), int(row["key"])
        assert np.float32(row["attn"]) == attn[0, 0, q, k]
    assert len(rows) == np.array(as_json["mask"]).sum()


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 5e-4), ("uint8", 0.5)])
def test_smaller_dtypes_are_the_rounded_numbers(client, dtype, atol):
    asked = {"params": {**ONE, "format": "safetensors"}}
    exact = safetensors.numpy.load(client.get("/api/v1/attention", **asked).content)["attn"]
    asked["params"]["dtype"] = dtype
    small = safetensors.numpy.load(client.get("/api/v1/attention", **asked).content)["attn"]
    assert str(small.dtype) == dtype
    scale = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(small.astype(np.float32), exact * scale, atol=atol)


def test_words_are_summed_over_keys_and_averaged_over_queries(get):
    asked = {"model": "bert", "text": "Unquestionably brilliant.", "layer": 1, "head": 1}
    pieces, words = get("/attention", **asked), get("/attention", **asked, merge="words")
    attn = np.array(pieces["attn"][0][0])
    owner = [token["word"] for token in pieces["q_tokens"]]
    first = [i for i, word in enumerate(owner) if word == 0]
    assert len(first) > 1
    assert words["q_tokens"][1]["text"] == "Unquestionably"
    expected = attn[first][:, first].sum(1).mean()
    assert words["attn"][0][0][1][1] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(np.sum(words["attn"], -1), 1, atol=1e-5)


def test_special_tokens_are_hidden_or_rows_renormalised(get):
    kept, hidden, renormalised = (
        get("/attention", **ONE, special=special) for special in ("keep", "hide", "renormalise")
    )
    inner = np.array(kept["attn"])[..., 1:-1, 1:-1]
    np.testing.assert_array_equal(hidden["attn"], inner)
    total = inner.sum(-1, keepdims=True)
    np.testing.assert_allclose(renormalised["attn"], inner / total, atol=1e-5)
    assert not any(token["special"] for token in hidden["k_tokens"])


def test_reductions_go_over_heads(get):
    asked = {"model": "bert", "text": BANK, "layer": "0,1"}
    attn = np.array(get("/attention", **asked)["attn"])
    mean = get("/attention", **asked, reduce="mean_heads")
    np.testing.assert_allclose(mean["attn"], attn.mean(1, keepdims=True), atol=1e-6)
    largest = get("/attention", **asked, reduce="max_heads")["attn"]
    np.testing.assert_allclose(largest, attn.max(1, keepdims=True), atol=1e-6)
    eye = np.eye(attn.shape[-1])
    first, second = (attn.mean(1) + eye) / 2
    rolled = get("/attention", **asked, reduce="rollout")["attn"]
    np.testing.assert_allclose(rolled, (second @ first)[None, None], atol=1e-6)


def test_the_overview_is_the_largest_of_each_block(get):
    asked = {"model": "gpt", "text": "one two three four five six seven eight nine"}
    attn = np.array(get("/attention", **asked)["attn"])
    small = get("/attention/overview", **asked, size=4)
    T = attn.shape[-1]
    block = -(-T // 4)
    assert small["block"] == [block, block]
    assert small["attn"][3][5][0][0] == round(255 * attn[3, 5, :block, :block].max())
    assert small["mask"][0][0][0] == [True] + [False] * (small["shape"][-1] - 1)


def test_an_edit_is_felt_by_everything_after_it(get):
    asked = {"model": "gpt", "text": BANK}
    plain = np.array(get("/attention", **asked)["attn"])
    edits = json.dumps([{"op": "block", "layer": 2, "head": 0, "query": 4, "key": 0}])
    answer = get("/attention", **asked, edits=edits)
    edited, mask = np.array(answer["attn"]), np.array(answer["mask"])
    np.testing.assert_array_equal(edited[:2], plain[:2])
    assert edited[2, 0, 4, 0] == 0
    assert not mask[2, 0, 4, 0]
    assert mask[1, 0, 4, 0]
    assert abs(edited[3:] - plain[3:]).max() > 0


def test_the_same_request_is_answered_304(client):
    url = "/api/v1/attention?model=bert&text=hi&layer=0&head=0"
    first = client.get(url)
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get(f"{url}&format=npz", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


BAD = [
    ("/run?model=nope&text=hi", 404, "model", "there are bert, gpt, translator, recurrent"),
    ("/run?model=bert&text=", 422, "text", "empty"),
    ("/run?model=bert&text=%20%20", 422, "text", "no tokens"),
    ("/run?model=bert", 422, "text", "required"),
    ("/run?model=bert&text=a%00b", 422, "text", "NUL byte at character 1"),
    ("/run?model=bert&text=hi&speed=9", 422, "speed", "not permitted"),
    ("/run?model=gpt&text=hi&text_pair=ho", 422, "text_pair", "one text"),
    ("/run?model=bert&text=hi&target=ho", 422, "target", "no target"),
    ("/run?model=bert&text=hi&edits=%7B", 422, "edits", "is JSON"),
    ("/run?model=bert&text=hi&edits=[{%22op%22:%22x%22}]", 422, "edits.0.op", "'ablate'"),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22ablate%22,%22head%22:8}]",
        422,
        "edits",
        "head 8 does not exist: bert has heads 0 to 7",
    ),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22set%22,%22row%22:[1,2]}]",
        422,
        "edits",
        "row has 2 numbers; there are 4 keys",
    ),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22block%22,%22key%22:9}]",
        422,
        "edits",
        "key 9 does not exist: the text has 4 key tokens",
    ),
    (
        "/run?model=translator&text=hola&edits=[{%22op%22:%22set%22,%22row%22:[1]}]",
        422,
        "edits",
        "needs a target",
    ),
    ("/attention?model=bert&text=hi&layer=99", 422, "layer", "layers 0 to 5"),
    ("/attention?model=bert&text=hi&head=-1", 422, "head", "head -1 does not exist"),
    ("/attention?model=bert&text=hi&layer=1,1", 422, "layer", "named more than once"),
    ("/attention?model=bert&text=hi&layer=9" + "9" * 30, 422, "layer", "is not a number"),
    ("/attention?model=bert&text=hi&reduce=rollout&layer=0,2", 422, "reduce", "needs every layer"),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22scale%22,%22by%22:1e300}]",
        422,
        "edits",
        "too large for float32",
    ),
    ("/attention?model=bert&text=hi&head=two", 422, "head", "'two' is not a number"),
    ("/attention?model=bert&text=hi&kind=cross", 422, "kind", "bert has encoder attention"),
    ("/attention?model=bert&text=hi&kind=sideways", 422, "kind", "'encoder', 'decoder' or 'cross'"),
    ("/attention?model=bert&text=hi&format=xml", 422, "format", "'json', 'safetensors'"),
    ("/attention?model=bert&text=hi&format=csv", 422, "format", "csv holds one head"),
    ("/attention?model=bert&text=hi&quantity=scores&merge=words", 422, "merge", "not scores"),
    ("/attention?model=bert&text=hi&reduce=rollout&layer=1", 422, "reduce", "needs every layer"),
    ("/attention/overview?model=bert&text=hi&size=0", 422, "size", "greater than or equal to 1"),
]


@pytest.mark.parametrize(("url", "status", "field", "says"), BAD)
def test_bad_input_is_a_problem_that_names_the_field(client, url, status, field, says):
    answer = client.get(f"/api/v1{url}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert [error["field"] for error in problem["errors"]] == [field]
    assert says in problem["detail"]


@pytest.mark.parametrize(
    ("model", "text", "says"),
    [
        ("bert", "bank " * 600, "602 tokens is too long: bert takes 512. Remove 90 or more."),
        ("gpt", "bank " * 600, "too long: gpt takes 512"),
        ("translator", "banco " * 200, "too long: translator takes 128"),
        ("bert", "x" * 30_000, "the text has 30000 characters; at most 20000 are taken"),
    ],
)
def test_a_text_too_long_is_told_the_limit_and_its_length(client, model, text, says):
    for answer in (
        client.post("/api/v1/run", json={"model": model, "text": text}),
        client.get("/api/v1/run", params={"model": model, "text": text}),
    ):
        assert answer.status_code == 422
        assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"model": "bert", "text": "\\ud800"}', 422, "half of a surrogate pair at character 0"),
        (b'{"model": "bert", "text": 7}', 422, "valid string"),
        (b'{"model": ["bert"], "text": "hi"}', 422, "valid string"),
        (b"not json", 422, "JSON"),
        (b"[]", 422, "valid dictionary"),
        (b'{"model": "bert", "text": "' + b"x" * 1_100_000 + b'"}', 413, "at most 1000000"),
    ],
)
def test_a_bad_body_is_a_problem(client, body, status, says):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/run", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_a_huge_answer_is_refused_as_json_and_given_as_safetensors(client):
    asked = {"model": "bert", "text": "bank " * 300}
    refused = client.post("/api/v1/attention", json=asked)
    assert refused.status_code == 422
    assert "4377792 numbers are too many for json" in refused.json()["detail"]
    given = client.post("/api/v1/attention", json={**asked, "format": "safetensors"})
    assert safetensors.numpy.load(given.content)["attn"].shape == (6, 8, 302, 302)


@pytest.mark.parametrize(
    "text", ["😀 e\u0301 n\u0303", "שלום עולם", "河岸和银行", "\u200bzero\u200d width"]
)
@pytest.mark.parametrize("model", ["bert", "gpt", "translator", "recurrent"])
def test_any_script_is_taken(get, model, text):
    answer = get("/run", model=model, text=text)
    for token in answer["sequences"]["source"]:
        assert token["special"] or token["text"] == text[token["start"] : token["end"]]


def test_unknown_paths_and_methods_are_problems(client):
    for answer in (client.get("/api/v1/nope"), client.delete("/api/v1/run")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    assert client.get("/api/v1/nope").status_code == 404
    assert client.delete("/api/v1/run").status_code == 405


def test_openapi_describes_every_resource_with_an_example_that_works(client):
    schema = client.get("/openapi.json").json()
    for path in ("tokenize", "run", "attention", "attention/overview"):
        operation = schema["paths"][f"/api/v1/{path}"]["get"]
        assert operation["description"]
        required = [row for row in operation["parameters"] if row["required"]]
        example = {row["name"]: row["schema"]["examples"][0] for row in required}
        assert client.get(f"/api/v1/{path}", params=example).status_code == 200
        assert all(row["description"] for row in operation["parameters"])


def test_the_largest_over_heads_of_words_is_never_more_than_one(get):
    asked = {"model": "bert", "text": "Antidisestablishmentarianism.", "layer": 0}
    words = np.array(get("/attention", **asked, merge="words")["attn"])
    largest = np.array(get("/attention", **asked, merge="words", reduce="max_heads")["attn"])
    np.testing.assert_array_equal(largest, words.max(1, keepdims=True))
    assert largest.max() <= 1 + 1e-5


@pytest.mark.parametrize("edits", [None, '[{"op": "block", "layer": 0, "head": 1, "key": 0}]'])
def test_an_answer_does_not_depend_on_what_was_asked_before(client, edits):
    asked = {"model": "gpt", "text": f"Asked twice {edits}", "layer": "0,1", "head": "1,0"}
    asked |= {"edits": edits} if edits else {}
    alone = client.get("/api/v1/attention", params=asked)
    client.get("/api/v1/run", params={k: asked[k] for k in asked if k not in ("layer", "head")})
    cached = client.get("/api/v1/attention", params=asked)
    first, second = alone.json(), cached.json()
    assert first["mask"] == second["mask"]
    np.testing.assert_allclose(first["attn"], second["attn"], atol=1e-6)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/csv;q=0.1, application/json", "application/json"),
        ("application/json;q=0, text/csv", "text/csv; charset=utf-8"),
        ("text/html, application/vnd.safetensors;q=0.9, */*", "application/vnd.safetensors"),
        ("*/*", "application/json"),
    ],
)
def test_the_accept_header_is_heeded(client, accept, media):
    url = "/api/v1/attention?model=bert&text=hi&layer=0&head=0"
    assert client.get(url, headers={"Accept": accept}).headers["content-type"] == media


def test_an_overview_is_never_csv(client):
    url = "/api/v1/attention/overview?model=bert&text=hi"
    answer = client.get(url, headers={"Accept": "text/csv, */*"})
    assert answer.headers["content-type"] == "application/json"


def test_a_request_that_is_refused_is_never_304(client):
    url = "/api/v1/attention?model=bert&text=&layer=99"
    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 422


def test_head_answers_as_get_without_the_body(client):
    for path in ("/healthz", "/explore", "/api/v1/run?model=bert&text=hi"):
        head, got = client.head(path), client.get(path)
        assert (head.status_code, head.headers.get("etag")) == (200, got.headers.get("etag"))


@pytest.mark.parametrize(("model", "kind"), EVERY_KIND)
def test_anatomy_leads_step_by_step_to_the_attention(get, model, kind):
    place = {"model": model, "text": "El banco está cerrado.", "kind": kind}
    place |= {"layer": 0, "head": 0}
    found = get("/anatomy", **place, query=2)
    q, k, products, v = (np.array(found[name]) for name in ("q", "k", "products", "v"))
    mask = np.array(found["mask"])
    if found["score"] == "dot_product":
        np.testing.assert_allclose(products, q * k, atol=1e-5)
        assert found["scale"] == pytest.approx(q.size**-0.5)
    np.testing.assert_allclose(products.sum(-1), found["dots"], atol=1e-4)
    scores = np.array([-np.inf if score is None else score for score in found["scores"]])
    scaled = np.where(mask, np.array(found["dots"]) * found["scale"], -np.inf)
    np.testing.assert_allclose(scores, scaled, atol=1e-4)
    np.testing.assert_allclose(np.array(found["attn"]) @ v, found["z"], atol=1e-5)
    whole = get("/attention", **place)
    np.testing.assert_allclose(found["attn"], whole["attn"][0][0][2], atol=1e-6)
    assert found["q_tokens"] == whole["q_tokens"]
    assert found["k_tokens"] == whole["k_tokens"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"query": 99}, "query 99 does not exist: the text has 9 query tokens, 0 to 8"),
        ({"layer": 6}, "layer 6 does not exist: bert has layers 0 to 5"),
        ({"head": 8}, "head 8 does not exist: bert has heads 0 to 7"),
        ({"kind": "cross"}, "bert has encoder attention, not cross"),
    ],
)
def test_anatomy_names_what_is_there(client, place, message):
    answer = client.get("/api/v1/anatomy", params={"model": "bert", "text": BANK, **place})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_anatomy_comes_as_safetensors_too(client, get):
    asked = {"model": "bert", "text": BANK, "layer": 2, "head": 3, "query": 6}
    answer = client.get("/api/v1/anatomy", params={**asked, "format": "safetensors"})
    tensors = safetensors.numpy.load(answer.content)
    assert tensors["k"].shape == (9, 32)
    np.testing.assert_allclose(tensors["attn"], get("/anatomy", **asked)["attn"], atol=1e-7)


def test_metrics_are_of_the_attention_that_is_answered(get):
    found = get("/metrics", model="bert", text=BANK)
    attn = np.array(get("/attention", model="bert", text=BANK)["attn"])
    assert found["axes"] == ["layer", "head"]
    first = attn[..., 0].mean(-1)
    special = attn[..., [0, -1]].sum(-1).mean(-1)
    np.testing.assert_allclose(found["metrics"]["first_token"], first, atol=1e-6)
    np.testing.assert_allclose(found["metrics"]["special"], special, atol=1e-6)
    previous = np.diagonal(attn, -1, -2, -1).mean(-1)
    np.testing.assert_allclose(found["metrics"]["previous_token"], previous, atol=1e-6)
    assert found["definitions"].keys() == found["metrics"].keys()
    assert "nats" in found["definitions"]["entropy"]


def test_metrics_that_need_one_sequence_are_left_out_of_cross_attention(get):
    found = get("/metrics", model="translator", text="El banco.", kind="cross")
    assert found["metrics"].keys() == {"entropy", "first_token", "special"}
