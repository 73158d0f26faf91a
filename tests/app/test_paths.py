"""Path patching over the API."""

from __future__ import annotations

import json

import pytest

CLEAN = {"model": "bert", "text": "The river bank was full of [MASK]."}
CORRUPTED = CLEAN | {"text": "The money bank was full of [MASK]."}
METRIC = {"answer": "water", "other": "money"}
RUNS = {"clean": CLEAN, "corrupted": CORRUPTED, "metric": METRIC}


def test_the_strongest_paths_come_first_above_the_threshold(post):
    answer = post("/lab/paths", **RUNS, n=24, threshold=0.02)
    sizes = [abs(path["effect"]) for path in answer["paths"]]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) >= 0.02
    assert answer["n_measured"] == 24 and answer["n_path"] == 72 + 3 * 15 * 144
    assert len(answer["paths"]) < 24 and answer["agreement"] > 0.8


def test_every_path_into_one_input_is_measured(post):
    receiver = {"layer": 2, "head": 3, "input": "v"}
    answer = post("/lab/paths", **RUNS, receiver=receiver, threshold=0)
    assert answer["n_path"] == answer["n_measured"] == len(answer["paths"]) == 24
    assert {path["receiver"]["head"] for path in answer["paths"]} == {3}
    assert {path["sender"]["layer"] for path in answer["paths"]} == {0, 1}
    first = post("/lab/paths", **RUNS, receiver=receiver | {"layer": 0})
    assert first["paths"] == [] and first["agreement"] is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"corrupted": None}, "needs-corrupted"),
        ({"corrupted": CLEAN}, "same-metric"),
        ({"corrupted": CLEAN | {"text": "A [MASK]."}}, "not-as-long"),
        ({"receiver": {"layer": 9, "head": 0}}, "out-of-range"),
    ],
)
def test_what_cannot_be_is_named(client, changes, code):
    answer = client.post("/api/v1/lab/paths", json=RUNS | changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == code


def test_paths_come_a_few_at_a_time_and_are_those_of_the_answer(client):
    body = RUNS | {"n": 20, "threshold": 0, "stream": True}
    blocks = client.post("/api/v1/lab/paths", json=body).text.strip().split("\n\n")
    events = [(name[7:], json.loads(data[6:])) for name, data in map(str.splitlines, blocks)]
    assert [name for name, _ in events] == ["start", *["measured"] * 3, "result"]
    told = [data for name, data in events if name == "measured"]
    assert [data["n_measured"] for data in told] == [8, 16, 20]
    assert {data["n"] for data in told} == {20}
    paths = [path for data in told for path in data["paths"]]
    sizes = [abs(path["estimate"]) for path in paths]
    assert sizes == sorted(sizes, reverse=True), "the strongest by one gradient come first"
    assert sorted(paths, key=lambda path: -abs(path["effect"])) == events[-1][1]["paths"]
