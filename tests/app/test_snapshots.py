"""gpt@2000000 by the API: the bundled GPT in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_atlas.model import zoo

TWICE = "The river bank is closed. The river bank is closed."
NAMES = ["gpt@500000", "gpt@1000000", "gpt@2000000", "gpt@4000000"]


def test_a_model_names_its_snapshots(client: Any) -> None:
    card = client.get("/api/v1/models/gpt").json()
    assert [each["name"] for each in card["snapshots"]] == NAMES
    assert client.get("/api/v1/models/bert").json()["snapshots"] == []


def test_the_induction_head_forms_between_two_of_them(client: Any) -> None:
    """As each is stored; what was trained is within a tenth of it."""
    scores = [s["induction"] for s in client.get("/api/v1/models/gpt").json()["snapshots"]]
    assert scores[0] < 0.05
    assert scores[1] < 0.5 < 0.8 < scores[2]
    losses = [s["held_out_loss"] for s in client.get("/api/v1/models/gpt").json()["snapshots"]]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_answers_as_a_model(client: Any, name: str) -> None:
    run = client.get("/api/v1/run", params={"model": name, "text": TWICE}).json()
    assert run["provenance"]["model"] == name
    card = client.get(f"/api/v1/models/{name}").json()
    assert card["source"] == "bundled"
    assert card["training"]["tokens"] == int(name.split("@")[1])
    assert [each["name"] for each in card["snapshots"]] == NAMES


def test_heads_find_what_came_after_the_earlier_copy_later_in_training(client: Any) -> None:
    """In TWICE, 6 tokens after <|endoftext|> and the same again."""

    def best(name: str) -> float:
        spec = {"model": name, "text": TWICE, "layer": 1}
        heads = [
            client.get("/api/v1/attention", params={**spec, "head": head}).json()["attn"]
            for head in range(8)
        ]
        rows = range(7, 13)
        return max(sum(np.squeeze(attn)[i][i - 5] for i in rows) / len(rows) for attn in heads)

    assert best("gpt@500000") + 0.3 < best("gpt@2000000")


def test_tokens_without_a_snapshot(client: Any) -> None:
    assert client.get("/api/v1/models/gpt@3").status_code == 404
    assert client.get("/api/v1/models/bert@500000").status_code == 404


def test_the_documented_table_is_what_was_measured() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    for name, kept in zoo.snapshots("gpt").items():
        loss, score = kept.held_out_loss, kept.induction
        values = [loss["trained"], loss["stored"], score["trained"], score["stored"]]
        row = " | ".join([f"`{name}`", f"{kept.steps:,}", *(f"{value:.2f}" for value in values)])
        assert f"| {row} |" in text


def test_a_damaged_card_of_snapshots_leaves_the_model_in_the_list(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gpt" / "snapshots").mkdir(parents=True)
    (tmp_path / "gpt" / "snapshots" / "card.json").write_text("{")
    monkeypatch.setattr(zoo.snapshots, "__defaults__", (tmp_path,))
    assert client.get("/api/v1/models/gpt").json()["snapshots"] == []
