"""/generate and /next-token."""

from __future__ import annotations


def test_a_continuations_link_is_of_the_whole_text(client, post):
    prompt = "The capital of France is"
    answer = post("/generate", model="gpt", text=prompt, temperature=0, max_new_tokens=6)
    assert answer["continuation"].startswith(" ")
    attention = client.get(answer["links"]["attention"] + "&layer=0&head=0").json()
    assert attention["text"] == prompt + answer["continuation"]


def test_get_answers_what_post_answers(client, post):
    request = {"model": "gpt", "text": "The king", "max_new_tokens": 3, "forced": [300, 400]}
    got = client.get("/api/v1/generate", params={**request, "forced": "300,400"})
    assert got.json() == post("/generate", **request)
    assert [t["id"] for t in got.json()["tokens"]][:2] == [300, 400]
    again = client.get(
        "/api/v1/generate",
        params={**request, "forced": "300,400"},
        headers={"If-None-Match": got.headers["etag"]},
    )
    assert again.status_code == 304


def test_a_texts_probabilities_go_on_with_the_next(get):
    answer = get("/next-token", model="gpt", text="The king of France", top=3)
    assert len(answer["candidates"]) == 3
    assert answer["log_probabilities"][0] is answer["entropies"][0] is answer["ranks"][0] is None
    assert all(value <= 0 for value in answer["log_probabilities"][1:])
