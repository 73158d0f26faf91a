"""Decoding against a slow loop that reads everything again at every step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.generate import beam_search, generate, translate
from model.recurrent import Recurrent
from model.tape import Edit, Tape
from model.transformer import GPT, Config, EncoderDecoder

SOURCE = torch.tensor([[3, 1, 4, 1, 5]])
BEGIN, NEVER = 1, -1


def slow_generate(model: GPT, ids: list[int], n: int) -> list[int]:
    for _ in range(n):
        ids = [*ids, int(model(torch.tensor([ids]))[0, -1].argmax())]
    return ids


def slow_translate(
    model: EncoderDecoder | Recurrent, source: Tensor, end: int, n: int
) -> list[int]:
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


def slow_beam(
    model: EncoderDecoder | Recurrent, source: Tensor, n_beam: int, end: int, n: int
) -> tuple[float, list[int]]:
    """Every hypothesis read again from its start, and every continuation of it weighed."""
    running, ended = [(0.0, [BEGIN])], []
    for length in range(1, n + 1):
        longer = []
        for total, ids in running:
            log_p = model(source, torch.tensor([ids]))[0, -1].log_softmax(-1).tolist()
            longer += [(total + p, [*ids, i]) for i, p in enumerate(log_p)]
        longer.sort(key=lambda row: -row[0])
        ended += [(p / length, ids[1:-1]) for p, ids in longer[:n_beam] if ids[-1] == end]
        ended = sorted(ended, key=lambda row: -row[0])[:n_beam]
        running = [row for row in longer if row[1][-1] != end][:n_beam]
        if len(ended) == n_beam and ended[-1][0] >= running[0][0] / length:
            break
    return ended[0] if ended else (running[0][0] / length, running[0][1][1:])


@pytest.fixture
def recurrent() -> Recurrent:
    torch.manual_seed(3)
    model = Recurrent(Config(50, 16, 1, 1, 8, 12)).eval()
    model.embedding.weight.data *= 4
    return model


@pytest.fixture(params=["encoder_decoder", "recurrent"])
def translator(request: pytest.FixtureRequest) -> EncoderDecoder | Recurrent:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("n_beam", [1, 2, 5])
@pytest.mark.parametrize("end", [2, 7, 30, 41, NEVER])
def test_a_beam_is_as_the_slow_one(
    translator: EncoderDecoder | Recurrent, n_beam: int, end: int
) -> None:
    score, ids = slow_beam(translator, SOURCE, n_beam, end, 7)
    [found] = beam_search(translator, SOURCE, n_beam=n_beam, begin=BEGIN, end=end, max_tokens=8)
    assert found[1] == ids
    assert found[0] == pytest.approx(score, abs=1e-4)


def test_a_beam_of_a_batch_is_a_beam_of_each(translator: EncoderDecoder | Recurrent) -> None:
    batch = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]])
    options = {"n_beam": 3, "begin": BEGIN, "end": 7, "max_tokens": 8}
    both = beam_search(translator, batch, padding=batch != 0, **options)
    alone = [beam_search(translator, row[row != 0][None], **options)[0] for row in batch]
    assert [ids for _, ids in both] == [ids for _, ids in alone]


def test_the_recurrent_model_translates_greedily(recurrent: Recurrent) -> None:
    [found] = translate(recurrent, SOURCE, begin=BEGIN, end=NEVER, max_tokens=7)
    assert found == slow_translate(recurrent, SOURCE, NEVER, 6)
