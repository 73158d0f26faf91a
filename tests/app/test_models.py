"""The models and their cards, as pages and as JSON."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import numpy as np
import pytest
from attention_atlas.app.pages.models import forming
from fastapi.testclient import TestClient

from tests.app.test_twins import embedded

NAMES = ["bert", "gpt", "translator", "recurrent"]


def text_of(html: str) -> str:
    """What the page says before any script."""
    without = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", without)))


def test_all_models_are_there_and_lead_to_their_cards(client: TestClient) -> None:
    page = client.get("/models")
    assert [m["name"] for m in embedded(page.text)["models"]] == NAMES
    for name in NAMES:
        assert f'href="/models/{name}"' in page.text
    assert embedded(page.text)["headlines"]["gpt"] == "bits_per_byte_vital_wiki"


@pytest.mark.parametrize("name", NAMES)
def test_a_card_shows_every_measure_with_its_interval(client: TestClient, name: str) -> None:
    text = text_of(client.get(f"/models/{name}").text)
    card = client.get(f"/api/v1/models/{name}").json()
    assert card["metrics"]
    for result in card["metrics"].values():
        assert f"{result['value']} {result['low']}–{result['high']}" in text
        unit = {"pairs": "sentence pairs"}.get(result["of"], result["of"])
        assert f"{result['n']:,} {unit}" in text
        assert result["low"] <= result["value"] <= result["high"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_gives_every_attribution_and_says_what_it_is_not_for(
    client: TestClient, name: str
) -> None:
    text = text_of(client.get(f"/models/{name}").text)
    card = client.get(f"/api/v1/models/{name}").json()
    assert "Not for decisions, advice or facts" in text
    assert card["not_for"] in text
    for source in card["data"]:
        assert {"title", "licence", "attribution"} <= source.keys()
        assert source["attribution"] in text


@pytest.mark.parametrize("name", NAMES)
def test_a_card_knows_every_head_at_every_saved_step(client: TestClient, name: str) -> None:
    card = client.get(f"/api/v1/models/{name}").json()
    steps = [row["step"] for row in card["heads"]]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, card["training"]["steps"])
    for row in card["heads"]:
        for kind in card["kinds"]:
            for scores in row[kind].values():
                assert len(scores) == card["n_layer"]
                assert {len(heads) for heads in scores} == {card["n_head"]}


@pytest.mark.parametrize(
    "address",
    ["", "/gpt", "/gpt?metric=induction", "/translator?kind=cross&metric=entropy", "/nope"],
)
def test_a_page_holds_what_its_twin_says(client: TestClient, address: str) -> None:
    path, _, query = f"/models{address}".partition("?")
    same = {"X-Request-ID": "one-request"}  # a problem names it
    page, twin = (
        client.get(f"{address}?{query}", headers=same) for address in (path, f"{path}.json")
    )
    assert embedded(page.text) == twin.json()
    assert page.status_code == twin.status_code


def test_the_forming_is_of_the_kind_and_metric_asked_for(client: TestClient) -> None:
    twin = client.get("/models/translator.json?kind=cross&metric=entropy").json()
    last = twin["card"]["heads"][-1]["cross"]["entropy"]
    assert (twin["kind"], twin["metric"]) == ("cross", "entropy")
    assert twin["forming"][-1]["scores"] == last
    assert twin["forming"][-1]["score"] == max(map(max, last))


def test_the_highest_head_is_named() -> None:
    row: dict[str, Any] = {"step": 3, "tokens": 90, "decoder": {"self": [[0.1, 0.2], [0.7, 0.3]]}}
    result = forming(row, "decoder", "self")
    assert (result.step, result.tokens, result.layer, result.head, result.score) == (
        3,
        90,
        1,
        0,
        0.7,
    )


def test_nonsense_in_the_address_is_named(client: TestClient) -> None:
    page = client.get("/models/bert?kind=cross&metric=beauty")
    assert "kind cross does not exist: encoder; encoder is shown instead." in text_of(page.text)
    assert "metric beauty does not exist" in text_of(page.text)
    assert embedded(page.text)["metric"] == "entropy"


def test_an_unknown_model_is_a_page_that_leads_on(client: TestClient) -> None:
    page = client.get("/models/%3Cb%3Enope")
    assert page.status_code == 404
    assert "there are bert, gpt, translator, recurrent" in text_of(page.text)
    assert "<b>nope" not in page.text
    assert 'href="/models"' in page.text


def test_a_measure_of_one_head_leads_to_that_head(client: TestClient) -> None:
    twin = client.get("/models/gpt.json").json()
    measure = twin["card"]["metrics"]["decoder_induction"]
    layer, head = re.findall(r"\d+", measure["detail"])
    place = client.get(twin["places"]["decoder_induction"].replace("/explore?", "/explore.json?"))
    shown = place.json()
    assert (shown["kind"], shown["layer"], shown["head"]) == ("decoder", int(layer), int(head))
    assert shown["text"].count("The river bank is closed.") == 2
    assert "blimp" not in twin["places"]


def test_the_head_that_aligns_is_a_cross_attention(client: TestClient) -> None:
    twin = client.get("/models/recurrent.json").json()
    assert "kind=cross&layer=0&head=0" in twin["places"]["cross_alignment_error_rate"]


def test_models_are_described(get):
    models = {model["name"]: model for model in get("/models")["models"]}
    assert {name: models[name]["family"] for name in models} == {
        "bert": "encoder",
        "gpt": "decoder",
        "translator": "encoder-decoder",
        "recurrent": "recurrent",
    }
    assert models["translator"]["kinds"] == ["encoder", "decoder", "cross"]
    for name, model in models.items():
        assert model["d_model"] == (384 if name == "bert" else 256)
        assert model["d_head"] * model["n_head"] == model["d_model"]
        assert 5e6 <= model["n_parameters"] <= (16e6 if name == "bert" else 10e6)
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


@pytest.mark.parametrize("model", ["bert", "gpt", "translator", "recurrent"])
def test_a_card_lists_each_result_once(client: TestClient, model: str) -> None:
    page = client.get(f"/models/{model}")
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page.text, flags=re.DOTALL)
    numbers = [text_of(cells) for name, cells in rows if "–" in cells]
    assert len(numbers) > 1
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", NAMES)
def test_every_heads_importance_is_shown_and_leads_to_the_head(
    client: TestClient, name: str
) -> None:
    page = client.get(f"/models/{name}")
    card, shown = client.get(f"/api/v1/models/{name}").json(), embedded(page.text)["importance"]
    assert set(shown) == set(card["kinds"])
    for kind, rows in shown.items():
        measure = card["metrics"][f"{kind}_head_importance"]
        assert (len(rows), len(rows[0])) == tuple(card["shapes"][kind])
        assert [value for row in rows for value in row] == list(measure["by"].values())
        assert max(map(max, rows)) == pytest.approx(measure["value"], abs=1e-4)
        layer, head = re.findall(r"\d+", measure["detail"])
        assert rows[int(layer)][int(head)] == max(map(max, rows))
        place = f"/explore?model={name}&amp;kind={kind}&amp;layer={layer}&amp;head={head}"
        assert f'href="{place}"><b>{measure["value"]:.4f}</b>' in page.text


@pytest.mark.parametrize("name", NAMES)
def test_measures_and_facts_of_a_card_have_chinese_names(client: TestClient, name: str) -> None:
    page = client.get(f"/models/{name}?lang=zh").text
    quality = page.split('id="quality"')[1].split("</section>")[0]
    training = page.split('id="training"')[1].split("</section>")[0]
    names = re.findall(r'<th scope="row">(.*?)</th>', quality, re.DOTALL)
    names += re.findall(r"<dt>(.*?)</dt>", training, re.DOTALL)
    english = [text for text in names if not re.search("[\u4e00-\u9fff]", text)]
    assert english in ([], ["BLEU"])
