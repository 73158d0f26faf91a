"""/lab/sweep."""

from __future__ import annotations

import json

import pytest
from attention_atlas.app.api import lab

RIVER = {"model": "bert", "text": "He sat on the river [MASK] and watched the water."}
MONEY = RIVER | {"text": "He sat on the money [MASK] and watched the water."}
KING = {"model": "gpt", "text": "The king of France was the old"}


def test_the_default_asks_for_the_best_guess_and_the_next(post):
    answer = post("/lab/sweep", clean=RIVER)
    metric = answer["metric"]
    filled = post("/fill-mask", **RIVER)["masks"][0]
    best, second = filled["candidates"][:2]
    assert (metric["answer"]["id"], metric["other"]["id"]) == (best["id"], second["id"])
    assert metric["clean"] == pytest.approx(best["logit"] - second["logit"], abs=1e-4)
    assert metric["position"] == filled["position"]
    assert (len(answer["effect"]), len(answer["effect"][0])) == (6, 12)
    assert answer["sum"] == pytest.approx(sum(map(sum, answer["effect"])), abs=1e-4)
    assert answer["agreement"] > 0.5, "small changes add up nearly as their slopes say"


def test_an_effect_is_the_run_with_that_head_switched_off(post):
    answer = post("/lab/sweep", clean=KING)
    ids = [answer["metric"][name]["id"] for name in ("answer", "other")]
    edited = KING | {"edits": [{"op": "ablate", "layer": 2, "head": 3}]}
    following = {c["id"]: c["logit"] for c in post("/next-token", **edited, top=100)["candidates"]}
    changed = following[ids[0]] - following[ids[1]]
    assert answer["effect"][2][3] == pytest.approx(changed - answer["metric"]["clean"], abs=1e-4)


def test_a_sweep_starts_from_the_runs_own_edits(post):
    edited = KING | {"edits": [{"op": "ablate", "layer": 2, "head": 3}]}
    metric = post("/lab/sweep", clean=KING)["metric"]
    tokens = {"answer": metric["answer"]["id"], "other": metric["other"]["id"]}
    answer = post("/lab/sweep", clean=edited, metric=tokens)
    assert answer["metric"]["clean"] != pytest.approx(metric["clean"], abs=1e-3)
    assert answer["effect"][2][3] == pytest.approx(0, abs=1e-4), "it is off already"


@pytest.mark.parametrize("run", [RIVER, KING], ids=lambda run: run["model"])
def test_a_word_names_its_token(post, run):
    tokens = post("/tokenize", model=run["model"], text="the money")["tokens"]
    money = next(token for token in tokens if "money" in token["text"])
    metric = post("/lab/sweep", clean=run, metric={"answer": "money"})["metric"]
    assert metric["answer"] == {"id": money["id"], "text": money["text"]}


def test_get_answers_what_post_answers(client, post):
    body = {"clean": RIVER, "corrupted": MONEY, "how": "noise", "metric": {"position": 6}}
    query = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in body.items()
    }
    got = client.get("/api/v1/lab/sweep", params=query)
    assert got.json() == post("/lab/sweep", **body)
    again = client.get(
        "/api/v1/lab/sweep", params=query, headers={"If-None-Match": got.headers["etag"]}
    )
    assert again.status_code == 304


def test_shares_lie_between_two_runs(post):
    body = {"clean": RIVER, "corrupted": MONEY}
    denoised = post("/lab/sweep", **body, how="denoise")
    estimated = post("/lab/sweep", **body, how="attribution")
    assert denoised["unit"] == estimated["unit"] == "share"
    assert denoised["joint"] == pytest.approx(1, abs=1e-3), "all that the blank knows of the word"
    assert estimated["effect"] == estimated["estimate"] == denoised["estimate"]
    assert post("/lab/sweep", **body, how="resample")["unit"] == "change"


def test_positions_have_a_column_for_each_token(post):
    answer = post("/lab/sweep", clean=RIVER, corrupted=MONEY, how="denoise", over="positions")
    assert {len(row) for row in answer["effect"]} == {len(answer["tokens"])}
    assert len(answer["corrupted_tokens"]) == len(answer["tokens"])


def test_a_mean_says_over_how_many_positions_it_is(post):
    texts = ["The river is deep.", "She opened an account."]
    n = [len(post("/tokenize", model="bert", text=text)["tokens"]) for text in texts]
    assert post("/lab/sweep", clean=RIVER, how="mean", reference=texts)["n_reference"] == sum(n)
    assert post("/lab/sweep", clean=RIVER, how="mean_positions")["n_reference"] == 0


def test_a_corrupted_source_is_read_with_the_clean_target(post):
    clean = {"model": "translator", "text": "El banco está cerrado."}
    answer = post(
        "/lab/sweep",
        clean=clean,
        corrupted=clean | {"text": "El hotel está cerrado."},
        how="noise",
        kind="cross",
        metric={"position": 1},
    )
    assert answer["tokens"] == answer["corrupted_tokens"]
    assert answer["metric"]["corrupted"] != answer["metric"]["clean"]


def test_layers_come_as_they_are_done(client, post):
    body = {"clean": KING, "stream": True}
    with client.stream("POST", "/api/v1/lab/sweep", json=body) as response:
        events = [block.split("\n") for block in response.read().decode().split("\n\n") if block]
    names = [lines[0].removeprefix("event: ") for lines in events]
    assert names == ["start", *["layer"] * 6, "result"]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert [part["effect"] for part in data[1:-1]] == data[-1]["effect"]
    assert data[-1] == post("/lab/sweep", clean=KING)


def test_edges_have_a_row_for_each_query(client, post):
    answer = post("/lab/sweep", clean=KING, over="edges", layer=5, head=3)
    n = len(answer["tokens"])
    assert [len(row) for row in answer["effect"]] == [n] * n
    off = {"how": "zero", "layer": 5, "head": 3}
    alone = post("/lab/effects", clean=KING, interventions=[off])["joint"]["change"]
    assert answer["joint"] == pytest.approx(alone, abs=1e-4)
    assert answer["agreement"] > 0.5
    query = {"clean": json.dumps(KING), "over": "edges", "layer": 5, "head": 3}
    assert client.get("/api/v1/lab/sweep", params=query).json() == answer


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"clean": {"model": "bert", "text": "no blank"}}, "text", "no-blank"),
        ({"clean": RIVER, "how": "denoise"}, "body", "needs-corrupted"),
        ({"clean": RIVER, "how": "mean"}, "body", "needs-reference"),
        ({"clean": RIVER, "over": "edges", "layer": 1}, "body", "edges-of-one-head"),
        ({"clean": RIVER, "corrupted": KING}, "body", "two-models"),
        ({"clean": RIVER, "corrupted": RIVER, "how": "noise"}, "corrupted", "same-metric"),
        (
            {"clean": RIVER, "corrupted": RIVER | {"text": "[MASK]"}, "how": "noise"},
            "corrupted",
            "not-as-long",
        ),
        ({"clean": RIVER, "metric": {"answer": 10**6}}, "metric", "token-out-of-range"),
        ({"clean": RIVER, "metric": {"other": " "}}, "metric", "no-token"),
        ({"clean": RIVER, "metric": {"position": 13}}, "position", "out-of-range"),
        ({"clean": RIVER, "kind": "cross"}, "kind", "unknown-kind"),
        (
            {"clean": RIVER | {"text": "bank " * 490 + "[MASK]"}, "over": "positions"},
            "text",
            "sweep-too-long",
        ),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_done_is_said(client, body, field, code, language):
    response = client.post("/api/v1/lab/sweep", json=body, headers={"Accept-Language": language})
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert any("\u4e00" <= c <= "\u9fff" for c in error["message"]) == (language == "zh")


def test_the_attention_that_a_gradient_keeps_is_limited(client, monkeypatch):
    monkeypatch.setattr(lab, "MOST_KEPT", 48 * 6**2)
    response = client.post("/api/v1/lab/sweep", json={"clean": KING})
    [error] = response.json()["errors"]
    assert (error["code"], error["limit"]) == ("sweep-too-long", 6)
    assert response.status_code == 422
