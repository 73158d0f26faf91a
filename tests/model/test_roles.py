"""Roles of heads: by hand-made attention, and from cards."""

from __future__ import annotations

import torch
from attention_atlas.model.analysis import roles
from attention_atlas.model.record import AttentionRecord, Token
from attention_atlas.model.zoo import WEIGHTS, Card

T = 7


def record(*heads: torch.Tensor) -> AttentionRecord:
    """One layer of heads over T tokens, the first and last special."""
    tokens = tuple(Token(i, f"t{i}", f"t{i}", special=i in (0, T - 1)) for i in range(T))
    attn = torch.stack(heads)[None]
    mask = torch.ones(1, 1, T, T, dtype=torch.bool)
    return AttentionRecord("encoder", attn, mask, tokens, tokens, (3,), tuple(range(len(heads))))


def test_a_head_on_the_previous_token_is_named_with_its_score() -> None:
    previous = torch.eye(T).roll(1, 0)  # row q looks at q - 1, the first at the last
    uniform = torch.full((T, T), 1 / T)
    result = roles.roles_of_text(record(previous, uniform))
    assert [(role.layer, role.head, role.role, role.score, role.detail) for role in result] == [
        (3, 0, "previous_token", 1.0, ""),
        (3, 0, "positional", 1.0, "-1"),
    ]


def test_a_fixed_offset_needs_nine_queries_of_ten() -> None:
    attn = torch.eye(10)[None, None].repeat(1, 2, 1, 1)
    attn[0, 0, 4] = torch.eye(10)[9]
    attn[0, 1, 4] = attn[0, 1, 5] = torch.eye(10)[9]
    share, offset = roles.fixed_offset(attn)
    torch.testing.assert_close(share, torch.tensor([[0.9, 0.8]]))
    assert offset.tolist() == [[0, 0]]


def test_a_short_text_makes_no_head_positional() -> None:
    tokens = tuple(Token(i, "a", "a") for i in range(3))
    eye = torch.eye(3).expand(1, 1, 3, 3)
    short = AttentionRecord("decoder", eye, eye.bool()[:, :1], tokens, tokens, (0,), (0,))
    assert {role.role for role in roles.roles_of_text(short)} == {"self"}


def test_a_card_names_heads_with_score_interval_and_n() -> None:
    measures = {
        "decoder_induction": {
            "value": 0.9, "low": 0.8, "high": 0.95, "n": 16, "of": "random texts", "detail": "L1 H2"
        },
        "alignment_error_rate": {
            "value": 0.25, "low": 0.2, "high": 0.3, "n": 32, "of": "pairs", "detail": "L0 H7"
        },
        "relation_obj": {
            "value": 0.7, "low": 0.65, "high": 0.75, "n": 500, "of": "words", "detail": "L2 H3"
        },
        "blimp": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 9, "of": "pairs", "detail": ""},
    }  # fmt: skip
    result = roles.roles_of_card([], measures, "encoder-decoder")
    assert [(r.kind, r.layer, r.head, r.role, r.detail) for r in result] == [
        ("decoder", 1, 2, "induction", ""),
        ("cross", 0, 7, "alignment", "as input"),
        ("encoder", 2, 3, "relation", "obj"),
    ]
    assert (result[1].score, result[1].low, result[1].high, result[1].n) == (0.75, 0.7, 0.8, 32)


def test_every_bundled_transformer_has_heads_with_a_name() -> None:
    for name in ("bert", "gpt"):
        card = Card.read(WEIGHTS / name)
        names = {role.role for role in roles.roles_of_card(card.heads, card.metrics, "")}
        assert "previous_token" in names
    assert "induction" in names  # of gpt


def test_every_role_has_a_definition() -> None:
    assert set(roles.THRESHOLDS) | {"positional", "alignment", "relation"} == set(roles.DEFINITIONS)


def rate(value: float, detail: str) -> dict[str, object]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 32, "detail": detail}


def test_each_reading_has_its_best_head_as_output_first() -> None:
    measures = {
        "alignment_error_rate": rate(0.25, "L0 H7"),
        "alignment_error_rate_as_output": rate(0.4, "L3 H4"),
        "cross_alignment_error_rate": rate(0.25, "L0 H7"),
    }
    result = roles.aligners(measures, "encoder-decoder")
    assert [(a.reading, a.layer, a.head, a.score) for a in result] == [
        ("output", 3, 4, 0.6), ("input", 0, 7, 0.75)
    ]  # fmt: skip
    assert (result[0].low, result[0].high, result[0].n) == (0.5, 0.7, 32)
    mean = {"alignment_error_rate": rate(0.5, "L1 mean of heads")}
    [only] = roles.aligners(mean, "recurrent")
    assert (only.reading, only.layer, only.head) == ("output", 1, None)
    assert roles.aligners({}, "encoder-decoder") == []
