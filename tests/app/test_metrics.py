"""/metrics: one number per head."""

from __future__ import annotations

import numpy as np

BANK = "He sat on the river bank."


def test_metrics_are_of_the_attention_that_is_answered(get):
    answer = get("/metrics", model="bert", text=BANK)
    attn = np.array(get("/attention", model="bert", text=BANK)["attn"])
    assert answer["axes"] == ["layer", "head"]
    first = attn[..., 0].mean(-1)
    special = attn[..., [0, -1]].sum(-1).mean(-1)
    np.testing.assert_allclose(answer["metrics"]["first_token"], first, atol=1e-6)
    np.testing.assert_allclose(answer["metrics"]["special"], special, atol=1e-6)
    previous = np.diagonal(attn, -1, -2, -1).mean(-1)
    np.testing.assert_allclose(answer["metrics"]["previous_token"], previous, atol=1e-6)
    assert answer["definitions"].keys() == answer["metrics"].keys()
    assert "nats" in answer["definitions"]["entropy"]


def test_metrics_that_need_one_sequence_are_left_out_of_cross_attention(get):
    answer = get("/metrics", model="translator", text="El banco.", kind="cross")
    assert answer["metrics"].keys() == {"entropy", "first_token", "special"}


def test_named_heads_come_with_score_and_what_it_was_measured_on(get):
    answer = get(
        "/metrics", model="gpt", text="The river bank is closed. The river bank is closed."
    )
    roles = answer["roles"]
    card = get("/models/gpt")["metrics"]["decoder_induction"]
    [induction] = [r for r in roles if r["role"] == "induction" and r["n"]]
    assert f"L{induction['layer']} H{induction['head']}" == card["detail"]
    assert (induction["score"], induction["low"]) == (card["value"], card["low"])
    assert (induction["source"], induction["measured_on"]) == ("card", card["of"])
    assert {role["role"] for role in roles} == answer["role_definitions"].keys()
    places = [(r["layer"], r["head"], r["role"]) for r in roles if r["source"] == "text"]
    assert len(places) == len({*places}), "each role of a head stands once"
