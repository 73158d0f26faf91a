"""/few-shot: accuracy by the number of examples."""

from __future__ import annotations

import numpy as np
from attention_atlas.model.analysis import few_shot


def test_few_shot_names_its_heads_and_definitions(post):
    answer = post("/few-shot", model="gpt", pattern="copy", n_max=1, n_prompt=4, seed=2)
    assert [shot["n"] for shot in answer["shots"]] == [0, 1]
    assert set(answer["off"]) == {"none", "induction", "previous_token", "others"}
    assert np.shape(answer["scores"]["induction"]) == (6, 8)
    assert "earlier copy" in answer["definitions"]["induction"]
    assert answer["definition"] == few_shot.definitions()["copy"]
