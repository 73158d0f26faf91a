"""/translate: a translation is the run of its own tokens."""

from __future__ import annotations

import pytest
from attention_atlas.app.api.common import links
from attention_atlas.app.api.spec import RunRequest

TEXT = "El banco está cerrado."


def test_a_translation_says_what_a_run_says(post, get):
    answer = post("/translate", model="translator", text=TEXT)
    run = get("/run", model="translator", text=TEXT)
    assert answer["target"] == run["target"] == "The bank is closed."
    assert (answer["sequences"], answer["kinds"]) == (run["sequences"], run["kinds"])
    assert answer["links"] == run["links"]
    assert answer["finished"] and answer["tokens"][-1]["text"] == "</s>"
    assert sum(answer["log_probabilities"]) == pytest.approx(answer["log_probability"])


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"max_new_tokens": 2}, {}])
def test_a_translations_links_are_of_its_own_tokens(client, post, options):
    text = "Xi Jinping y Björk Guðmundsdóttir"
    answer = post("/translate", model="translator", text=text, **options)
    attention = client.get(answer["links"]["attention"] + "&kind=cross").json()
    assert attention["q_tokens"] == answer["sequences"]["target"]
    shapes = {kind["kind"]: kind["shape"] for kind in answer["kinds"]}
    assert attention["shape"] == shapes["cross"]
    assert client.get(answer["links"]["explore"]).status_code == 200


def test_a_page_is_not_asked_for_half_a_character():
    """A model may say bytes that are no character, which nobody can type."""
    spec = {"model": "translator", "text": TEXT, "target_ids": (5, 6)}
    for target, is_there in (("The bank", True), ("The \ufffd", False)):
        known = links(RunRequest.model_validate({**spec, "target": target}))
        assert ("target=" in known["explore"]) is is_there
