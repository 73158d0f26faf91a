"""Messages to users: a code, values, and a translation each; no sentence of a library."""

from __future__ import annotations

import ast
import re
import string
from itertools import product
from typing import Any

import pytest
from attention_atlas.app.language import catalogue
from attention_atlas.app.validation import in_our_words
from attention_atlas.model.messages import Message
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError

from tests.messages import calls, templates

ERRORS = {"BadInput", "Invalid", "NotAllowed", "NotReady", "UnknownModel", "Busy", "BodyTooLarge"}
ERRORS |= {"Refused"}
LIBRARY = re.compile(r"Input should|Value error|should have|Field required|validation error|Tuple ")
UNTRANSLATED = {"BERT base", "exp s", "logit", "“{word}”"}  # names and formulas
CHINESE = re.compile(r"[\u4e00-\u9fff]")
TEXT = {"text": "He sat on the river bank."}


def fields(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def test_a_message_is_its_sentence_and_can_be_translated() -> None:
    inner = Message("span", "{n} words", n=3)
    message = Message("too-many", "at most {limit}, not {value!r}", limit=inner, value="a")
    assert message == "at most 3 words, not 'a'"
    words = {
        "{n} words": "{n} 个词",
        "at most {limit}, not {value!r}": "最多 {limit}，而非 {value!r}",
    }
    assert message.translated(lambda text: words[text]) == "最多 3 个词，而非 'a'"


@pytest.mark.parametrize("template", templates())
def test_every_message_is_in_the_chinese_catalogue_with_the_same_values(template: str) -> None:
    translation = catalogue("zh")[template]
    assert fields(translation) == fields(template)
    assert translation != template or template in UNTRANSLATED


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_no_error_is_raised_with_a_sentence_that_cannot_be_translated(name: str) -> None:
    plain = (ast.JoinedStr, ast.BinOp)
    for node in calls(name):
        message = node.args[1 if name == "BadInput" else 0]
        assert not isinstance(message, plain), ast.unparse(node)
        assert not isinstance(message, ast.Constant), ast.unparse(node)
        assert not ast.unparse(message).startswith("str("), ast.unparse(node)


class Sample(BaseModel):
    n: int = 0
    flag: bool = False
    names: list[str] = []


@pytest.mark.parametrize(
    "sent", [{"n": "x"}, {"n": 1.5}, {"flag": 7}, {"names": 3}, {"names": [1]}]
)
def test_validation_errors_are_in_our_words(sent: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(sent)
    messages = [in_our_words(row) for row in caught.value.errors()]
    assert messages and all(isinstance(message, Message) for message in messages)
    assert not any(LIBRARY.search(message) for message in messages)


def test_a_problem_has_a_code_the_limit_and_the_value(client: TestClient) -> None:
    answer = client.get("/api/v1/attention", params={"model": "bert", **TEXT, "layer": 99})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "out-of-range")
    [error] = problem["errors"]
    assert (error["field"], error["code"], error["limit"]) == ("layer", "out-of-range", 5)


@pytest.mark.parametrize(
    ("path", "query", "code", "limit", "value"),
    [
        ("run", {"edits": '[{"op": "set", "row": [1, 2]}]'}, "row-of-another-length", 9, 2),
        ("run", {"edits": '[{"op": "scale", "by": 1e300}]'}, "scores-too-large", None, None),
        ("run", {"edits": '[{"op": "set", "query": 0, "row": [0, 1, 1, 1, 1, 1, 1, 1]}]',
                 "model": "gpt"}, "row-is-masked", None, None),
        ("attention", {"reduce": "rollout", "layer": "0,2"}, "needs-every-layer", None, "0, 2"),
    ],
)  # fmt: skip
def test_what_a_computation_refuses_has_a_code_and_values_too(
    client: TestClient, path: str, query: dict[str, str], code: str, limit: Any, value: Any
) -> None:
    request = {"model": "bert", **TEXT, **query}
    answer = client.get(f"/api/v1/{path}", params=request, headers={"accept-language": "zh"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    [error] = problem["errors"]
    assert (error["code"], error["limit"], error["value"]) == (code, limit, value)
    assert CHINESE.search(error["message"])


def test_at_most_twenty_errors_are_listed(client: TestClient) -> None:
    edits = [{"op": "nothing"}] * 60
    answer = client.post("/api/v1/run", json={"model": "bert", **TEXT, "edits": edits})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20


ODD = (" ", "x", "-1", "99", "[]", "é" * 300, "1e9")
NUMBERED = ("layer", "kind", "size", "query", "n_positions", "num_beams")
PLACES = (
    "/api/v1/attention",
    "/api/v1/attention/overview",
    "/api/v1/anatomy",
    "/api/v1/positions",
    "/api/v1/translate",
    "/api/v1/generate",
    "/api/v1/masks",
    "/explore.json",
    "/masks.json",
    "/translate.json",
)


@pytest.mark.parametrize("path", PLACES)
def test_odd_values_get_our_words_in_the_language_of_the_request(
    client: TestClient, path: str
) -> None:
    for field, value in product(NUMBERED, ODD):
        query = {"model": "bert", **TEXT, field: value}
        answer = client.get(path, params=query, headers={"accept-language": "zh"})
        assert answer.status_code < 500, (query, answer.text)
        content = answer.json()
        problem = content if "detail" in content else content.get("problem")
        shown = [row["message"] for row in content.get("ignored", [])]
        shown += (
            [row["message"] for row in problem["errors"]] + [problem["detail"]] if problem else []
        )
        for message in shown:
            assert not LIBRARY.search(message), message
            assert CHINESE.search(message), message
