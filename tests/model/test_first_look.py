"""What the server itself reads of a model, before a child opens it, costs little whatever it is."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attention_atlas.model.hub import folder, loading
from attention_atlas.model.hub.folder import LONGEST_OF, Limits, read_json
from attention_atlas.model.hub.numbers import check_numbers
from attention_atlas.model.hub.reasons import BadModel
from safetensors.torch import save_file
from torch import zeros

MOST_MEMORY = 250_000_000  # bytes; of a whole index of such values Python made 700 MB
WORST = {
    "lists": "[]",
    "lists of one": "[0]",
    "objects": '{"":0}',
    "texts": '"\u0101"',
    "numbers": "1.5",
    "long numbers": "1e999",
}


def peak(work: Callable[[], Any]) -> int:
    """Bytes that Python had at most in addition."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(value: str, n: int) -> str:
    return '{"a": [' + ",".join([value] * n) + "]"


@pytest.mark.parametrize("name", LONGEST_OF)
@pytest.mark.parametrize("kind", WORST)
def test_a_full_file_of_small_values_is_not_parsed(tmp_path: Path, name: str, kind: str) -> None:
    value = WORST[kind]
    path = tmp_path / name
    path.write_text(filled(value, 2_000_000 // (len(value.encode()) + 2)) + "}")
    size = path.stat().st_size

    def refused() -> None:
        with pytest.raises(BadModel, match="holds more than 250,000 values"):
            read_json(path)

    assert peak(refused) < 2 * size + 100_000


@pytest.mark.parametrize("name", LONGEST_OF)
@pytest.mark.parametrize("kind", ["objects", "long numbers"])
def test_as_many_values_as_may_be_take_little_memory(tmp_path: Path, name: str, kind: str) -> None:
    """Beside them text of four bytes a letter, as long as the file may be."""
    value, most = WORST[kind], LONGEST_OF[name]
    begun = filled(value, folder.MOST_VALUES // (2 if value[0] in "[{" else 1) - 10)
    room = most - len(begun.encode()) - 20
    path = tmp_path / name
    path.write_text(f'{begun}, "b": "\U0001f3f4{"x" * room}"}}')
    assert path.stat().st_size <= most
    assert peak(lambda: read_json(path)) < MOST_MEMORY


def test_a_header_of_more_values_than_tensors_have_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / folder.ONE_FILE
    save_file({"a": zeros(2)}, path)
    header = json.dumps({"__metadata__": {}, "a": [[]] * 1_300_000}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadModel, match="holds more than 1,200,000 values"):
        folder.weights(tmp_path)


def calls_during(work: Callable[[], Any]) -> int:
    """How many Python functions are entered, or generators resumed."""
    n = 0

    def count(frame: Any, event: str, value: Any) -> None:
        nonlocal n
        n += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return n


@pytest.mark.parametrize("depth", [1, 900])
def test_a_number_costs_the_same_however_deep_it_is(depth: int) -> None:
    n = 10_000
    content = json.loads('{"a":' + "[" * depth + "0," * n + "0" + "]" * depth + "}")
    assert calls_during(lambda: check_numbers(content)) < 2 * n + 10 * depth


def test_numbers_are_named_in_their_order() -> None:
    content = {"a": [{"b": 2}, 2**50], "c": 2**51}
    with pytest.raises(BadModel, match=r"says a\.1 1125899906842624,"):
        check_numbers(content)


def test_names_of_classes_are_looked_up_without_importing_them() -> None:
    """Each would import the modules of its family: of all of them, gigabytes."""
    before = set(sys.modules)
    names = sorted(name for name in loading.CLASSES if name.endswith("Model"))
    content = {"model_type": "bert", "architectures": names, "auto_map": {"AutoModel": "x.Y"}}
    loading.check_config(content, Limits())
    families = {name for name in set(sys.modules) - before if ".modeling_" in name}
    assert len(names) > 300 and len(families) <= 2
