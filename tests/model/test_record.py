"""Numbers travel with their labels, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attention_atlas.model.record import AttentionRecord, Run, Token, axes, n_within


def tokens(n: int) -> tuple[Token, ...]:
    return tuple(Token(i, f"Ġ{i}", f" {i}") for i in range(n))


def record(
    n_layer: int, n_head: int, n_query: int, n_key: int, **labels: object
) -> AttentionRecord:
    fitting = {
        "q_tokens": tokens(n_query),
        "k_tokens": tokens(n_key),
        "layers": tuple(range(n_layer)),
        "heads": tuple(range(n_head)),
    }
    return AttentionRecord(
        kind="cross",
        attn=torch.zeros(n_layer, n_head, n_query, n_key),
        mask=torch.ones(1, 1, n_query, n_key, dtype=torch.bool),
        **{**fitting, **labels},
    )


def test_a_record_has_what_fits() -> None:
    assert record(2, 4, 3, 5).attn.shape == (2, 4, 3, 5)


def test_a_record_refuses_swapped_tokens() -> None:
    with pytest.raises(ValueError, match=r"cross attention \(1, 1, 2, 3\) has \(3, 2\)"):
        record(1, 1, 2, 3, q_tokens=tokens(3), k_tokens=tokens(2))


@pytest.mark.parametrize("labels", [{"layers": (0,)}, {"heads": (0, 1)}])
def test_a_record_refuses_other_layers_or_heads(labels: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"cross attention \(2, 4, 3, 5\) has self\.layers="):
        record(2, 4, 3, 5, **labels)


def test_a_reduced_record_says_what_it_went_over() -> None:
    mean = record(2, 1, 3, 5, heads=(0, 1, 2, 3), reduce="mean_heads")
    assert mean.heads == (0, 1, 2, 3)


def test_a_run_knows_its_size() -> None:
    cross = record(2, 4, 3, 5)
    run = Run("a", None, "b", False, {}, {"cross": cross, "encoder": cross}, {})
    tensors = 2 * (2 * 4 * 3 * 5 * 4 + 3 * 5)
    assert tensors < run.n_byte < tensors + 20_000
    assert replace(run, text="a" * 1000).n_byte == run.n_byte + 999 * 8


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("encoder", ("source", "source")),
        ("decoder", ("target", "target")),
        ("cross", ("target", "source")),
    ],
)
def test_rows_look_and_columns_are_looked_at(kind: str, expected: tuple[str, str]) -> None:
    assert axes(kind, {"source": tokens(5), "target": tokens(3)}) == expected


def test_a_model_with_one_text_has_one_sequence() -> None:
    assert axes("decoder", {"source": tokens(5)}) == ("source", "source")


def test_an_axis_without_specials_ends_at_the_same_token() -> None:
    sequence = (Token(9, "[CLS]", "", special=True), *tokens(5))
    assert n_within(sequence, sequence, 4) == 4
    assert n_within(sequence[1:], sequence, 4) == 3
    assert n_within(sequence, sequence, 6) is None
    assert n_within(sequence, sequence, None) is None
