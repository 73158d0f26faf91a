"""Every example's observation is true with the shipped weights, and each page opens at its first.

After new weights: `make examples`, then these tests.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from attention_atlas.app.examples import catalogue
from attention_atlas.app.examples.catalogue import PAGES, Example, offered, stored
from attention_atlas.app.examples.choose import chosen
from attention_atlas.app.examples.sentences import SENTENCES, sentence
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.claim_kinds import CLAIMS
from attention_atlas.model.analysis.claims import LEAST

ROWS = [pytest.param(e, id=f"{page}: {e.label}") for page in PAGES for e in stored(page)]
OFFERED = [(page, e) for page in PAGES for e in offered(page)]
DIFFERENT_CPU = 0.02  # of a share or probability


@pytest.fixture
def service(app: Any, client: Any) -> Service:
    return app.state.service


@pytest.mark.parametrize("example", ROWS)
def test_the_observation_is_true_with_the_shipped_weights(service, example: Example) -> None:
    if example.address is None:  # not offered, because it is false
        assert chosen(service.loaded, example).address is None
        return
    seen = example.checked.check(service.loaded, example.inputs, example.address)
    assert seen.holds
    assert seen.address == example.address
    for name, value in example.values.items():
        if isinstance(value, float) and name != "without":
            scale = max(1.0, abs(value))
            assert seen.values[name] == pytest.approx(value, abs=DIFFERENT_CPU * scale)
        elif name != "without":
            assert seen.values[name] == value, name


def test_every_claim_has_a_sentence() -> None:
    assert {*SENTENCES} == {*CLAIMS.values()}


@pytest.mark.parametrize("page", PAGES)
def test_each_page_offers_examples(page: str) -> None:
    assert offered(page)[0].inputs["model"] == stored(page)[0].inputs["model"]
    assert offered(page)[0].values.get("right", True), "a page opens where the model is right"


@pytest.mark.parametrize("page", ["fill", "compare", "generate"])
def test_what_the_model_gets_wrong_stands_after_what_it_gets_right(page: str) -> None:
    """One of each kind, if there is one with these weights."""
    for kind in {e.claim["is"] for e in stored(page)}:
        rows, shown = (
            [e.values["right"] for e in rows if e.claim["is"] == kind and "right" in e.values]
            for rows in (stored(page), offered(page))
        )
        assert shown == sorted(shown, reverse=True)
        assert shown.count(False) == min(1, rows.count(False))
        assert shown.count(True) == min(3, rows.count(True))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_a_text_opens_at_its_first_example(client, page: str) -> None:
    twin = client.get(f"/{page}.json").json()
    assert twin["example"] == 0
    first = twin["examples"][0]
    assert twin["observation"] == first["observation"] != ""
    shown = client.get(f"/{page}", params=first["address"])
    assert shown.status_code == 200
    again = client.get(f"/{page}.json", params=first["address"]).json()
    assert again["observation"] == first["observation"], "its link opens it too"
    assert again["example"] is None


@pytest.mark.parametrize(("page", "example"), OFFERED, ids=lambda x: getattr(x, "label", x))
def test_each_example_opens_with_its_sentence(client, page: str, example: Example) -> None:
    twin = client.get(f"/{page}.json", params=example.opens_at).json()
    assert twin["problem"] is None and twin["ignored"] == []
    labels = [each["label"] for each in twin["examples"]]
    assert twin["observation"] == twin["examples"][labels.index(example.label)]["observation"]
    assert twin["observation"].startswith(str(sentence(example)))


@pytest.mark.parametrize("page", PAGES)
def test_the_sentences_are_in_the_language_of_the_request(client, page: str) -> None:
    for each in client.get(f"/{page}.json?lang=zh").json()["examples"]:
        assert re.search("[\u4e00-\u9fff]", each["observation"])
        assert "{" not in each["observation"]


@pytest.mark.parametrize("address", ["text=The+bank.", "model=bert&text=He+ran.&head=3"])
def test_a_text_of_ones_own_has_no_observation_and_the_first_head(client, address: str) -> None:
    twin = client.get(f"/explore.json?{address}").json()
    assert (twin["observation"], twin["example"], twin["layer"]) == ("", None, 0)


@pytest.mark.parametrize("page", ["explore", "translate", "generate", "fill"])
def test_an_empty_text_is_refused_and_opens_no_example(client, page: str) -> None:
    twin = client.get(f"/{page}.json?text=").json()
    assert twin["problem"]["status"] == 422
    assert (twin["text"], twin["example"], twin["observation"]) == ("", None, "")


def test_another_head_or_a_second_sentence_is_not_the_examples_picture(client) -> None:
    address = {**offered("explore")[0].opens_at}
    for change in ({"head": 0, "layer": 1}, {"text_pair": "It rained."}):
        twin = client.get("/explore.json", params={**address, **change}).json()
        assert twin["observation"] == ""
    locked = client.get("/explore.json", params={**address, "query": 2}).json()
    assert locked["observation"] != "", "the picture is the same, whichever token is locked"


def test_an_address_of_a_model_opens_at_that_models_first_example(client) -> None:
    twin = client.get("/explore.json?model=gpt").json()
    example = twin["examples"][twin["example"]]
    assert example["model"] == "gpt"
    assert (twin["layer"], twin["head"]) == (
        example["address"]["layer"],
        example["address"]["head"],
    )


def test_an_observation_quotes_the_share_that_was_measured() -> None:
    example = offered("explore")[0]
    assert example.values["attn"] >= LEAST
    assert f"{example.values['attn']:.2f}" in sentence(example)


def test_a_false_claim_is_left_out(service, monkeypatch) -> None:
    example = stored("explore")[0].model_copy(
        update={"claim": {"is": "attends", "query": "bank", "keys": ["He"]}}
    )
    assert chosen(service.loaded, example).address is None
    gone = stored("explore")[0].model_copy(update={"address": None})
    monkeypatch.setattr(catalogue, "stored", lambda page: (gone, *stored(page)[1:]))
    assert gone.label not in [each.label for each in offered.__wrapped__("explore")]


def test_a_word_that_is_not_there_leaves_the_example_out(service) -> None:
    claim = {"is": "attends", "query": "dog", "keys": ["He"]}
    example = stored("explore")[0].model_copy(update={"claim": claim})
    assert chosen(service.loaded, example).address is None
