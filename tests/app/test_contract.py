"""Requests made from /openapi.json, few and seeded: every answer is one that it describes.

`make contract` sends thousands, to a server on a socket.
"""

from __future__ import annotations

from collections import Counter

import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient
from schemathesis.schemas import APIOperation

from tests.contract import COSTLY, described, tried

DOCUMENT = create_app(Settings(models="recurrent", threads=1)).openapi()
OPERATIONS = described(DOCUMENT)
seen: Counter[int] = Counter()


def n_case(operation: APIOperation) -> int:
    is_quick = operation.path.startswith("/api/") and not operation.path.endswith(COSTLY)
    return 5 if is_quick else 2


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_an_operation_is_answered_as_described(client: TestClient, operation: APIOperation) -> None:
    seen.update(tried(operation, n_case(operation), client.request))


def test_requests_were_answered_and_refused() -> None:
    """Not 404 alone; after all the others, in one worker: --dist loadfile."""
    assert len(OPERATIONS) > 80
    assert seen[200] > 40 and seen[422] > 20, seen
