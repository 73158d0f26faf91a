"""Models at work, labelled: against the forward pass, and against each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import blanks, translation
from attention_atlas.model.analysis import decoding as work
from attention_atlas.model.analysis.decoding import LabelledToken
from attention_atlas.model.analysis.translation import BeamUpdate, Source
from attention_atlas.model.generate import Beam, Sampling, returned
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit
from attention_atlas.model.zoo import Loaded

pytestmark = pytest.mark.weights
CPU = torch.device("cpu")
TEXT = "El banco está cerrado."


@pytest.fixture(scope="module", params=["translator", "recurrent"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return zoo.load(request.param, CPU)


@pytest.fixture(scope="module")
def gpt() -> Loaded:
    return zoo.load("gpt", CPU)


@pytest.fixture(scope="module")
def bert() -> Loaded:
    return zoo.load("bert", CPU)


def translated(
    loaded: Loaded, text: str = TEXT, **options: Any
) -> tuple[translation.Translation, list]:
    seen: list[Any] = []
    spec = Spec(text, edits=options.pop("edits", ()))
    return returned(translation.translate(loaded, spec, **options), seen.append), seen


def test_greedy_is_what_a_run_decodes(loaded: Loaded) -> None:
    result, seen = translated(loaded)
    plain = run(loaded, Spec(TEXT))
    assert result.hypotheses[0].text == plain.target
    assert result.sequences == plain.sequences
    total = sum(step.log_probability for step in result.steps)
    assert total == pytest.approx(plain.predictions["log_probability"], abs=1e-4)
    assert isinstance(seen[0], Source) and seen[1:] == result.steps
    assert [step.text for step in result.steps][-1] == plain.target


def test_a_steps_row_is_the_runs_attention(loaded: Loaded) -> None:
    """The query before a token chose it: row n is of the step that has token n as output."""
    result, _ = translated(loaded)
    cross = run(loaded, Spec(TEXT)).records["cross"].attn
    for n, step in enumerate(result.steps):
        torch.testing.assert_close(step.attn, cross[:, :, n], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_beam", [2, 4])
def test_a_beams_tree_holds_its_hypotheses(loaded: Loaded, n_beam: int) -> None:
    result, seen = translated(loaded, beam=Beam(n_beam, 0.8))
    grown = [step for step in seen if isinstance(step, BeamUpdate)]
    assert [node for step in grown for node in step.nodes] == result.tree
    nodes = {node.id: node for node in result.tree}
    for ended in result.hypotheses:
        leaf = next(
            node
            for node in result.tree
            if node.total == pytest.approx(ended.log_probability, abs=1e-4)
        )
        ids, total = [], 0.0
        position: int | None = leaf.id
        while position is not None:
            ids.append(nodes[position].token.id)
            total += nodes[position].log_probability
            position = nodes[position].parent
        assert ids[::-1] == ended.ids
        assert total == pytest.approx(ended.log_probability, abs=1e-4)
        assert ended.score == pytest.approx(total / len(ids) ** 0.8, abs=1e-4)
    scores = [ended.score for ended in result.hypotheses]
    assert scores == sorted(scores, reverse=True)
    best = sum(step.log_probability for step in result.steps)
    assert best == pytest.approx(result.hypotheses[0].log_probability, abs=1e-3)


def test_forced_probabilities_multiply_to_the_sequences(loaded: Loaded) -> None:
    reference = "The bank is closed today."
    result, _ = translated(loaded, reference=reference)
    total = sum(step.log_probability for step in result.reference)
    given = run(loaded, Spec(TEXT, target=reference)).predictions["log_probability"]
    assert total == pytest.approx(given, abs=1e-4)
    assert all(step.forced for step in result.reference)
    ranks = [[c["id"] for c in step.candidates[:1]] == [step.token.id] for step in result.reference]
    assert ranks == [step.rank == 0 for step in result.reference]


def test_an_edit_is_felt_while_translating(loaded: Loaded) -> None:
    """Who may not look at the source says the same of every source."""
    blind = (Edit("block", kind="cross"),)
    texts = [
        translated(loaded, text, edits=blind)[0].hypotheses[0].text for text in (TEXT, "Hola.")
    ]
    if loaded.name == "translator":  # the recurrent one begins with the encoder's last state
        assert texts[0] == texts[1]
    assert texts[0] != translated(loaded)[0].hypotheses[0].text


def test_the_limit_cuts_a_translation_off(loaded: Loaded) -> None:
    for n_beam in (1, 3):
        result, _ = translated(loaded, max_new_tokens=2, beam=Beam(n_beam))
        assert len(result.tokens) == len(result.steps) == 2 and not result.finished
        assert len(result.sequences["target"]) == 3


def test_generating_is_the_texts_own_attention(gpt: Loaded) -> None:
    result = returned(work.generate(gpt, "The king", sampling=Sampling(), max_new_tokens=6, top=3))
    whole = run(gpt, Spec("The king" + result.text))
    attn, T = whole.records["decoder"].attn, len(result.prompt)
    assert whole.sequences["source"][T:] != () and len(result.steps) == 6
    for n, step in enumerate(result.steps):
        row = attn[:, :, T + n - 1, : T + n]
        torch.testing.assert_close(step.attn, row, atol=1e-4, rtol=1e-3)
        assert step.rank == 0 and step.probability == 1.0
        assert step.n_kept == {"temperature": 1, "top_k": 1, "top_p": 1}


def test_candidates_say_what_each_filter_leaves(gpt: Loaded) -> None:
    sampling = Sampling(0.8, top_k=5, top_p=0.9, seed=4)
    steps = work.generate(gpt, "The king", sampling=sampling, max_new_tokens=4, top=8)
    for step in returned(steps).steps:
        rows = step.candidates
        assert [row["top_k"] > 0 for row in rows] == [True] * 5 + [False] * 3
        kept = [row["top_p"] for row in rows if row["top_p"]]
        assert sum(kept) == pytest.approx(1, abs=1e-5) and len(kept) == step.n_kept["top_p"] <= 5
        expected = next(row for row in rows if row["id"] == step.token.id)
        assert step.probability == expected["top_p"] > 0
        assert step.log_probability == pytest.approx(
            torch.tensor(expected["probability"]).log().item(), abs=1e-4
        )


def test_a_texts_surprise_is_its_likelihood(gpt: Loaded) -> None:
    result = work.surprise(gpt, "The king of France")
    shorter = work.surprise(gpt, "The king of")
    assert result.log_probabilities[:-1] == pytest.approx(shorter.log_probabilities, abs=1e-4)
    last = result.tokens[-1].id
    every = work.surprise(gpt, "The king of", top=gpt.tokenizer.vocab_size).following.candidates
    [expected] = [c for c in every if c["id"] == last]
    log_p = torch.tensor(expected["probability"]).log().item()
    assert result.log_probabilities[-1] == pytest.approx(log_p, abs=1e-4)
    assert result.entropies[-1] == pytest.approx(shorter.following.entropy, abs=1e-4)
    assert len(result.tokens) == len(result.ranks) + 1


def test_a_blank_is_filled_as_a_run_says(bert: Loaded) -> None:
    text = "He sat on the [MASK] bank and [MASK] the water."
    result = blanks.fill(bert, text, None)
    masks = run(bert, Spec(text)).predictions["masks"]
    assert list(result.masks) == [mask["position"] for mask in masks]
    for mask in masks:
        expected = result.masks[mask["position"]].candidates
        assert [c["id"] for c in expected] == [c["id"] for c in mask["candidates"]]
        assert expected[0]["probability"] == pytest.approx(
            mask["candidates"][0]["probability"], 1e-4
        )


def test_noise_is_the_trainings(bert: Loaded) -> None:
    text = "He sat on the river bank and watched the water. " * 20
    tokens, result = blanks.corrupt(bert, text, None, seed=1)
    ordinary = sum(not token.special for token in tokens)
    assert 0.08 < len(result) / ordinary < 0.22
    fates = [place.fate for place in result]
    assert set(fates) <= {"masked", "replaced", "kept"} and fates.count("masked") > len(fates) / 2
    for place in result:
        assert (place.shown == "[MASK]") == (place.fate == "masked")
        if place.fate == "kept":
            expected = bert.tokenizer.readable(tokens[place.position].id)
            assert place.shown == expected
    again = blanks.corrupt(bert, text, None, seed=1)[1]
    assert again == result != blanks.corrupt(bert, text, None, seed=2)[1]


def test_the_next_sentence_is_as_a_run_says(bert: Loaded) -> None:
    pair = ("It rained.", "They went home.")
    expected = run(bert, Spec(*pair)).predictions["is_next"]
    assert blanks.next_sentence(bert, *pair) == pytest.approx(expected, abs=1e-5)


def test_what_a_model_does_not_do_is_said(bert: Loaded, gpt: Loaded) -> None:
    with pytest.raises(BadInput, match="bert is not for translate; its tasks: fill-mask"):
        returned(translation.translate(bert, Spec("hi")))
    with pytest.raises(BadInput, match="gpt is not for fill-mask; its tasks: generate, next-token"):
        blanks.fill(gpt, "hi", None)
    with pytest.raises(BadInput, match="at most 509 fit"):
        returned(work.generate(gpt, "The king", sampling=Sampling(), max_new_tokens=600))


def test_who_stops_asking_stops_the_work(gpt: Loaded) -> None:
    steps = work.generate(gpt, "The king", sampling=Sampling(), max_new_tokens=500)
    seen = [next(steps) for _ in range(4)]
    steps.close()
    assert [isinstance(step, LabelledToken) for step in seen] == [False, True, True, True]
    with pytest.raises(StopIteration):
        next(steps)


@pytest.mark.parametrize("prompt", ["The capital of France is", "She said:", "On the\n", "🦆 and"])
def test_a_continuation_goes_on_with_the_prompt(gpt: Loaded, prompt: str) -> None:
    result = returned(work.generate(gpt, prompt, sampling=Sampling(), max_new_tokens=6))
    ids = [token.id for token in (*result.prompt, *result.tokens)]
    assert prompt + result.text == gpt.tokenizer.decode(ids)
    assert result.steps[-1].text == result.text
    for token in result.tokens:
        assert token.text == result.text[token.start : token.end]


def test_a_beam_in_other_pieces_keeps_its_tokens(loaded: Loaded) -> None:
    """A rare name is spelled in pieces that its text would not be cut into."""
    text = "Xi Jinping y Björk Guðmundsdóttir"
    result, _ = translated(loaded, text, beam=Beam(2))
    ids = tuple(result.hypotheses[0].ids)
    again = run(loaded, Spec(text, target_ids=ids))
    assert again.sequences == result.sequences
    cross = again.records["cross"].attn
    for n, step in enumerate(result.steps[: cross.size(2)]):
        torch.testing.assert_close(step.attn, cross[:, :, n], atol=1e-5, rtol=1e-4)
        assert not step.forced
    assert not again.target_decoded


def test_edits_that_do_not_fit_are_refused_everywhere(
    bert: Loaded, gpt: Loaded, loaded: Loaded
) -> None:
    row = (Edit("set", layer=0, head=0, query=0, row=(1.0,)),)
    with pytest.raises(BadInput, match="row has 1 numbers"):
        work.surprise(gpt, "hi there", row)
    with pytest.raises(BadInput, match="row has 1 numbers"):
        blanks.fill(bert, "the [MASK] bank", edits=row)
    far = (Edit("block", query=999, key=0),)
    with pytest.raises(BadInput, match="query 999 does not exist"):
        work.surprise(gpt, "hi there", far)
    with pytest.raises(BadInput, match="query 999 does not exist"):
        translated(loaded, edits=far)
    with pytest.raises(BadInput, match="query 999 does not exist"):
        returned(work.generate(gpt, "hi", sampling=Sampling(), max_new_tokens=9, edits=far))


def test_a_hidden_word_is_told_from_a_mask_that_was_typed(bert: Loaded) -> None:
    text, pair = "He sat on the [MASK] bank.", "It was cold."
    result = blanks.fill(bert, text, pair, words=([5], [2]))
    assert result.texts == ("He sat on the [MASK] [MASK].", "It was [MASK].")
    expected = [(token.text, word) for token, word in zip(result.tokens, result.words, strict=True)]
    assert expected == [
        ("[CLS]", None), ("He", 0), ("sat", 1), ("on", 2), ("the", 3), ("[MASK]", None),
        ("[MASK]", 5), (".", 6), ("[SEP]", None), ("It", 0), ("was", 1), ("[MASK]", 2),
        (".", 3), ("[SEP]", None),
    ]  # fmt: skip
    assert len(result.masks) == 3


def test_a_text_of_special_tokens_has_nothing_to_corrupt(bert: Loaded) -> None:
    assert blanks.corrupt(bert, "[MASK]", None, 0)[1] == []
    with pytest.raises(BadInput, match="the first text has no word") as refused:
        blanks.next_sentence(bert, "[MASK]", "He sat.")
    assert refused.value.field == "text"
