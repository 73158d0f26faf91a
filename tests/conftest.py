"""Tiny seeded models. Every size differs from every other, so that swapped axes fail."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TypeVar

os.environ["HF_HUB_OFFLINE"] = "1"  # no test downloads anything
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HOSTS"] = "testserver"  # what TestClient asks for

import pytest
import torch
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder, Transformer

torch.set_num_threads(1)


TESTS = Path(__file__).parent
NEEDS = {
    "browser": "browser",
    "app": "weights",
    "test_docs.py": "weights",
    "test_notebooks.py": "weights",
    "test_operate.py": "weights",
    "test_soak.py": "weights",
    "test_wheel.py": "weights",
}


# Files that take long begin first; those of the browser end the run, the one with the most tests
# first: so no worker is left with a long file while the other has nothing to do.
SLOW = ["test_wheel.py", "model/test_train.py", "model/test_anchor.py", "model/test_quality.py"]


def position(path: Path, n_test: int) -> tuple[int, int]:
    """Of a file in the run."""
    name = path.relative_to(TESTS).as_posix()
    if name in SLOW:
        return SLOW.index(name) - len(SLOW), 0
    return (1, -n_test) if name.startswith("browser/") else (0, 0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a browser or the trained weights, which `make test-fast` leaves out."""
    n_test = Counter(item.path for item in items)
    items.sort(key=lambda item: position(item.path, n_test[item.path]))
    for item in items:
        top = item.path.relative_to(TESTS).parts[0]
        if top in NEEDS:
            item.add_marker(NEEDS[top])


@pytest.fixture(scope="session")
def cache_home(request: pytest.FixtureRequest) -> Path:
    """In place of the user's cache folder, for all workers: a GGUF file is unpacked there once."""
    assert request.config.cache
    return request.config.cache.mkdir("home")


Model = TypeVar("Model", bound=Transformer)
SIZES = Config(vocab_size=50, n_ctx=16, n_layer=2, n_head=4, d_model=8, d_ff=20, dropout=0.5)


def seeded(architecture: type[Model]) -> Model:
    """Weights far enough from their start that attention is sharp and words differ."""
    torch.manual_seed(0)
    model = architecture(SIZES)
    for parameter in model.parameters():
        parameter.data += 0.6 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def gpt() -> GPT:
    return seeded(GPT)


@pytest.fixture
def bert() -> Bert:
    return seeded(Bert)


@pytest.fixture
def encoder_decoder() -> EncoderDecoder:
    return seeded(EncoderDecoder)
