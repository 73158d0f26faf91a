"""/lab/writes."""

from __future__ import annotations

import json

import pytest

RIVER = {"model": "bert", "text": "He sat on the river [MASK] and watched the water."}
KING = {"model": "gpt", "text": "The king of France was the old"}
SPANISH = {"model": "translator", "text": "El banco está cerrado.", "target": "The bank is"}


@pytest.mark.parametrize(("run", "shape"), [(RIVER, (6, 12)), (KING, (6, 8)), (SPANISH, (4, 8))])
def test_all_parts_sum_to_the_total(post, run, shape):
    answer = post("/lab/writes", clean=run)
    attention = [answer["heads"], *answer["other_heads"].values()]
    parts = [x for heads in attention for row in heads for x in row] + answer["mlps"]
    total = sum(parts) + answer["embedding"] + answer["bias"]
    assert total == pytest.approx(answer["total"], abs=1e-5)
    assert answer["complete"]["sum"] == pytest.approx(total, abs=1e-6)
    assert abs(answer["complete"]["difference"]) < answer["complete"]["tolerance"]
    assert (len(answer["heads"]), len(answer["heads"][0])) == shape
    assert len(answer["mlps"]) == shape[0]
    swept = post("/lab/effects", clean=run)["metric"]
    assert answer["metric"] == swept and answer["total"] == swept["clean"]


@pytest.mark.parametrize(
    ("run", "kind"), [(RIVER, "encoder"), (KING, "decoder"), (SPANISH, "cross")]
)
def test_a_head_looks_and_writes(post, run, kind):
    answer = post("/lab/writes", clean=run, kind=kind, layer=3, head=5)
    chosen = answer["chosen"]
    assert chosen["query"] == answer["metric"]["position"]
    assert sum(chosen["writes"]) == pytest.approx(answer["heads"][3][5], abs=1e-5)
    looked = post("/attention", **run, kind=kind, layer=3, head=5)
    assert chosen["attn"] == pytest.approx(looked["attn"][0][0][chosen["query"]], abs=1e-5)
    assert [t["id"] for t in chosen["k_tokens"]] == [t["id"] for t in looked["k_tokens"]]
    assert chosen["looks"] == max(range(len(chosen["attn"])), key=chosen["attn"].__getitem__)
    sizes = [abs(x) for x in chosen["writes"]]
    assert chosen["differ"] == (chosen["looks"] != sizes.index(max(sizes)))


def test_a_head_is_named_in_a_query_string_too(client, post):
    query = {"clean": json.dumps(RIVER), "layer": 3, "head": 5}
    answer = client.get("/api/v1/lab/writes", params=query)
    assert answer.json() == post("/lab/writes", clean=RIVER, layer=3, head=5)


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"clean": RIVER, "metric": {"kind": "probability"}}, "body", "only-logit-difference"),
        ({"clean": RIVER, "layer": 3}, "body", "layer-and-head"),
        ({"clean": RIVER, "layer": 6, "head": 0}, "layer", "out-of-range"),
        ({"clean": SPANISH, "kind": "encoder"}, "kind", "writes-elsewhere"),
        ({"clean": RIVER, "kind": "cross"}, "kind", "unknown-kind"),
        ({"clean": SPANISH | {"model": "recurrent"}}, "model", "no-writes"),
        (
            {
                "clean": KING | {"edits": [{"op": "ablate", "layer": 1, "head": 2}]},
                "layer": 1,
                "head": 2,
            },
            "edits",
            "output-replaced",
        ),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_done_is_said(client, body, field, code, language):
    response = client.post("/api/v1/lab/writes", json=body, headers={"Accept-Language": language})
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert any("\u4e00" <= c <= "\u9fff" for c in error["message"]) == (language == "zh")
