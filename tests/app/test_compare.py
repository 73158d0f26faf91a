"""A word in two runs: /compare and /hidden-states."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

RIVER = {"model": "bert", "text": "He sat on the river bank and watched the water."}
MONEY = {"model": "bert", "text": "She opened an account at the bank to save money."}


@pytest.fixture
def compare(client):
    def ask(a, b, word="bank", **options):
        answer = client.post("/api/v1/compare", json={"a": a, "b": b, "word": word, **options})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.fixture
def refused(client):
    def ask(a, b, **options):
        answer = client.post("/api/v1/compare", json={"a": a, "b": b, **options})
        assert answer.status_code == 422
        return answer.json()["detail"]

    return ask


@pytest.mark.parametrize("model", ["bert", "gpt", "translator"])
def test_a_run_beside_itself_is_the_same(compare, model):
    spec = {"model": model, "text": "El banco del banco."}
    answer = compare(spec, spec, "banco")
    np.testing.assert_allclose(answer["similarity"], 1, atol=1e-6)
    np.testing.assert_allclose(answer["divergence"], 0, atol=1e-6)
    np.testing.assert_allclose(answer["unaligned_a"], 0, atol=1e-6)
    np.testing.assert_allclose(answer["difference"], 0, atol=1e-6)
    assert answer["row_a"] == answer["row_b"]


def test_a_and_b_can_change_places(compare):
    present, back = compare(RIVER, MONEY), compare(MONEY, RIVER)
    for name in ("similarity", "divergence", "divergence_aligned"):
        np.testing.assert_allclose(present[name], back[name], atol=1e-6)
    assert present["unaligned_a"] == back["unaligned_b"]
    assert present["row_a"] == back["row_b"]
    assert present["alignment"] == [[i, j] for j, i in back["alignment"]]


def test_the_divergence_is_that_of_the_words_rows(compare, get):
    answer = compare(RIVER, MONEY, layer=0, head=7)
    rows = [np.array(get("/attention", **spec, layer=0, head=7)["attn"]) for spec in (RIVER, MONEY)]
    a, b = rows[0][0, 0, 6], rows[1][0, 0, 7]  # every word is one piece
    np.testing.assert_allclose(answer["row_a"], a, atol=1e-6)
    np.testing.assert_allclose(answer["row_b"], b, atol=1e-6)
    i, j = (list(side) for side in zip(*answer["alignment"], strict=True))
    alone_a, alone_b = np.delete(a, i), np.delete(b, j)
    p = np.concatenate([a[i], alone_a, 0 * alone_b])
    r = np.concatenate([b[j], 0 * alone_a, alone_b])
    assert answer["divergence"][0][7] == pytest.approx(jensenshannon(p, r) ** 2, abs=1e-5)
    both = jensenshannon(a[i] / a[i].sum(), b[j] / b[j].sum()) ** 2
    assert answer["divergence_aligned"][0][7] == pytest.approx(both, abs=1e-5)
    assert answer["unaligned_a"][0][7] == pytest.approx(alone_a.sum(), abs=1e-6)
    assert np.max(answer["divergence"]) <= math.log(2)


def test_heads_are_ranked_and_the_first_is_shown(compare):
    answer = compare(RIVER, MONEY)
    scores = [head["divergence"] for head in answer["ranked"]]
    assert scores == sorted(scores, reverse=True)
    assert (answer["layer"], answer["head"]) == (
        answer["ranked"][0]["layer"],
        answer["ranked"][0]["head"],
    )
    assert scores[0] == pytest.approx(np.max(answer["divergence"]))


def test_similarity_is_the_cosine_of_hidden_states(compare, get):
    answer = compare(RIVER, MONEY)
    a, b = (
        np.array(get("/hidden-states", **spec, word="bank")["hidden"]) for spec in (RIVER, MONEY)
    )
    cosines = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(answer["similarity"], cosines, atol=1e-5)
    assert len(answer["similarity"]) == 7


def test_the_trained_bert_tells_the_senses_apart(compare):
    answer = compare(RIVER, MONEY)["references"]
    assert answer["n"] == {"river": 8, "money": 8}
    last = {name: {sense: row[-1] for sense, row in answer[name].items()} for name in ("a", "b")}
    assert last["a"]["river"] > last["a"]["money"]
    assert last["b"]["money"] > last["b"]["river"]
    assert min(row[-1] for row in answer["within"].values()) > answer["between"][-1]


def test_hidden_states_are_named_embedding_and_then_by_layer(compare, get, client):
    names = ["embedding", *(f"layer {i}" for i in range(6))]
    assert get("/hidden-states", **RIVER)["states"] == names
    assert get("/hidden-states", **RIVER, word="bank")["states"] == names
    body = compare(RIVER, MONEY)
    assert body["states"] == names
    assert len(body["similarity"]) == len(body["nearest_a"]) == len(names)
    assert len(body["divergence"]) == 6, "attention layers alone"
    assert compare(RIVER, {**RIVER, "model": "gpt"})["states"] == []
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for answer in ("HiddenAnswer", "CompareAnswer"):
        assert "layer 0 … layer L - 1" in schemas[answer]["properties"]["states"]["description"]


def test_nearest_words_are_ranked(compare):
    answer = compare(RIVER, MONEY)
    for layer in answer["nearest_a"]:
        cosines = [near["cosine"] for near in layer]
        assert cosines == sorted(cosines, reverse=True)
    assert compare(RIVER, MONEY, "the")["references"] is None


def test_two_models_have_no_common_space_but_common_words(compare):
    answer = compare(RIVER, RIVER | {"model": "gpt"})
    assert answer["similarity"] is None
    words = [[unit["text"] for unit in answer[side]["k_words"]] for side in ("a", "b")]
    assert [words[0][i] for i, _ in answer["alignment"]] == [
        words[1][j] for _, j in answer["alignment"]
    ]
    assert len(answer["alignment"]) == 11


def test_one_run_with_an_edit_beside_the_same_without(compare):
    edit = {"op": "ablate", "layer": 1, "head": 2}
    answer = compare(RIVER, RIVER | {"edits": [edit]})
    np.testing.assert_allclose(answer["similarity"][:2], 1, atol=1e-6)
    assert answer["similarity"][3] < 1
    np.testing.assert_allclose(answer["divergence"][0], 0, atol=1e-6)
    assert max(answer["divergence"][3]) > 0


def test_an_alignment_can_be_given(compare):
    answer = compare(RIVER, MONEY, align=[[6, 7], [10, 10]], layer=0, head=7)
    assert answer["alignment"] == [[6, 7], [10, 10]]
    assert answer["unaligned_a"][0][7] == pytest.approx(
        1 - answer["row_a"][6] - answer["row_a"][10]
    )
    assert np.shape(answer["difference"]) == (2, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"word": "money"}, "'money' is not a word of the text: He, sat, on, the, river"),
        ({"word": "river"}, "'river' is not a word of the text: She, opened, an"),
        ({"word": "bank", "occurrence_a": 1}, "of 'bank' does not exist: they are 0 to 0"),
        ({"word": "bank", "layer": 6}, "layer 6 does not exist: both have 0 to 5"),
        ({"word": "bank", "align": [[99, 0]]}, "A has words 0 to 12"),
        ({"word": "bank", "align": [[0, 0], [1, 0]]}, "a word of B is in more than one pair"),
        ({"word": "bank", "align": [[-1, 0]]}, "at least 0"),
        ({"word": ""}, "at least 1 character"),
    ],
)
def test_what_cannot_be_is_said(refused, options, said):
    assert said in refused(RIVER, MONEY, **options)


def test_a_word_that_occurs_twice_is_the_one_asked_for(compare):
    twice = {"model": "bert", "text": "The bank on the river bank."}
    first, second = (compare(twice, MONEY, occurrence_a=i)["a"] for i in (0, 1))
    assert (first["word"], first["n_occurrence"]) == (2, 2)
    assert (second["word"], second["occurrence"]) == (6, 1)


def test_get_answers_what_post_answers(client):
    request = {"a": json.dumps(RIVER), "b": json.dumps(MONEY), "word": "bank", "align": "6-7,10-10"}
    got = client.get("/api/v1/compare", params=request)
    body = {"a": RIVER, "b": MONEY, "word": "bank", "align": [[6, 7], [10, 10]]}
    posted = client.post("/api/v1/compare", json=body)
    assert got.json() == posted.json()
    assert got.headers["etag"] == posted.headers["etag"]


@pytest.mark.parametrize(
    ("model", "sequence", "n_layer", "d_model"),
    [
        ("bert", "source", 6, 384),
        ("gpt", "source", 6, 256),
        ("translator", "source", 4, 256),
        ("translator", "target", 4, 256),
    ],
)
def test_hidden_states_are_at_the_embedding_and_after_each_layer(
    get, model, sequence, n_layer, d_model
):
    answer = get("/hidden-states", model=model, text="El banco.", sequence=sequence)
    assert answer["shape"] == [n_layer + 1, len(answer["tokens"]), d_model]
    assert np.shape(answer["hidden"]) == tuple(answer["shape"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "bert", "text": "hi", "sequence": "target"}, "bert has no sequence target"),
        ({"model": "recurrent", "text": "hola"}, "recurrent has no layers of hidden states"),
        ({"model": "bert", "text": "hi", "word": "there"}, "'there' is not a word of the text: hi"),
    ],
)
def test_hidden_states_that_cannot_be_are_said_why(client, asked, said):
    answer = client.get("/api/v1/hidden-states", params=asked)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_references_are_of_models_that_read_english(compare):
    spec = {"model": "translator", "text": "The bank."}
    assert compare(spec, spec)["references"] is None
    assert compare(RIVER, MONEY, " BANK ")["references"]


def test_a_row_is_for_set_alone(client):
    edit = {"op": "scale", "by": 1, "row": [0.5]}
    body = {"model": "bert", "text": "hi", "edits": [edit]}
    answer = client.post("/api/v1/hidden-states", json=body)
    assert answer.status_code == 422
    assert "row is for set" in answer.json()["detail"]


def test_a_long_wrong_alignment_is_put_aside_at_once(client):
    align = "1" + "-1111" * 60 + "x"
    twin = client.get("/compare.json", params={"align": align}).json()
    assert [row["field"] for row in twin["ignored"]] == ["align"]


@pytest.mark.parametrize(
    ("asked", "fields", "said"),
    [
        ({"align": "99-99"}, ["align"], "A has words 0 to 12"),
        ({"align": "1-1,1-2"}, ["align"], "a word of A is in more than one pair"),
        ({"occurrence_a": "5"}, ["occurrence_a"], "of 'bank' does not exist: they are 0 to 0"),
        ({"occurrence_b": "7", "align": "0-99"}, ["align", "occurrence_b"], "B has words 0 to"),
        ({"off": "9.9"}, ["off"], "off 9.9 does not exist: 0.0 to 5.11"),
    ],
)
def test_what_these_texts_do_not_have_is_put_aside(client, asked, fields, said):
    answer = client.get("/compare.json", params=asked)
    assert answer.status_code == 200
    twin = answer.json()
    assert sorted(row["field"] for row in twin["ignored"]) == fields
    assert any(said in row["message"] for row in twin["ignored"])
    assert twin["comparison"]["a"]["model"] == "bert"


def test_verdicts_are_the_margins_of_the_senses(compare):
    answer = compare(RIVER, MONEY)["references"]
    for side in ("a", "b"):
        river, money = (np.array(answer[side][sense]) for sense in ("river", "money"))
        verdict = answer[f"verdict_{side}"]
        np.testing.assert_allclose(verdict["margins"], river - money, atol=1e-6)
        assert verdict["sense"] == ("river" if verdict["margins"][-1] > 0 else "money")


def test_two_lists_of_the_request_take_the_place_of_those_shipped(client, compare, refused):
    lists = {"first_sense": ["A muddy bank.", "The far bank."], "second_sense": ["The bank lent."]}
    answer = compare(RIVER, MONEY, **lists)["references"]
    assert answer["n"] == {"first_sense": 2, "second_sense": 1}
    assert answer["source"] == "of the request"
    query = {name: json.dumps(x) for name, x in {"a": RIVER, "b": MONEY, **lists}.items()}
    sent = client.get("/api/v1/compare", params={**query, "word": "bank"}).json()
    assert sent["references"]["n"] == answer["n"]
    lists["second_sense"] = ["A loan."]
    assert "'bank' is not a word of the sentence: A loan." in refused(
        RIVER, MONEY, word="bank", **lists
    )
    assert compare(RIVER, MONEY, "the", first_sense=["The end."])["references"] is None


def test_heads_that_follow_position_come_last_if_asked(compare):
    plain, last = compare(RIVER, MONEY), compare(RIVER, MONEY, positional_last=True)
    assert plain["divergence"] == last["divergence"]
    assert plain["positional"] == last["positional"] != []
    assert [last["layer"], last["head"]] not in last["positional"]
    assert not any(head["positional"] for head in last["ranked"])
    for head in plain["ranked"]:
        assert head["baseline"] == plain["baseline"][head["layer"]][head["head"]]


def test_content_words_alone_count_if_asked(compare):
    answer = compare(RIVER, MONEY, content_words=True)
    assert {"the", "on", "and", "."} <= {*answer["function_words"]}
    assert compare(RIVER, MONEY)["function_words"] == []
    assert {head["a"] for head in answer["ranked"]} <= {"sat", "river", "bank", "watched", "water"}
    whole = np.array(compare(RIVER, MONEY)["divergence"])
    assert (np.array(answer["divergence"]) <= whole + 1e-6).all(), "merging words loses difference"


def test_senses_are_named_in_the_language_of_the_page(client) -> None:
    example = next(e for e in client.get("/compare.json?lang=zh").json()["examples"])
    assert "“河流”" in example["observation"] and "river sentences" not in example["observation"]
    verdict = client.get("/compare?lang=zh").text.split('id="verdict"')[1].split("</p>")[0]
    assert "“河流”" in verdict and "“金钱”" in verdict
    assert "river" not in verdict


def test_content_words_say_which_lists_they_are_by(get) -> None:
    spec = {"word": "banco", "content_words": "true", "a": {}, "b": {}}
    texts = {"model": "translator", "text": "El banco es rojo."}
    spec |= {"a": json.dumps(texts), "b": json.dumps(texts), "kind": "encoder"}
    assert get("/compare", **spec)["function_word_lists"] == ["es"]
    assert get("/compare", **{**spec, "content_words": "false"})["function_word_lists"] == []
    english = get("/compare", **spec, function_word_list="en")
    assert (english["function_word_lists"], english["function_words"]) == (["en"], ["."])


TOO_LONG = f"text A has no word to compare: “{'a' * 20}…” has 140 characters, of at most 100"


@pytest.mark.parametrize(
    ("text", "text_b", "why"),
    [
        ("!!!", "The bank", "text A has no word to compare"),
        ("The bank", "?", "text B has no word to compare"),
        ("a" * 140, "b", TOO_LONG),
    ],
)
def test_a_text_without_a_word_to_compare_is_named(client, text, text_b, why) -> None:
    """The page takes a word where none was asked for: nobody has typed that one."""
    page = client.get("/compare.json", params={"text": text, "text_b": text_b, "lang": "en"}).json()
    assert page["problem"]["detail"] == why


def test_a_word_that_is_too_long_is_not_taken(client) -> None:
    texts = {"text": "a" * 140 + " river", "text_b": "a" * 140 + " money"}
    page = client.get("/compare.json", params=texts).json()
    assert (page["word"], page["word_b"]) == ("river", "money")
