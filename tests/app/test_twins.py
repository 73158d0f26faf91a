"""Every page and its JSON twin."""

from __future__ import annotations

import json
import re

import pytest
from attention_atlas.app.pages.engine import twin

SAME = {"X-Request-ID": "one-request"}  # a problem names the request that it is about
PAGE = re.compile(r'<script type="application/json" id="page">(.*?)</script>', re.DOTALL)
PAGES = [
    "/explore",
    "/compare",
    "/positions",
    "/masks",
    "/attention",
    "/translate",
    "/generate",
    "/fill",
    "/lab",
    "/classify",
]
ADDRESSES = [
    "",
    "?text=She+opened+an+account+at+the+bank.&layer=3&head=2&query=4&view=matrix",
    "?model=translator&text=El+banco+est%C3%A1+cerrado.&kind=cross&layer=0&head=0",
    "?model=gpt&text=%3C%2Fscript%3E%3Cimg+src%3Dx+onerror%3Dalert(1)%3E",
    "?model=bert&text=It+rained.&text_pair=They+went+home.",
    "?text=Unquestionably.&special=hide&merge=words&side=key&query=0",
    "?text=%5BMASK%5D&special=hide",
    "?text_pair=They+went+home.",
    "?model=bert&text=",
    "?model=nope&text=hi",
]


def embedded(html: str) -> object:
    match = PAGE.search(html)
    assert match
    return json.loads(match[1])


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_page_holds_what_its_twin_says(client, address):
    page = client.get(f"/explore{address}", headers=SAME)
    twin = client.get(f"/explore.json{address}", headers=SAME)
    assert embedded(page.text) == twin.json()
    assert page.status_code == twin.status_code


@pytest.mark.parametrize(
    "address",
    [
        "",
        "?word=river",
        "?text=hi&text_b=hi&word=hi&layer=1",
        "?model=nope",
        "?layer=99&align=x&off=9",
    ],
)
def test_compare_holds_what_its_twin_says(client, address):
    page = client.get(f"/compare{address}", headers=SAME)
    twin = client.get(f"/compare.json{address}", headers=SAME)
    assert embedded(page.text) == twin.json()
    assert page.status_code == twin.status_code


@pytest.mark.parametrize("path", PAGES[2:])
@pytest.mark.parametrize(
    "address", ["", "?model=gpt&layer=2", "?model=nope&base=0&off=x", "?text=&texts=", "?d_model=7"]
)
def test_the_other_pages_hold_what_their_twins_say(client, path, address):
    page = client.get(f"{path}{address}", headers=SAME)
    twin = client.get(f"{path}.json{address}", headers=SAME)
    assert embedded(page.text) == twin.json()
    assert page.status_code == twin.status_code < 500


def test_compare_falls_back_and_names_what_is_not_there(client):
    twin = client.get("/compare.json?layer=99&head=x&align=1&off=9&kind=cross").json()
    assert [row["field"] for row in twin["ignored"]] == ["kind", "layer", "head", "align", "off"]
    assert twin["comparison"]["similarity"]
    refused = client.get("/compare?word=river")
    assert refused.status_code == 422
    assert "is not a word of the text: She, opened" in refused.text


def test_every_page_has_a_twin_and_says_so(app, client):
    paths = app.openapi()["paths"]
    pages = [p for p in paths if "text/html" in str(paths[p].get("get", {}).get("responses"))]
    assert pages.pop() == "/explore.html", "a file, which holds its own numbers"
    course = ["/learn", "/learn/glossary", "/learn/{chapter}", "/learn/{chapter}/{step}"]
    assert pages == ["/", *course, "/models", "/models/{name}", *PAGES]
    for path in pages:
        assert twin(path) in paths
    for path in ("/models", "/models/gpt", *PAGES):
        assert client.get(path).headers["link"] == (
            f'<{path}.json>; rel="alternate"; type="application/json"'
        )


def test_the_twin_keeps_the_query_string(client):
    answer = client.get("/explore?text=%C3%A9&layer=1")
    link = re.search(r"<(.*?)>", answer.headers["link"])
    assert link
    assert link[1] == "/explore.json?text=%C3%A9&layer=1"
    assert client.get(link[1]).json()["text"] == "é"


def test_tokens_and_numbers_are_there_before_any_script(client):
    page = client.get("/explore?text=He+sat+on+the+river+bank.&layer=2&head=5&query=6")
    text = re.sub(r"<script.*?</script>", "", page.text, flags=re.DOTALL)
    twin = client.get("/explore.json?text=He+sat+on+the+river+bank.&layer=2&head=5&query=6").json()
    for token in twin["run"]["sequences"]["source"]:
        assert token["text"].strip() in text
    for top in twin["top"]:
        assert f"{top['attn']:.3f}" in text


def test_what_is_typed_stays_text(client):
    evil = "</script><img src=x onerror=alert(1)>\"'"
    page = client.get("/explore", params={"text": evil, "model": "gpt"})
    assert "<img src=x" not in page.text
    assert embedded(page.text)["text"] == evil


def test_a_refused_text_is_kept_and_the_reason_said(client):
    page = client.get("/explore", params={"text": "bank " * 600})
    assert page.status_code == 422
    assert "602 tokens is too long: bert takes 512" in page.text
    assert embedded(page.text)["text"] == "bank " * 600


def test_nonsense_in_the_address_falls_back_and_is_named(client):
    twin = client.get("/explore.json?text=hi&layer=99&head=-1&kind=x&query=a&view=b").json()
    assert [row["field"] for row in twin["ignored"]] == ["kind", "layer", "head", "query", "view"]
    assert (twin["layer"], twin["head"], twin["query"], twin["view"]) == (0, 0, None, "lines")
    message = "layer 99 does not exist: 0 to 5; 0 is shown instead"
    assert twin["ignored"][1]["message"] == message
    fill = client.get("/fill.json?text=The+[MASK].&head=99").json()
    message = "head 99 does not exist: 0 to 11 or mean; 0 is shown instead"
    assert [row["message"] for row in fill["ignored"]] == [message]


def test_the_first_page_has_the_explorers_first_picture(client):
    home, explore = client.get("/index.json").json(), client.get("/explore.json").json()
    assert {name: home[name] for name in SHOWN} == {name: explore[name] for name in SHOWN}
    page = client.get("/").text
    assert embedded(page) == home
    assert 'href="/explore?model=bert&amp;text=' in page


SHOWN = ("model", "text", "kind", "layer", "head", "query", "top")


def test_words_and_specials_are_those_of_the_head_shown(client):
    twin = client.get("/explore.json?text=Unquestionably.&special=renormalise&merge=words").json()
    assert [token["text"] for token in twin["q_tokens"]] == ["Unquestionably", "."]
    assert [row["query"] for row in twin["top"]] == [0, 1]
