"""/tokenize: tokens with their spans."""

from __future__ import annotations

BANK = "He sat on the river bank."


def test_tokens_carry_their_spans(get):
    answer = get("/tokenize", model="bert", text=BANK)
    words = [token for token in answer["tokens"] if not token["special"]]
    assert [token["text"] for token in words] == ["He", "sat", "on", "the", "river", "bank", "."]
    assert all(BANK[token["start"] : token["end"]] == token["text"] for token in words)
    assert [token["word"] for token in words] == [0, 1, 2, 3, 4, 5, 6]
