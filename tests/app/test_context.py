"""The context travels: sentence, model, head and token, from each page to each other."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest
from attention_atlas.app.context import (
    PAGES,
    Context,
    of_address,
    parameters,
    see_in,
    suited_pages,
)

RIVER = "He sat on the river bank."
HEAD = {"model": "bert", "text": RIVER, "layer": "2", "head": "3"}
NONE = {"lang": "en"}


@pytest.fixture(scope="module")
def suited(client):
    models = [client.get("/explore.json").json()["models"]]
    from attention_atlas.app.api.models import ModelSummary

    return suited_pages([ModelSummary.model_validate(model) for model in models[0]])


@pytest.mark.parametrize("path", PAGES)
def test_an_address_is_read_as_it_was_written(suited, path):
    context = Context(**HEAD, kind="encoder", query="6")
    back = of_address(path, parameters(context, path, suited))
    kept = {"model", "text"} | ({"layer", "head"} if path in see_in(context, suited) else set())
    for key in kept:
        assert getattr(back, key) == getattr(context, key), key


def test_a_head_goes_only_where_it_has_a_meaning(suited):
    cross = Context(model="translator", text="El banco.", kind="cross", layer="1", head="2")
    assert set(see_in(cross, suited)) == {"/explore", "/compare", "/masks", "/translate", "/lab"}
    assert "layer" not in parameters(cross, "/attention", suited)
    assert parameters(cross, "/translate", suited)["head"] == "2"
    assert set(see_in(Context(model="recurrent"), suited)) == {"/explore", "/compare", "/translate"}


def test_pages_without_a_head_hand_it_on(suited):
    context = Context(**HEAD, query="6", side="query")
    present = of_address("/models", parameters(context, "/models", suited))
    assert present == context


def test_a_batch_holds_the_sentence_and_padding(suited):
    sent = parameters(Context(**HEAD), "/masks", suited)
    assert sent["texts"].splitlines()[0] == RIVER
    assert len(sent["texts"].splitlines()) == 2
    assert of_address("/masks", {**sent, "row": "1"}).text == "This is a test"


def test_a_mean_of_heads_and_no_token_are_left_behind():
    assert of_address("/fill", {"head": "mean", "layer": "3"}).head == ""
    assert of_address("/compare", {"query": "none"}).query == ""


def links(page: str, attribute: str) -> dict[str, dict[str, str]]:
    matches = re.findall(rf'<a href="([^"]*)" data-{attribute}="([^"]*)"(?! hidden)', page)
    return {path: dict(parse_qsl(urlsplit(unescape(href)).query)) for href, path in matches}


def test_the_bar_carries_what_was_chosen_and_not_a_pages_own_default(client):
    assert links(client.get("/masks", params=NONE).text, "page")["/explore"] == NONE
    chosen = links(client.get("/attention", params={**HEAD, "word": "5", **NONE}).text, "page")
    assert chosen["/explore"] == {**HEAD, "query": "5", **NONE}
    assert chosen["/positions"] == {**HEAD, "query": "5", **NONE}
    assert chosen["/models"] == {**HEAD, "query": "5", **NONE}


def test_the_bar_of_the_explorer_carries_its_first_sentence(client):
    page = links(client.get("/explore", params=NONE).text, "page")
    assert page["/compare"]["text"] == client.get("/explore.json").json()["text"]


def test_see_in_leads_to_the_same_head(client):
    seen = links(client.get("/masks", params={"model": "gpt", "layer": 1, "head": 2}).text, "see")
    assert set(seen) == {"/explore", "/compare", "/generate", "/attention", "/lab"}
    for query in seen.values():
        assert (query["layer"], query["head"]) == ("1", "2")


def test_another_family_is_named_with_the_reason(client):
    page = client.get("/generate.json", params=HEAD).json()
    assert (page["model"], page["text"]) == ("gpt", RIVER)
    assert "does not generate text; gpt is shown instead" in page["ignored"][0]["message"]


@pytest.mark.parametrize(
    ("path", "model", "taken"),
    [("translate", "bert", "translator"), ("fill", "translator", "bert")],
)
def test_a_sentence_of_another_language_gives_way_to_an_example(client, path, model, taken):
    sent = {"model": model, "text": "Mine."}
    page = client.get(f"/{path}.json", params=sent).json()
    assert page["model"] == taken
    assert page["text"] != "Mine."
    assert [field["field"] for field in page["ignored"]] == ["model", "text"]


def test_a_link_of_earlier_versions_opens_the_same_text(client):
    page = client.get("/translate.json", params={"text": "Hola."}).json()
    assert (page["text"], page["ignored"]) == ("Hola.", [])
