"""/translate, /generate, /next-token, /fill-mask, /next-sentence, /corruption, /few-shot."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from attention_atlas.model.analysis import few_shot

TEXT = "El banco está cerrado."
STEPWISE = [
    ("/translate", {"model": "translator", "text": TEXT}),
    ("/translate", {"model": "translator", "text": TEXT, "num_beams": 3, "reference": "Shut."}),
    ("/translate", {"model": "recurrent", "text": TEXT}),
    ("/generate", {"model": "gpt", "text": "The king", "max_new_tokens": 5, "top_k": 20}),
    ("/few-shot", {"model": "gpt", "pattern": "list", "n_max": 1, "n_prompt": 3}),
]


@pytest.fixture
def post(client: Any) -> Any:
    def ask(path: str, **body: Any) -> Any:
        answer = client.post(f"/api/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


def events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events as (name, data)."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.parametrize(("path", "body"), STEPWISE)
def test_streamed_and_whole_answers_are_equal(client, post, path, body):
    whole = post(path, **body)
    answer = client.post(f"/api/v1{path}", json={**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    found = events(answer.text)
    assert [name for name, _ in found[:1] + found[-1:]] == ["start", "result"]
    assert found[-1][1] == whole
    assert {name for name, _ in found[1:-1]} <= {"token", "shot", "progress"}


@pytest.mark.parametrize(("path", "body"), STEPWISE[:4])
def test_each_token_comes_with_its_row(client, path, body):
    found = events(client.post(f"/api/v1{path}", json={**body, "stream": True}).text)
    result = found[-1][1]
    tokens = [data for name, data in found if name == "token"]
    beams = body.get("num_beams", 1) > 1
    if not beams:
        assert [data["token"]["id"] for data in tokens] == [t["id"] for t in result["tokens"]]
        shared = set(tokens[0]) - {"text", "attn", "token"}
        for data, step in zip(tokens, result["steps"], strict=True):
            assert {name: data[name] for name in shared} == {name: step[name] for name in shared}
    n_key = len(found[0][1].get("source") or found[0][1]["prompt"])
    for n, data in enumerate(tokens):
        rows = np.array(data["attn"])
        assert rows.shape[1] == (n_key if path == "/translate" else n_key + n)
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


def test_a_row_is_of_the_head_that_is_asked_for(client, get):
    body = {"model": "translator", "text": TEXT, "stream": True}
    one = events(client.post("/api/v1/translate", json={**body, "head": 7}).text)
    cross = np.array(get("/attention", model="translator", text=TEXT, kind="cross")["attn"])
    for n, (_, data) in enumerate(one[1:-1]):
        np.testing.assert_allclose(data["attn"], cross[:, 7, n], atol=1e-5)
    mean = events(client.post("/api/v1/translate", json=body).text)
    np.testing.assert_allclose(mean[1][1]["attn"], cross[:, :, 0].mean(1), atol=1e-5)


def test_a_translation_says_what_a_run_says(post, get):
    found = post("/translate", model="translator", text=TEXT)
    run = get("/run", model="translator", text=TEXT)
    assert found["target"] == run["target"] == "The bank is closed."
    assert (found["sequences"], found["kinds"]) == (run["sequences"], run["kinds"])
    assert found["links"] == run["links"]
    assert found["finished"] and found["tokens"][-1]["text"] == "</s>"
    assert sum(found["log_probabilities"]) == pytest.approx(found["log_probability"])


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"max_new_tokens": 2}, {}])
def test_a_translations_links_are_of_its_own_tokens(client, post, options):
    text = "Xi Jinping y Björk Guðmundsdóttir"
    found = post("/translate", model="translator", text=text, **options)
    attention = client.get(found["links"]["attention"] + "&kind=cross").json()
    assert attention["q_tokens"] == found["sequences"]["target"]
    shapes = {kind["kind"]: kind["shape"] for kind in found["kinds"]}
    assert attention["shape"] == shapes["cross"]
    assert client.get(found["links"]["explore"]).status_code == 200


def test_a_continuations_link_is_of_the_whole_text(client, post):
    prompt = "The capital of France is"
    found = post("/generate", model="gpt", text=prompt, temperature=0, max_new_tokens=6)
    assert found["continuation"].startswith(" ")
    attention = client.get(found["links"]["attention"] + "&layer=0&head=0").json()
    assert attention["text"] == prompt + found["continuation"]


@pytest.mark.parametrize("text", ["[MASK]", "[SEP]", "[CLS] [SEP]"])
def test_nothing_but_special_tokens_has_no_loss(post, text):
    found = post("/corruption", model="bert", text=text)
    assert (found["chosen"], found["loss"]) == ([], None)


def test_get_answers_what_post_answers(client, post):
    asked = {"model": "gpt", "text": "The king", "max_new_tokens": 3, "forced": [300, 400]}
    got = client.get("/api/v1/generate", params={**asked, "forced": "300,400"})
    assert got.json() == post("/generate", **asked)
    assert [t["id"] for t in got.json()["tokens"]][:2] == [300, 400]
    again = client.get(
        "/api/v1/generate",
        params={**asked, "forced": "300,400"},
        headers={"If-None-Match": got.headers["etag"]},
    )
    assert again.status_code == 304


def test_a_texts_probabilities_go_on_with_the_next(get):
    found = get("/next-token", model="gpt", text="The king of France", top=3)
    assert len(found["candidates"]) == 3
    assert found["log_probabilities"][0] is found["entropies"][0] is found["ranks"][0] is None
    assert all(value <= 0 for value in found["log_probabilities"][1:])


def test_blanks_sentences_and_noise(get):
    found = get("/fill-mask", model="bert", text="He sat on the [MASK] bank.", top=4)
    assert [len(mask["candidates"]) for mask in found["masks"]] == [4]
    a, b = "The children went to the river.", "They played in the water all day."
    ab, ba = (get("/next-sentence", model="bert", text=x, text_pair=y) for x, y in ((a, b), (b, a)))
    assert ab["is_next"] == pytest.approx(ba["swapped"], abs=1e-5)
    noise = get("/corruption", model="bert", text=a, text_pair=b, seed=5)
    losses = [place["loss"] for place in noise["chosen"]]
    assert noise["loss"] == pytest.approx(sum(losses) / len(losses))
    assert [np.exp(-loss) for loss in losses] == pytest.approx(
        [place["probability"] for place in noise["chosen"]]
    )


def test_few_shot_names_its_heads_and_definitions(post):
    found = post("/few-shot", model="gpt", pattern="copy", n_max=1, n_prompt=4, seed=2)
    assert [shot["n"] for shot in found["shots"]] == [0, 1]
    assert set(found["off"]) == {"none", "induction", "previous_token", "others"}
    assert np.shape(found["scores"]["induction"]) == (6, 8)
    assert "earlier copy" in found["definitions"]["induction"]
    assert found["definition"] == few_shot.definitions()["copy"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/translate", {"model": "gpt", "text": "hi"}, "gpt does not translate"),
        ("/translate", {"model": "translator", "text": ""}, "the text is empty"),
        ("/translate", {"model": "translator", "text": "a", "num_beams": 9}, "equal to 8"),
        ("/translate", {"model": "translator", "text": "a", "head": 8}, "heads 0 to 7"),
        ("/translate", {"model": "translator", "text": "a", "reference": " "}, "no tokens"),
        (
            "/translate",
            {"model": "translator", "text": "a", "max_new_tokens": 900},
            "900 tokens are too many: translator says at most 127",
        ),
        ("/translate", {"model": "translator", "text": "a", "text_pair": "b"}, "text_pair"),
        ("/generate", {"model": "gpt", "text": "hi", "temperature": -1}, "equal to 0"),
        ("/generate", {"model": "gpt", "text": "hi", "top_p": 0}, "greater than 0"),
        ("/generate", {"model": "gpt", "text": "hi", "max_new_tokens": 512}, "at most 509 fit"),
        ("/generate", {"model": "gpt", "text": "hi", "forced": [9000]}, "tokens 0 to 8191"),
        (
            "/generate",
            {"model": "gpt", "text": "hi", "edits": [{"op": "block", "query": 999}]},
            "query 999 does not exist",
        ),
        ("/few-shot", {"model": "bert"}, "bert does not next-token"),
        ("/few-shot", {"model": "gpt", "n_max": 9}, "equal to 8"),
    ],
)
def test_what_cannot_be_is_said_before_anything_streams(client, path, body, said, stream):
    answer = client.post(f"/api/v1{path}", json={**body, "stream": stream})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("/next-token", {"model": "bert", "text": "hi"}, "bert does not next-token"),
        ("/fill-mask", {"model": "bert", "text": "hi"}, "no [MASK]"),
        ("/fill-mask", {"model": "gpt", "text": "hi"}, "gpt does not fill-mask"),
        ("/next-sentence", {"model": "bert", "text": "hi"}, "text_pair"),
        ("/next-sentence", {"model": "bert", "text": "hi", "text_pair": " "}, "second text"),
        ("/next-token", {"model": "gpt", "text": "hi", "top": 101}, "equal to 100"),
        ("/corruption", {"model": "bert", "text": "hi", "seed": -1}, "equal to 0"),
    ],
)
def test_what_cannot_be_is_said(client, path, params, said):
    answer = client.get(f"/api/v1{path}", params=params)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_an_unknown_model_is_404_in_a_stream_too(client):
    body = {"model": "nobody", "text": "hi", "stream": True}
    assert client.post("/api/v1/translate", json=body).status_code == 404
