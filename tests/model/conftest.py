"""A folder of small documents and pairs, and BERT's training task on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from attention_atlas.model.training.bert_task import BertTask

N_DOCUMENT = 120


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sentence gives the number of its document and its own number in it."""
    folder = tmp_path_factory.mktemp("data")
    docs = [
        " ".join(f"Document d{doc} has sentence s{n}." for n in range(8))
        for doc in range(N_DOCUMENT)
    ]
    (folder / "own.txt").write_text("\n\n".join(docs))
    pairs = [f"uno {'dos ' * (i % 7)}{i}\tone {'two ' * (i % 5)}{i}" for i in range(300)]
    (folder / "own.tsv").write_text("\n".join(pairs))
    return folder


@pytest.fixture(scope="session")
def bert_task(documents: Path) -> BertTask:
    return BertTask(documents, None, 0)
