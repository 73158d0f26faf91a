"""/lab/effects."""

from __future__ import annotations

import json

import pytest

RIVER = {"model": "bert", "text": "He sat on the river [MASK] and watched the water."}
MONEY = RIVER | {"text": "He sat on the money [MASK] and watched the water."}
LONGER = RIVER | {"text": "He sat on the big money [MASK] and watched the water."}
KING = {"model": "gpt", "text": "The king of France was the old"}
ZERO = {"how": "zero", "layer": 2, "head": 3}


def test_an_intervention_is_the_run_with_that_edit(post):
    answer = post("/lab/effects", clean=KING, interventions=[ZERO])
    edited = KING | {"edits": [{"op": "ablate", "layer": 2, "head": 3}]}
    before, after = (post("/next-token", **run)["candidates"] for run in (KING, edited))
    for name, candidates in (("clean", before), ("joint", after)):
        shown = answer["candidates"][name]
        assert [c["id"] for c in shown] == [c["id"] for c in candidates]
        expected = pytest.approx([c["logit"] for c in candidates], abs=1e-4)
        assert [c["logit"] for c in shown] == expected
    metric = answer["metric"]
    assert metric["clean"] == pytest.approx(before[0]["logit"] - before[1]["logit"], abs=1e-4)
    [effect] = answer["interventions"]
    assert effect["change"] == pytest.approx(effect["value"] - metric["clean"], abs=1e-5)
    assert effect["share"] is None and answer["run"] == "clean"


def test_a_joint_effect_stands_beside_the_sum(post):
    stack = [ZERO, {"how": "zero", "layer": 4}]
    answer = post("/lab/effects", clean=KING, interventions=stack)
    single = [effect["change"] for effect in answer["interventions"]]
    assert answer["sum"] == pytest.approx(sum(single), abs=1e-4)
    alone = post("/lab/effects", clean=KING, interventions=stack[1:])
    assert alone["joint"]["change"] == pytest.approx(single[1], abs=1e-4)
    assert abs(answer["joint"]["change"] - answer["sum"]) > 1e-3


def test_without_interventions_nothing_changes(post):
    answer = post("/lab/effects", clean=RIVER, corrupted=MONEY)
    assert answer["joint"]["change"] == pytest.approx(0, abs=1e-4)
    assert answer["candidates"]["joint"] == answer["candidates"]["clean"]
    assert answer["candidates"]["corrupted"] != answer["candidates"]["clean"]


@pytest.mark.parametrize(("how", "run"), [("noise", "clean"), ("denoise", "corrupted")])
def test_everything_patched_is_the_other_run(post, how, run):
    """The texts differ in one word alone, and the blank knows of it by attention alone."""
    answer = post("/lab/effects", clean=RIVER, corrupted=MONEY, interventions=[{"how": how}])
    assert answer["run"] == run
    assert answer["joint"]["share"] == pytest.approx(1, abs=1e-3)


def test_tokens_without_a_partner_are_said(post):
    answer = post("/lab/effects", clean=RIVER, corrupted=LONGER, interventions=[{"how": "noise"}])
    [row] = answer["partners"]
    assert (row["sequence"], row["alone"], row["corrupted_alone"]) == ("source", [5], [5, 6])
    pairs = [
        (answer["sequences"]["source"][i]["text"], answer["corrupted_sequences"]["source"][j])
        for i, j in row["pairs"]
    ]
    assert all(text == other["text"] for text, other in pairs)


def test_ablations_stand_side_by_side(post):
    heads = [{"layer": 2, "head": 3}, {"kind": "encoder", "layer": 5, "head": 0}]
    answer = post(
        "/lab/effects", clean=RIVER, corrupted=MONEY, ablations=heads, reference=["The bank is."]
    )
    for row, place in zip(answer["ablations"], heads, strict=True):
        for how in ("zero", "mean", "mean_positions", "resample"):
            one = post(
                "/lab/effects",
                clean=RIVER,
                corrupted=MONEY,
                reference=["The bank is."],
                interventions=[place | {"how": how}],
            )
            assert row[how] == pytest.approx(one["joint"]["change"], abs=1e-5)
    assert answer["n_reference"] == 6
    alone = post("/lab/effects", clean=RIVER, ablations=heads[:1])["ablations"][0]
    assert (alone["mean"], alone["resample"]) == (None, None)
    assert isinstance(alone["disagree"], bool)


@pytest.mark.parametrize(
    ("run", "metric", "position"),
    [
        (RIVER, {"kind": "probability"}, 6),
        (RIVER, {"kind": "cosine", "beside": "The bank is closed."}, None),
        (KING, {"kind": "loss"}, None),
        ({"model": "translator", "text": "El banco."}, {"kind": "loss"}, None),
        ({"model": "recurrent", "text": "El banco."}, {"kind": "probability"}, 3),
    ],
)
def test_every_metric_can_be_measured(post, run, metric, position):
    answer = post("/lab/effects", clean=run, metric=metric, interventions=[{"how": "zero"}])
    assert (answer["metric"]["kind"], answer["metric"]["position"]) == (metric["kind"], position)
    assert abs(answer["joint"]["change"]) > 1e-4
    swept = post("/lab/sweep", clean=run, metric=metric)
    assert swept["metric"]["clean"] == pytest.approx(answer["metric"]["clean"], abs=1e-5)


def test_get_answers_what_post_answers(client, post):
    body = {"clean": RIVER, "corrupted": MONEY, "interventions": [ZERO], "ablations": []}
    query = {name: json.dumps(value) for name, value in body.items()}
    got = client.get("/api/v1/lab/effects", params=query)
    assert got.json() == post("/lab/effects", **body)


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"interventions": [{"how": "noise"}]}, "interventions", "needs-corrupted"),
        ({"interventions": [{"how": "mean"}]}, "interventions", "needs-reference"),
        ({"interventions": [{"how": "zero", "layer": 6}]}, "interventions", "out-of-range"),
        ({"ablations": [{"layer": 0, "head": 12}]}, "interventions", "out-of-range"),
        ({"interventions": [{"how": "zero", "query": 50}]}, "interventions", "token-out-of-range"),
        (
            {"corrupted": MONEY, "interventions": [{"how": "noise"}, {"how": "denoise"}]},
            "interventions",
            "two-runs",
        ),
        ({"corrupted": KING}, "body", "two-models"),
        ({"metric": {"kind": "cosine"}}, "metric", "needs-beside"),
        ({"metric": {"kind": "loss"}}, "metric", "not-for-this-family"),
        ({"clean": KING, "metric": {"kind": "cosine"}}, "metric", "not-for-this-family"),
        (
            {
                "clean": RIVER | {"text": "bank " * 490 + "[MASK]"},
                "interventions": [ZERO] * 32,
                "ablations": [{"layer": 0, "head": i % 12} for i in range(16)],
            },
            "text",
            "too-many-runs",
        ),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_done_is_said(client, body, field, code, language):
    response = client.post(
        "/api/v1/lab/effects",
        json={"clean": RIVER} | body,
        headers={"Accept-Language": language},
    )
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert any("\u4e00" <= c <= "\u9fff" for c in error["message"]) == (language == "zh")


def test_a_row_that_does_not_fit_is_refused(client):
    stack = [{"how": "set", "query": 1, "row": [1]}]
    response = client.post("/api/v1/lab/effects", json={"clean": RIVER, "interventions": stack})
    assert response.status_code == 422
    assert response.json()["detail"].startswith("row has 1 numbers")
