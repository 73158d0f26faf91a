"""Decoding against a slow loop that reads everything again at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from attention_atlas.model.generate import (
    Beam,
    DecodedToken,
    Sampling,
    beam_search,
    beam_steps,
    filtered,
    generating,
    translate,
    translating,
)
from attention_atlas.model.languages import Frame
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.transformer import GPT, Config, EncoderDecoder
from scipy.stats import chisquare
from torch import Tensor
from transformers.generation import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

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


def continued(model: GPT, prompt: list[int], n: int, **options: Any) -> list[DecodedToken]:
    return list(generating(model, torch.tensor([prompt]), max_new_tokens=n, **options))


@pytest.mark.parametrize("prompt", [[3], [3, 1, 4, 1, 5]])
def test_generate_is_greedy(gpt: GPT, prompt: list[int]) -> None:
    ids = [step.id for step in continued(gpt, prompt, 6)]
    assert prompt + ids == slow_generate(gpt, prompt, 6)


def test_generate_stops_where_the_model_ends(gpt: GPT) -> None:
    assert len(continued(gpt, [0] * 12, 50)) == 4
    assert continued(gpt, [0] * 16, 50) == []


def test_generate_stops_at_the_end_of_the_text(gpt: GPT) -> None:
    whole = [step.id for step in continued(gpt, [3, 1], 9)]
    end = whole[4]
    ids = [step.id for step in continued(gpt, [3, 1], 9, ends=(end,))]
    assert ids == whole[: whole.index(end) + 1]


@pytest.mark.parametrize("layers", [None, ()], ids=["recorded", "not recorded"])
def test_a_kv_cache_changes_nothing(gpt: GPT, layers: tuple[int, ...] | None) -> None:
    """An edit of one query, which does nothing, makes every step read the text anew."""
    plain = [Edit("scale", by=1.0, query=0)]
    cached = continued(gpt, [3, 1, 4], 8, tape=Tape(layers=layers))
    anew = continued(gpt, [3, 1, 4], 8, tape=Tape(layers=layers, edits=plain))
    assert [step.id for step in cached] == [step.id for step in anew]
    for step, other in zip(cached, anew, strict=True):
        torch.testing.assert_close(step.logits, other.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(step.attn, other.attn, atol=1e-5, rtol=1e-5)


def test_a_steps_row_is_the_texts_attention(gpt: GPT) -> None:
    steps = continued(gpt, [3, 1, 4], 5)
    tape = Tape()
    gpt(torch.tensor([[3, 1, 4, *(step.id for step in steps)]]), tape)
    whole = torch.cat([layer.attn for layer in tape])  # (L, H, T, T)
    for n, step in enumerate(steps, 3):  # the token at n is chosen by the query before it
        torch.testing.assert_close(step.attn, whole[:, :, n - 1, :n], atol=1e-5, rtol=1e-5)


def test_forced_tokens_are_taken_and_the_draws_after_them_stay(gpt: GPT) -> None:
    warm = Sampling(temperature=1.5, seed=7)
    free = [step.id for step in continued(gpt, [3, 1], 6, sampling=warm)]
    same = continued(gpt, [3, 1], 6, sampling=warm, forced=free[:3])
    assert [step.id for step in same] == free
    other = [step.id for step in continued(gpt, [3, 1], 6, sampling=warm, forced=[9, 8])]
    assert other[:2] == [9, 8]
    draw = _seeded(7)
    for n, step in enumerate(continued(gpt, [3, 1], 6, sampling=warm, forced=[9, 8])):
        drawn = int(torch.multinomial(step.filtered["top_p"], 1, generator=draw))
        assert n < 2 or step.id == drawn, "a forced token takes its draw with it"


def test_a_seed_gives_the_same_text_again(gpt: GPT) -> None:
    texts = [
        [step.id for step in continued(gpt, [3], 8, sampling=Sampling(1.0, seed=seed))]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("sampling", [Sampling(0.7), Sampling(1, 5), Sampling(1.3, 9, 0.8)])
def test_draws_follow_the_filtered_distribution(gpt: GPT, sampling: Sampling) -> None:
    """Chi-square over 1 500 seeds, cells of few expected draws together."""
    n, blind = 1500, Tape(layers=())
    with torch.no_grad():
        steps = [
            continued(gpt, [3, 1, 4], 1, sampling=replace(sampling, seed=seed), tape=blind)[0]
            for seed in range(n)
        ]
    p = steps[0].filtered["top_p"].double().numpy()
    p /= p.sum()
    counts = np.bincount([step.id for step in steps], minlength=p.size).astype(float)
    assert counts[p == 0].sum() == 0
    large = p * n >= 5
    seen = [*counts[large], counts[~large].sum()]
    expected = [*(p[large] * n), p[~large].sum() * n]
    keep = [i for i, value in enumerate(expected) if value > 0]
    test = chisquare([seen[i] for i in keep], [expected[i] for i in keep])
    assert test.pvalue > 1e-3


@pytest.mark.parametrize("sampling", [Sampling(1e-40), Sampling(1, 0, 1e-300), Sampling(1e-40, 3)])
def test_the_smallest_filters_leave_the_most_probable(gpt: GPT, sampling: Sampling) -> None:
    [step] = continued(gpt, [3, 1, 4], 1, sampling=sampling)
    assert step.id == int(step.logits.argmax())
    assert step.filtered["top_p"].sum().item() == pytest.approx(1)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (7, 1.0), (0, 0.6), (12, 0.85), (1, 0.5)])
def test_filters_are_transformers(temperature: float, top_k: int, top_p: float) -> None:
    logits = 3 * torch.randn(1, 50, generator=_seeded(5))
    result = filtered(logits[0], Sampling(temperature, top_k, top_p))
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    expected = {"temperature": scores.softmax(-1)[0]}
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    expected["top_k"] = scores.softmax(-1)[0]
    scores = TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores
    expected["top_p"] = scores.softmax(-1)[0]
    torch.testing.assert_close(result, expected)


def test_translating_step_by_step_is_translating(translator: EncoderDecoder | Recurrent) -> None:
    whole = slow_translate(translator, SOURCE, NEVER, 15)
    for end in (NEVER, whole[4]):
        steps = list(translating(translator, SOURCE, Frame(BEGIN, None, end)))
        [expected] = translate(translator, SOURCE, Frame(BEGIN, None, end))
        assert [step.id for step in steps if step.id != end] == expected
    target = torch.tensor([[BEGIN, *(step.id for step in steps)]])
    tape = Tape(kinds=("cross",))
    logits = translator(SOURCE, target, tape)[0]
    rows = torch.cat([layer.attn for layer in tape])  # (L, H, Tq, Tk)
    for n, step in enumerate(steps):
        torch.testing.assert_close(step.logits, logits[n], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(step.attn, rows[:, :, n], atol=1e-5, rtol=1e-4)


def test_translate_is_greedy(encoder_decoder: EncoderDecoder) -> None:
    expected = slow_translate(encoder_decoder, SOURCE, NEVER, 6)
    assert translate(encoder_decoder, SOURCE, Frame(BEGIN, None, NEVER), max_tokens=7) == [expected]


def test_translate_stops_at_the_end_of_the_sentence(encoder_decoder: EncoderDecoder) -> None:
    whole = slow_translate(encoder_decoder, SOURCE, NEVER, 15)
    end = whole[3]
    result = translate(encoder_decoder, SOURCE, Frame(BEGIN, None, end))
    assert result == [whole[: whole.index(end)]]


def test_translate_stops_where_the_model_ends(encoder_decoder: EncoderDecoder) -> None:
    [result] = translate(encoder_decoder, SOURCE, Frame(BEGIN, None, NEVER))
    assert result == slow_translate(encoder_decoder, SOURCE, NEVER, 15)


def test_sentences_of_one_batch_do_not_feel_each_other(encoder_decoder: EncoderDecoder) -> None:
    batch = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [7, 8, 0, 0, 0]])
    padding = batch != 0
    end = slow_translate(encoder_decoder, batch[:1], NEVER, 4)[3]
    result = translate(
        encoder_decoder, batch, Frame(BEGIN, None, end), padding=padding, max_tokens=7
    )
    assert result == [
        slow_translate(encoder_decoder, batch[:1], end, 6),
        slow_translate(encoder_decoder, batch[1:2, :3], end, 6),
        slow_translate(encoder_decoder, batch[2:, :2], end, 6),
    ]


def test_an_edit_is_felt_at_every_step(encoder_decoder: EncoderDecoder) -> None:
    other = torch.tensor([[7, 8]])
    options = {"max_tokens": 7, "edits": [Edit("block", kind="cross")]}
    frame = Frame(BEGIN, None, NEVER)
    assert translate(encoder_decoder, SOURCE, frame, **options) == translate(
        encoder_decoder, other, frame, **options
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
        for p, ids in longer[:n_beam]:
            if ids[-1] == end or length == n:  # at the limit, those that go on are complete too
                ended.append((p / length, ids[1:] if ids[-1] != end else ids[1:-1]))
        ended = sorted(ended, key=lambda row: -row[0])[:n_beam]
        running = [row for row in longer if row[1][-1] != end][:n_beam]
        if len(ended) == n_beam and ended[-1][0] >= running[0][0] / length:
            break
    return ended[0]


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
    [result] = beam_search(translator, SOURCE, Frame(BEGIN, None, end), Beam(n_beam, max_tokens=8))
    assert result[1] == ids
    assert result[0] == pytest.approx(score, abs=1e-4)


def test_a_beam_of_a_batch_is_a_beam_of_each(translator: EncoderDecoder | Recurrent) -> None:
    batch = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]])
    options = Frame(BEGIN, None, 7), Beam(3, max_tokens=8)
    both = beam_search(translator, batch, *options, padding=batch != 0)
    alone = [beam_search(translator, row[row != 0][None], *options)[0] for row in batch]
    assert [ids for _, ids in both] == [ids for _, ids in alone]


def test_the_recurrent_model_translates_greedily(recurrent: Recurrent) -> None:
    [result] = translate(recurrent, SOURCE, Frame(BEGIN, None, NEVER), max_tokens=7)
    assert result == slow_translate(recurrent, SOURCE, NEVER, 6)


@pytest.mark.parametrize("n_beam", [2, 4])
def test_a_beams_steps_lead_to_its_best(
    translator: EncoderDecoder | Recurrent, n_beam: int
) -> None:
    """Following the parents of what was kept gives each hypothesis its tokens."""
    options = Frame(BEGIN, None, 7), Beam(n_beam, max_tokens=8)
    steps, result = [], None
    walk = beam_steps(translator, SOURCE, *options, tape=Tape(kinds=("cross",)))
    while result is None:
        try:
            steps.append(next(walk))
        except StopIteration as stop:
            [result] = stop.value
    rows: list[list[int]] = [[] for _ in range(n_beam)]
    complete = []
    for step in steps:
        parent, token = step.parent[0].tolist(), step.token[0].tolist()
        complete += [rows[parent[i]] for i in range(n_beam) if token[i] == 7]
        rows = [[*rows[parent[i]], token[i]] for i in step.kept[0].tolist()]
        torch.testing.assert_close(step.attn.sum(-1), torch.ones(step.attn.shape[:-1]))
    assert result[0] == beam_search(translator, SOURCE, *options)[0]
    assert all(ids in [*complete, *rows] for _, ids in result)
    assert [score for score, _ in result] == sorted((s for s, _ in result), reverse=True)
