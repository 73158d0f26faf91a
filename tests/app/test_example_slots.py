"""A sentence of one's own in the place of each example's: it has a picture."""

from __future__ import annotations

import pytest
from attention_atlas.app.examples import catalogue
from fastapi.testclient import TestClient

OWN = {"en": "My sister sold the old house.", "es": "Mi hermana vende la casa vieja."}
TWO_TEXTS = ("compare", "positions", "lab")  # the other text, or the word, belongs to the first
PAGES = [page for page in catalogue.PAGES if page not in TWO_TEXTS]
SLOTS = [(page, example.label) for page in PAGES for example in catalogue.offered(page)]


@pytest.mark.parametrize(("page", "label"), SLOTS)
def test_a_sentence_of_ones_own_stands_in_each_examples_place(
    client: TestClient, page: str, label: str
) -> None:
    example = next(each for each in catalogue.offered(page) if each.label == label)
    own = OWN["es" if example.inputs["model"] in ("translator", "recurrent") else "en"]
    field = "texts" if page == "masks" else "text"
    address = {**example.opens_at, field: own, "lang": "en"}
    shown = client.get(f"/{page}.json", params=address).json()
    assert shown["problem"] is None
    assert shown[field] == ([own] if page == "masks" else own)
