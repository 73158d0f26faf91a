"""/translate: a translation is the run of its own tokens."""

from __future__ import annotations

import pytest

TEXT = "El banco está cerrado."


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
