"""Requests made from /openapi.json, and whether each answer is one that it describes.

python -m tests.contract 10000: against a server of its own, on a socket; `make contract`.
"""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import schemathesis
from attention_atlas.app.openapi import parts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckContext, CheckFunction
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

SEED = 20_261_130
MODELS = ("bert", "gpt", "translator", "recurrent")
COSTLY = (
    "/few-shot",
    "/lab/sweep",
    "/lab/effects",
    "/lab/writes",
    "/lab/attributions",
    "/lab/lens",
    "/lab/paths",
    "/arithmetic/cost",
    "/arithmetic/gradients",
    "/api/v1/models",
)  # to ask


# Not positive_data_acceptance: layer 99 has the right type, and no model has it. Nor
# negative_data_rejection: in a query string every value is text, and 1 is also "true".
def no_mistake_of_ours(context: CheckContext, answer: Any, case: Case) -> None:
    """503 is an answer; 500 never is."""
    assert answer.status_code != 500, answer.text


CHECKS: list[CheckFunction] = [
    no_mistake_of_ours,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.allow_header_conformance,
]
LONGEST_TEXT = 60
RUNS = {"clean", "corrupted"}  # fields of the Lab
BLANK = "He sat on the river [MASK]."
HOSTS = {"HOSTS": "testserver", "LOAD_MODELS": "off"}
Send = Callable[..., Any]  # method, url, and what httpx takes


def described(document: dict[str, Any]) -> list[APIOperation]:
    """Every operation of /openapi.json. Texts are shorter: long ones take seconds to make."""
    document = copy.deepcopy(document)
    for part in parts(document):
        if isinstance(part.get("maxLength"), int):
            part["maxLength"] = min(part["maxLength"], LONGEST_TEXT)
    schema = schemathesis.openapi.from_dict(document)
    return [result.ok() for result in schema.get_all_operations()]


def tried(operation: APIOperation, n_case: int, send: Send) -> Counter[int]:
    """Send so many requests, two thirds of them valid by the schema: the statuses of the answers.

    Raises what schemathesis finds wrong with an answer.
    """
    statuses: Counter[int] = Counter()
    modes = (GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    kinds = [operation.as_strategy(generation_mode=mode) for mode in modes]

    @seed(SEED)
    @settings(
        max_examples=n_case,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(kinds), place=st.integers(0, len(MODELS)))
    def one(case: Case, place: int) -> None:
        if place < len(MODELS):
            name_model(case, MODELS[place])
        answer = sent(case, send)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    one()
    return statuses


def name_model(case: Case, name: str) -> None:
    """Ask for a model that there is, else nearly every answer would be 404."""
    for part in (case.query, case.body):
        name_in(part, name)
    if isinstance(case.query, dict):  # a run in a query string is JSON, which no schema describes
        for field in RUNS & case.query.keys():
            case.query[field] = json.dumps({"model": name, "text": BLANK})
    if isinstance(case.path_parameters, dict) and "model" in case.path_parameters:
        case.path_parameters["model"] = name


def name_in(value: Any, name: str) -> None:
    """In every run spec of a request, however deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        name_in(each, name)
    if isinstance(value, dict) and isinstance(value.get("model"), str):
        value["model"] = name


def sent(case: Case, send: Send) -> Any:
    """The answer to a case. What is no JSON by itself is sent as bytes, as it is."""
    request = case.as_transport_kwargs(base_url="")
    del request["cookies"]  # none are described
    request["params"] = {k: v for k, v in request["params"].items() if v is not None}
    if "data" in request:
        body = request.pop("data")
        request["content"] = body if isinstance(body, bytes) else str(body).encode()
    return send(**request)


def main(n_case: int) -> int:
    """Try every operation on a server of its own; print what is wrong: how many operations."""
    wrong = 0
    with served() as send:
        operations = described(send("GET", "/openapi.json").json())
        for operation in operations:
            share = n_case // len(operations) // (10 if operation.path.endswith(COSTLY) else 1)
            try:
                result = str(dict(tried(operation, max(2, share), send)))
            except Exception as error:  # whatever schemathesis or a check raises
                result, wrong = f"WRONG: {error}", wrong + 1
            sys.stdout.write(f"{operation.label}: {result}\n")
            sys.stdout.flush()
    return wrong


@contextmanager
def served() -> Iterator[Send]:
    """What sends a request to a server in a process of its own, on a socket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"HOST": "127.0.0.1", "PORT": str(port), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "attention_atlas.app"]
    process = subprocess.Popen(command, env=env | HOSTS, stderr=subprocess.DEVNULL)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            deadline = time.monotonic() + 300
            while not is_up(client) and time.monotonic() < deadline:
                time.sleep(0.2)
            yield client.request
    finally:
        process.terminate()
        process.wait(timeout=60)


def is_up(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
