"""Interventions in a run: what they do alone and together, and which tokens correspond."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import interventions, lab, lab_metrics
from attention_atlas.model.analysis.interventions import Bench, Intervention, aligned, bench_of
from attention_atlas.model.analysis.lab import ReadText
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Kind
from attention_atlas.model.zoo import Loaded

from tests.kinds import EVERY_KIND

CPU = torch.device("cpu")
RIVER = "He sat on the river [MASK] and watched the water."
SPANISH = "Me senté en el banco del parque."
SPECS: dict[str, tuple[Spec, Spec]] = {
    "bert": (Spec(RIVER), Spec(RIVER.replace("river", "big money"))),
    "gpt": (Spec("The king of France was the old"), Spec("The king of Spain was the old")),
    "translator": (
        Spec(SPANISH, target="I sat on the"),
        Spec(SPANISH.replace("parque", "dinero"), target="I sat on the"),
    ),
    "recurrent": (
        Spec("El banco está cerrado.", target="The bank is"),
        Spec("El banco está abierto.", target="The bank is"),
    ),
}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def bench() -> Callable[[str], Bench]:
    kept: dict[str, Bench] = {}

    def made(name: str) -> Bench:
        if name not in kept:
            loaded = zoo.load(name, CPU)
            clean, corrupted = (lab.text_of(loaded, spec) for spec in SPECS[name])
            kept[name] = bench_of(clean, corrupted, [corrupted])
        return kept[name]

    return made


def after(bench: Bench, *stack: Intervention, text: ReadText | None = None) -> float:
    text = text or bench.clean
    edits = [edit for it in stack for edit in interventions.edits_of(bench, it, text)]
    return interventions.outcome(text, lab.metric_of(bench.clean), edits).value


def ids(loaded: Loaded, text: str) -> Any:
    return loaded.tokenizer.encode(text)


@pytest.mark.parametrize(
    ("clean", "corrupted", "pairs"),
    [
        ("the old man", "the new man", [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]),
        ("the man", "the old man", [(0, 0), (1, 1), (2, 3), (3, 4)]),
        ("the big old man sat", "the new man sat", [(0, 0), (1, 1), (4, 3), (5, 4), (6, 5)]),
        ("a man sat in it", "the man sat", [(0, 0), (1, 1), (2, 2), (3, 3), (6, 4)]),
    ],
)
def test_tokens_are_paired_by_what_both_texts_have(
    bench: Any, clean: str, corrupted: str, pairs: list[tuple[int, int]]
) -> None:
    loaded = bench("bert").clean.loaded
    assert aligned(ids(loaded, clean), ids(loaded, corrupted)) == pairs


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
@pytest.mark.parametrize("how", ["zero", "mean", "mean_positions", "resample"])
def test_a_head_alone_is_a_cell_of_the_sweep(
    bench: Any, name: str, kind: Kind, how: lab.How
) -> None:
    it: Bench = bench(name)
    if name == "bert" and how == "resample":
        it = bench_of(it.clean, lab.text_of(it.clean.loaded, Spec(RIVER.replace("river", "money"))))
    means = lab.Means()
    means.add(bench(name).corrupted.z[kind])
    given = lab.replacements(how, kind, it.clean, it.corrupted, means)
    metric, (n_layer, n_head) = lab.metric_of(it.clean), it.clean.loaded.shape(kind)
    rows = list(lab.sweep(it.clean, metric, kind, given, "heads"))
    alone = after(it, Intervention(how, kind, n_layer - 1, n_head - 1))  # type: ignore[arg-type]
    assert alone == pytest.approx(rows[-1][-1].item(), abs=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_a_run_patched_from_itself_is_itself(bench: Any, name: str) -> None:
    clean = bench(name).clean
    same = bench_of(clean, clean)
    start = lab.value_of(clean, lab.metric_of(clean))
    assert after(same, Intervention("resample")) == pytest.approx(start, abs=1e-4)
    assert after(same, Intervention("denoise")) == pytest.approx(start, abs=1e-4)


def test_one_position_of_all_heads_is_a_cell_of_the_sweep_over_positions(bench: Any) -> None:
    it = bench("gpt")
    metric = lab.metric_of(it.clean)
    given = lab.replacements("denoise", "decoder", it.clean, it.corrupted)
    rows = list(lab.sweep(it.corrupted, metric, "decoder", given, "positions"))
    patch = Intervention("denoise", layer=1, query=4)
    assert after(it, patch, text=it.corrupted) == pytest.approx(rows[1][4].item(), abs=1e-4)


def test_tokens_without_a_partner_keep_their_own_output(bench: Any) -> None:
    it = bench("bert")
    [edit] = interventions.edits_of(it, Intervention("resample", layer=2, head=5), it.clean)
    assert edit.where is not None and edit.z is not None
    paired = {i for i, _ in it.pairs["source"]}
    n = len(it.clean.sequences["source"])
    assert paired == set(range(n)) - {5}, "river has no partner in big money"
    assert edit.where[0, 5, :, 0].tolist() == [float(i in paired) for i in range(n)]
    assert edit.where[0, [0, 4, 6]].sum() == 0, "no other head"
    last = it.corrupted.z["encoder"][2][0, 5, -1]
    torch.testing.assert_close(edit.z[0, 5, n - 1], last, rtol=0, atol=0)


def test_block_set_and_scale_are_the_edits_of_a_run(bench: Any) -> None:
    it = bench("gpt")
    uniform = (1.0,) * len(it.clean.sequences["source"])
    stack = [
        Intervention("block", layer=0, query=5, key=2),
        Intervention("set", layer=3, head=1, query=5, row=uniform),
        Intervention("scale", layer=4, by=0.5),
    ]
    edits = tuple(e for one in stack for e in interventions.edits_of(it, one, it.clean))
    metric = lab.metric_of(it.clean)
    candidates = run(it.clean.loaded, Spec(SPECS["gpt"][0].text, edits=edits)).predictions
    value = interventions.outcome(it.clean, metric, edits)
    best = candidates["next_token"][0]
    logits = it.clean.loaded.model.logits(value.x[0, -1])
    assert best["logit"] == pytest.approx(logits.max().item(), abs=1e-4)
    assert value.value == pytest.approx((logits[metric.a] - logits[metric.b]).item(), abs=1e-4)
    assert value.value != pytest.approx(lab.value_of(it.clean, metric), abs=1e-3)


@pytest.mark.parametrize(
    ("it", "code"),
    [
        (Intervention("zero", "cross"), "unknown-kind"),
        (Intervention("zero", layer=99), "out-of-range"),
        (Intervention("zero", head=12), "out-of-range"),
        (Intervention("zero", query=60), "token-out-of-range"),
        (Intervention("block", key=60), "token-out-of-range"),
        (Intervention("resample"), "needs-corrupted"),
        (Intervention("mean"), "needs-reference"),
    ],
)
def test_what_is_not_there_is_named(bench: Any, it: Intervention, code: str) -> None:
    clean = bench("bert").clean
    with pytest.raises(BadInput) as caught:
        interventions.check(bench_of(clean, None), it, clean)
    assert caught.value.field == "interventions"
    assert caught.value.message.code == code  # type: ignore[attr-defined]


def test_a_stack_acts_in_one_run() -> None:
    zero, noise, denoise = (Intervention(how) for how in ("zero", "noise", "denoise"))
    assert interventions.is_into_corrupted([zero, denoise])
    assert not interventions.is_into_corrupted([zero, noise])
    with pytest.raises(BadInput, match="one sort"):
        interventions.is_into_corrupted([noise, denoise])


@pytest.mark.parametrize(
    ("effects", "is_disagreement"),
    [
        ([-2.412, -0.0917, -0.0025], True),
        ([-1.1688, -1.0572, -1.9262], False),
        ([-0.5, 0.4], True),
        ([-0.009, 0.001], False),
        ([], False),
    ],
)
def test_ablations_disagree_in_sign_or_by_a_factor_of_three(
    effects: list[float], is_disagreement: bool
) -> None:
    assert interventions.disagree(effects) is is_disagreement


def test_a_probability_is_the_candidates(bench: Any) -> None:
    clean = bench("bert").clean
    [mask] = run(clean.loaded, Spec(RIVER)).predictions["masks"]
    best, second = mask["candidates"][:2]
    chosen = lab_metrics.probability_of(clean, None, None)
    assert (chosen.position, chosen.a) == (mask["position"], best["id"])
    assert lab.value_of(clean, chosen) == pytest.approx(best["probability"], abs=1e-5)
    other = lab_metrics.probability_of(clean, None, second["id"])
    assert lab.value_of(clean, other) == pytest.approx(second["probability"], abs=1e-5)


def test_a_loss_is_the_mean_over_tokens(bench: Any) -> None:
    """A translator's log-probability also counts the end."""
    for name in ("gpt", "translator"):
        clean = bench(name).clean
        tokens = clean.sequences["target" if name == "translator" else "source"]
        logp = clean.loaded.model.logits(clean.x[0]).log_softmax(-1)
        total = sum(logp[i, token.id].item() for i, token in enumerate(tokens[1:]))
        loss = lab.value_of(clean, lab_metrics.loss_of(clean))
        assert loss == pytest.approx(-total / (len(tokens) - 1), abs=1e-4)


def test_a_cosine_is_to_the_other_text_as_it_is(bench: Any) -> None:
    clean, beside = bench("bert").clean, bench("bert").corrupted
    metric = lab_metrics.cosine_of(clean, beside)
    edits = interventions.edits_of(bench("bert"), Intervention("zero", "encoder", 2, 3), clean)
    changed = interventions.outcome(clean, metric, edits)
    vectors = changed.x[0].mean(0), beside.x[0].mean(0)
    expected = torch.cosine_similarity(*vectors, dim=0).item()
    assert changed.value == pytest.approx(expected, abs=1e-6)
    assert changed.value != pytest.approx(lab.value_of(clean, metric), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("gpt", "cosine", "not-for-this-family"),
        ("bert", "cosine", "needs-beside"),
        ("bert", "loss", "not-for-this-family"),
    ],
)
def test_a_metric_that_a_family_lacks_is_refused(
    bench: Any, name: str, kind: lab_metrics.MetricKind, code: str
) -> None:
    with pytest.raises(BadInput) as caught:
        lab_metrics.metric_by_name(bench(name).clean, kind)
    assert caught.value.message.code == code  # type: ignore[attr-defined]
