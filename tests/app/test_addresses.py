"""Addresses of 0.4.0 open the same picture: everything that they name is shown, and kept."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi.testclient import TestClient

from tests.addresses import ADDRESSES

# What the browser alone reads, and what the page keeps in another form.
BROWSERS = {"heads", "query", "side", "view", "segments", "threshold", "special", "reduce", "step"}
BROWSERS |= {"fill", "off"}


def written(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(value) if any(" " in item for item in value) else ",".join(value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address[:60])
def test_an_address_of_040_is_understood_in_full(client: TestClient, address: str) -> None:
    path, query = urlsplit(address).path, urlsplit(address).query
    page = client.get(f"{path}.json?{query}&lang=en").json()
    assert page["problem"] is None
    assert page["ignored"] == []
    named = {k: v for k, v in parse_qsl(query, keep_blank_values=True) if k not in BROWSERS}
    shown = {key: written(page[key]) for key in named}
    assert shown == {**named, **({"head": ""} if named.get("head") == "mean" else {})}
