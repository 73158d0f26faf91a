"""/run: tokens, shapes and predictions of one forward pass."""

from __future__ import annotations

import json

import numpy as np
import pytest

BANK = "He sat on the river bank."


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
    "text", ["😀 e\u0301 n\u0303", "שלום עולם", "河岸和银行", "\u200bzero\u200d width"]
)
@pytest.mark.parametrize("model", ["bert", "gpt", "translator", "recurrent"])
def test_any_script_is_taken(get, model, text):
    answer = get("/run", model=model, text=text)
    for token in answer["sequences"]["source"]:
        assert token["special"] or token["text"] == text[token["start"] : token["end"]]


def test_an_edit_is_felt_by_everything_after_it(get):
    request = {"model": "gpt", "text": BANK}
    plain = np.array(get("/attention", **request)["attn"])
    edits = json.dumps([{"op": "block", "layer": 2, "head": 0, "query": 4, "key": 0}])
    answer = get("/attention", **request, edits=edits)
    edited, mask = np.array(answer["attn"]), np.array(answer["mask"])
    np.testing.assert_array_equal(edited[:2], plain[:2])
    assert edited[2, 0, 4, 0] == 0
    assert not mask[2, 0, 4, 0]
    assert mask[1, 0, 4, 0]
    assert abs(edited[3:] - plain[3:]).max() > 0
