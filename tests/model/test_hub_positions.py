"""How models know positions, whatever their family: tables, rotation, ALiBi, relative."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from attention_atlas.model.hub.adapters import HubEncoder
from attention_atlas.model.tape import Edit, Tape

from tests.families import (
    GROUPED,
    ONE,
    SOURCE,
    adapted,
    adapter_of,
    rotated,
    through,
)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


TABLES = ("BERT", "RoBERTa", "DistilBERT", "ELECTRA", "ALBERT", "GPT-2", "OPT", "Marian", "BART")
TABLES += ("M2M100", "Pegasus")


@pytest.mark.parametrize("name", TABLES)
def test_positions_can_be_left_out(name: str) -> None:
    """Without them an encoder's states are the same in another order of the words."""
    adapter = adapted(name)
    none = Tape(layers=(), edits=[Edit("positions", value="none")])
    assert not torch.allclose(through(adapter), through(adapter, none), atol=1e-3)
    if isinstance(adapter, HubEncoder):
        order = [3, 0, 5, 1, 4, 2]
        x = through(adapter, none)
        y = adapter.encode(SOURCE[:, order], torch.zeros_like(SOURCE), none)
        torch.testing.assert_close(y, x[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "first"), [("BERT", 0), ("RoBERTa", 1), ("OPT", 2), ("BART", 2)])
def test_the_first_position_is_found_in_the_table(name: str, first: int) -> None:
    adapter = adapted(name)
    assert next(iter(adapter.findings.tables.values())).first == first
    assert adapter.position_vectors().size(1) == 24


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("BERT", "learned"),
        ("Marian", "sinusoidal"),
        ("M2M100", "sinusoidal"),
        ("Llama", "rotary"),
        ("ModernBERT", "rotary"),
        ("BLOOM", "alibi"),
        ("T5", "relative"),
        ("DeBERTa-v2", "relative"),
    ],
)
def test_how_positions_are_known(name: str, positions: str) -> None:
    assert adapted(name).positions == positions


def test_layers_that_do_not_rotate_are_told_apart() -> None:
    """Cohere 2 rotates where a window slides; SmolLM3 and Llama 4 leave layers out by a list."""
    slides = ["sliding_attention", "full_attention"]
    cohere = adapter_of(hf.Cohere2Config(**GROUPED, sliding_window=3, layer_types=slides))
    smol = adapter_of(hf.SmolLM3Config(**GROUPED, no_rope_layers=[0, 1]))
    llama = adapter_of(hf.Llama4TextConfig(**GROUPED, num_local_experts=2, no_rope_layers=[1, 0]))
    values = [sorted(place.layer for place in rotated(x)) for x in (cohere, smol, llama)]
    assert values == [[0], [1], [0]]
    assert [sorted(p.layer for p in rotated(adapted(n))) for n in ("Llama", "BERT")] == [[0, 1], []]


def test_falcon_with_alibi_does_not_rotate() -> None:
    assert adapter_of(hf.FalconConfig(**ONE, alibi=True)).positions == "alibi"
    assert adapted("Falcon").positions == "rotary"


def test_sines_for_rotation_are_no_table() -> None:
    """RoFormer keeps them where others keep vectors that are added to the words."""
    adapter = adapter_of(hf.RoFormerConfig(**ONE, embedding_size=24), auto=hf.AutoModelForMaskedLM)
    assert (adapter.positions, adapter.has_input_parts) == ("rotary", False)
    assert not adapter.findings.tables
    through(adapter)
