"""Decoding against a slow loop that reads everything again at every step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.generate import generate, translate
from model.tape import Edit, Tape
from model.transformer import GPT, EncoderDecoder

SOURCE = torch.tensor([[3, 1, 4, 1, 5]])
BEGIN, NEVER = 1, -1


def slow_generate(model: GPT, ids: list[int], n: int) -> list[int]:
    for _ in range(n):
        ids = [*ids, int(model(torch.tensor([ids]))[0, -1].argmax())]
    return ids


def slow_translate(model: EncoderDecoder, source: Tensor, end: int, n: int) -> list[int]:
    target = [BEGIN]
    while len(target) <= n and target[-1] != end:
        target.append(int(model(source, torch.tensor([target]))[0, -1].argmax()))
    return [i for i in target[1:] if i != end]


@pytest.mark.parametrize("prompt", [[3], [3, 1, 4, 1, 5]])
def test_generate_is_greedy(gpt: GPT, prompt: list[int]) -> None:
    found = generate(gpt, torch.tensor([prompt]), max_new_tokens=6)
    assert found.tolist() == [slow_generate(gpt, prompt, 6)]


def test_generate_stops_where_the_model_ends(gpt: GPT) -> None:
    assert generate(gpt, torch.zeros(1, 12, dtype=torch.long), max_new_tokens=50).size(1) == 16
    assert generate(gpt, torch.zeros(1, 16, dtype=torch.long), max_new_tokens=50).size(1) == 16


def test_translate_is_greedy(encoder_decoder: EncoderDecoder) -> None:
    expected = slow_translate(encoder_decoder, SOURCE, NEVER, 6)
    assert translate(encoder_decoder, SOURCE, begin=BEGIN, end=NEVER, max_tokens=7) == [expected]


def test_translate_stops_at_the_end_of_the_sentence(encoder_decoder: EncoderDecoder) -> None:
    whole = slow_translate(encoder_decoder, SOURCE, NEVER, 15)
    end = whole[3]
    found = translate(encoder_decoder, SOURCE, begin=BEGIN, end=end)
    assert found == [whole[: whole.index(end)]]


def test_translate_stops_where_the_model_ends(encoder_decoder: EncoderDecoder) -> None:
    [found] = translate(encoder_decoder, SOURCE, begin=BEGIN, end=NEVER)
    assert found == slow_translate(encoder_decoder, SOURCE, NEVER, 15)


def test_sentences_of_one_batch_do_not_feel_each_other(encoder_decoder: EncoderDecoder) -> None:
    batch = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [7, 8, 0, 0, 0]])
    padding = batch != 0
    end = slow_translate(encoder_decoder, batch[:1], NEVER, 4)[3]
    found = translate(encoder_decoder, batch, begin=BEGIN, end=end, padding=padding, max_tokens=7)
    assert found == [
        slow_translate(encoder_decoder, batch[:1], end, 6),
        slow_translate(encoder_decoder, batch[1:2, :3], end, 6),
        slow_translate(encoder_decoder, batch[2:, :2], end, 6),
    ]


def test_an_edit_is_felt_at_every_step(encoder_decoder: EncoderDecoder) -> None:
    blind = Tape(layers=(), edits=[Edit("block", kind="cross")])
    other = torch.tensor([[7, 8]])
    options = {"begin": BEGIN, "end": NEVER, "max_tokens": 7, "tape": blind}
    assert translate(encoder_decoder, SOURCE, **options) == translate(
        encoder_decoder, other, **options
    )
