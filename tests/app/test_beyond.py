"""Numbers of an address that are too large: what is taken in their place is said."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

TEXT = "El banco está cerrado."
USED = {"en": "; {taken} is used instead", "zh": "；改用 {taken}"}
SHOWN = {"en": "; {taken} is shown instead", "zh": "；改用 {taken}"}


def page(client: TestClient, path: str, language: str = "en", **query: object) -> Any:
    headers = {"accept-language": language}
    answer = client.get(f"{path}.json", params=query, headers=headers)
    content = answer.json()
    assert content["problem"] is None, content["problem"]
    html = client.get(path, params=query, headers=headers).text
    for row in content["ignored"]:
        assert row["message"] in html
    return content


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("path", "part", "query"),
    [
        ("/translate", "translation", {"text": TEXT}),
        ("/generate", "generation", {"text": "The old king", "max_new_tokens": 3}),
    ],
)
@pytest.mark.parametrize("step", [999, 123_456_789_000])
def test_a_step_beyond_the_last_is_named_and_the_last_shown(
    client: TestClient, path: str, part: str, query: dict[str, object], language: str, step: int
) -> None:
    content = page(client, path, language, **query, step=step)
    last = len(content[part]["steps"]) - 1
    assert content["step"] == last > 0
    [row] = content["ignored"]
    assert row["field"] == "step" and str(step) in row["message"]
    assert row["message"].endswith(SHOWN[language].format(taken=last))


def test_a_step_that_is_there_is_not_named(client: TestClient) -> None:
    content = page(client, "/generate", text="The old king", max_new_tokens=3, step=2)
    assert (content["step"], content["ignored"]) == (2, [])


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/translate", "num_beams", "99"),
        ("/translate", "length_penalty", "99"),
        ("/translate", "step", "x"),
        ("/generate", "max_new_tokens", "99999999"),
        ("/generate", "temperature", "99"),
        ("/generate", "top_k", "9999999"),
        ("/generate", "top_p", "2"),
        ("/generate", "seed", "99999999999"),
        ("/generate", "n_max", "99"),
        ("/fill", "seed", "99999999999"),
        ("/positions", "n_positions", "99999"),
    ],
)
def test_a_number_that_is_not_accepted_is_named_with_the_one_in_its_place(
    client: TestClient, path: str, field: str, value: str, language: str
) -> None:
    content = page(client, path, language, **{field: value})
    [row] = content["ignored"]
    assert row["field"] == field and value in row["message"]
    assert row["message"].endswith(USED[language].format(taken=content[field]))
