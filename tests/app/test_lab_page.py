"""The page of the Lab: what it opens at, what it takes from its address, what it says plainly."""

from __future__ import annotations

import re
from html import unescape

import pytest

PAIR = {
    "model": "bert",
    "text": "The river bank was full of [MASK].",
    "text_b": "The money bank was full of [MASK].",
}


@pytest.fixture(scope="module")
def twin_of(client):
    return lambda **query: client.get("/lab.json", params=query).json()


def test_a_pair_is_patched_and_a_single_text_ablated(twin_of):
    assert twin_of(**PAIR)["how"] == "denoise"
    single = twin_of(model="bert", text=PAIR["text"])
    assert (single["how"], single["text_b"]) == ("zero", "")
    assert single["effects"]["metric"]["corrupted"] is None


def test_the_estimate_is_the_sweeps(twin_of, post):
    twin = twin_of(**PAIR, how="noise")
    sweep = post(
        "/lab/sweep",
        clean={"model": "bert", "text": PAIR["text"]},
        corrupted={"model": "bert", "text": PAIR["text_b"]},
        how="noise",
    )
    assert twin["estimate"] == sweep["estimate"]


def test_the_link_to_the_measured_effects_leads_there(client, twin_of):
    page = client.get("/lab", params=PAIR | {"answer": "water", "other": "money"}).text
    address = unescape(re.findall(r'href="([^"]*/lab/sweep[^"]*)"', page)[0])
    sweep = client.get(address).json()
    assert sweep["metric"]["answer"]["text"] == "water"
    assert f'<td class="n">{sweep["estimate"][5][10]:.2f}</td>' in page


def test_edits_are_what_the_map_does(twin_of):
    twin = twin_of(**PAIR, edits="encoder.5.10,encoder.2.all.4")
    first, second = twin["effects"]["interventions"]
    assert (first["how"], first["layer"], first["head"]) == ("denoise", 5, 10)
    assert (second["layer"], second["head"], second["query"]) == (2, None, 4)
    assert twin["effects"]["run"] == "corrupted"
    assert twin_of(**PAIR, how="zero", edits="encoder.5.10")["effects"]["run"] == "clean"


def test_each_edit_of_the_address_is_an_intervention(twin_of):
    edits = "encoder.1.2.block.3.4,encoder.1.2.only.3.0,encoder.1.2.even.5,encoder.1.2.scale.50"
    edits += ",encoder.4.mlp,encoder.4.mlp.6"
    rows = twin_of(**PAIR, how="zero", edits=edits)["effects"]["interventions"]
    places = [(row["how"], row["part"], row["head"], row["query"], row["key"]) for row in rows]
    assert places == [
        ("block", "heads", 2, 3, 4),
        ("set", "heads", 2, 3, 0),
        ("set", "heads", 2, 5, None),
        ("scale", "heads", 2, None, None),
        ("zero", "mlp", None, None, None),
        ("zero", "mlp", None, 6, None),
    ]
    assert all(abs(row["change"]) > 1e-4 for row in rows[1:])


@pytest.mark.parametrize(
    ("query", "kind"),
    [({}, "logit_difference"), ({"metric": "probability"}, "probability")],
)
def test_a_prediction_is_measured_as_asked(twin_of, query, kind):
    metric = twin_of(**PAIR, **query)["effects"]["metric"]
    assert (metric["kind"], metric["position"]) == (kind, 7)


def test_two_sentences_are_compared_by_their_cosine(twin_of):
    text = {"model": "bert", "text": "He sat on the bank."}
    twin = twin_of(**text, metric="cosine", beside="She sat on the chair.")
    assert 0 < twin["effects"]["metric"]["clean"] < 1
    assert twin["effects"]["candidates"]["clean"] == []
    assert twin_of(**text, metric="cosine")["problem"]["errors"][0]["code"] == "needs-beside"
    assert twin_of(**text, metric="loss")["ignored"][0]["field"] == "metric"


def test_a_loss_is_of_the_whole_text(twin_of):
    twin = twin_of(model="gpt", text="The king of France", metric="loss")
    assert twin["effects"]["metric"]["position"] is None
    assert twin["effects"]["metric"]["clean"] > 0


@pytest.mark.parametrize(
    "edits",
    ["encoder.9.0", "cross.0.0", "x", "encoder.1.2,", "encoder.1.99", "encoder.1.2.block.3"],
)
def test_an_edit_that_the_model_does_not_have_is_named(twin_of, edits):
    twin = twin_of(**PAIR, edits=edits)
    assert [row["field"] for row in twin["ignored"]] == ["edits"]
    assert twin["edits"] == ""


def test_one_text_is_not_patched(twin_of):
    twin = twin_of(model="bert", text=PAIR["text"], how="denoise")
    assert (twin["how"], twin["problem"]) == ("zero", None)
    assert [row["field"] for row in twin["ignored"]] == ["how"]


def test_a_text_of_another_length_is_no_matter_where_nothing_is_taken_from_it(twin_of):
    other = {**PAIR, "text_b": "They saw a large [MASK] there on the table."}
    assert twin_of(**other, how="zero")["problem"] is None
    assert twin_of(**other, how="denoise")["problem"]["errors"][0]["code"] == "not-as-long"


def test_a_mean_is_over_the_pages_texts_or_ones_own(twin_of):
    usual, own = (
        twin_of(**PAIR, how="mean"),
        twin_of(**PAIR, how="mean", reference="A dog.\nA cat."),
    )
    assert usual["effects"]["n_reference"] > own["effects"]["n_reference"] > 0


def test_a_sentence_without_a_blank_says_what_is_missing(twin_of):
    twin = twin_of(model="bert", text="He sat on the river bank.")
    assert twin["problem"]["errors"][0]["code"] == "no-blank"
    assert twin["text"] == "He sat on the river bank."


def test_a_model_whose_heads_cannot_be_replaced_gives_way(twin_of):
    twin = twin_of(model="recurrent")
    assert twin["model"] != "recurrent"
    assert [row["field"] for row in twin["ignored"]] == ["model"]
