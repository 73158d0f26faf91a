"""Two real models, from PyPI: through the lens they are what transformers makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf
from attention_atlas.model.analysis import interventions, lab, lab_metrics
from attention_atlas.model.analysis.anatomy import anatomy
from attention_atlas.model.analysis.attributions import Row, attribution, row_of
from attention_atlas.model.analysis.interventions import Intervention, bench_of
from attention_atlas.model.analysis.logit_lens import logit_lens
from attention_atlas.model.analysis.writes import head_writes, writes
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.library import packaged
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit
from attention_atlas.model.zoo import Loaded
from torch import Tensor

CPU = torch.device("cpu")
RIVER = "He sat on the river bank and watched the water."
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(len(packaged()) < 2, reason="make pretrained installs the models"),
]


@pytest.fixture(scope="module")
def home(cache_home: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        yield folder.cache()


@pytest.fixture(scope="module")
def minilm(home: Path) -> Loaded:
    return open_model(packaged()["all-MiniLM-L6-v2"], CPU)


@pytest.fixture(scope="module")
def smollm2(home: Path) -> Loaded:
    return open_model(packaged()["SmolLM2-135M-Instruct"], CPU)


def own(model: torch.nn.Module, loaded: Loaded, text: str) -> Tensor:
    """What eager attention gives: (L, H, T, T)."""
    ids = torch.tensor([[token.id for token in loaded.tokenizer.encode(text)]])
    with torch.inference_mode():
        return torch.cat(model(input_ids=ids, output_attentions=True).attentions)


def test_minilm_is_itself(minilm: Loaded) -> None:
    path = packaged()["all-MiniLM-L6-v2"]
    model = hf.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    attn = run(minilm, Spec(RIVER)).records["encoder"].attn
    torch.testing.assert_close(attn, own(model, minilm, RIVER), atol=1e-5, rtol=0)
    assert (minilm.config.n_layer, minilm.config.n_head, minilm.tasks) == (6, 12, ())
    assert minilm.n_parameters == pytest.approx(22.7e6, rel=0.01)


def test_smollm2_is_itself(smollm2: Loaded, home: Path) -> None:
    [made] = home.glob("SmolLM2*")
    model = hf.AutoModelForCausalLM.from_pretrained(
        made, attn_implementation="eager", dtype=torch.float32
    )
    attn = run(smollm2, Spec(RIVER)).records["decoder"].attn
    torch.testing.assert_close(attn, own(model.eval(), smollm2, RIVER), atol=1e-5, rtol=0)
    config = smollm2.config
    assert (config.n_layer, config.n_head, smollm2.n_kv_head) == (30, 9, 3)


def test_smollm2_knows_a_capital(smollm2: Loaded) -> None:
    result = run(smollm2, Spec("The capital of France is")).predictions["next_token"]
    assert result[0]["text"] == " Paris"


def test_a_gguf_file_is_unpacked_once(smollm2: Loaded, home: Path) -> None:
    [made] = home.glob("SmolLM2*")
    assert sorted(path.name for path in home.iterdir()) == [made.name], "nothing half made is left"
    steps = []
    open_model(packaged()["SmolLM2-135M-Instruct"], CPU, progress=steps.append)
    assert "converting" not in [step.stage for step in steps]


def test_q_and_k_are_after_rotation(smollm2: Loaded) -> None:
    """The same word in two places: its keys differ by their positions alone, not in length."""
    place = {"kind": "decoder", "layer": 0, "head": 4, "query": 3}
    result = anatomy(smollm2, Spec("bank bank bank bank"), **place)
    assert result.rotated and result.scale == 64**-0.5
    same = result.k[1:]  # the first has no space before it
    assert not torch.allclose(same[0], same[1], atol=1e-2)
    torch.testing.assert_close(same[0].norm(), same[1].norm(), rtol=1e-4, atol=0)
    torch.testing.assert_close(result.dots * result.scale, result.scores)


def test_a_head_switched_off_changes_what_comes_after_it_alone(smollm2: Loaded) -> None:
    edit = Edit("ablate", layer=2, head=3)
    before, after = (
        run(smollm2, Spec(RIVER, edits=edits)).records["decoder"].attn for edits in ((), (edit,))
    )
    torch.testing.assert_close(before[:3], after[:3], atol=1e-5, rtol=0)
    assert (before[3:] - after[3:]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "text", ["Don't stop.", "你好，世界 😀", "مرحبا بالعالم", "<|im_start|>user\nHi"]
)
def test_tokens_are_the_models_own(minilm: Loaded, smollm2: Loaded, text: str) -> None:
    for loaded in (minilm, smollm2):
        tokens = loaded.tokenizer.encode(text)
        assert [token.id for token in tokens] == loaded.tokenizer.backend(text).input_ids
        assert not any(char in token.text for token in tokens for char in "ĠÃä")


# "When John and Mary went to the shops, John gave the bag to" -> " Mary" rather than " John", in
# float32; the weights here are kept in float16. The values are those of an implementation by hooks
# and of TransformerLens 4.3.
JOHN = "When John and Mary went to the shops, John gave the bag to"
ZERO = {(1, 3): -2.412, (20, 0): -1.6479, (23, 3): -2.3209, (29, 0): 1.1456}
MEAN_POSITIONS = {(1, 3): -0.0917, (20, 0): -1.22, (23, 3): -1.62, (29, 0): 1.0649}
RESAMPLE = {(1, 3): -0.0025, (20, 0): -1.6081, (23, 3): -4.9544, (29, 0): 1.646}
DENOISE = {(17, 4): 0.0994, (20, 0): 0.2641, (23, 3): 0.74, (29, 0): -0.2618}


@pytest.fixture(scope="module")
def named(smollm2: Loaded) -> tuple[lab.ReadText, lab.ReadText]:
    clean = lab.text_of(smollm2, Spec(JOHN))
    corrupted = lab.text_of(smollm2, Spec(JOHN.replace(", John", ", Mary")))
    lab.check_pair(clean, corrupted)
    return clean, corrupted


def test_the_metric_is_mary_rather_than_john(named: tuple[lab.ReadText, lab.ReadText]) -> None:
    clean, corrupted = named
    metric = lab.metric_of(clean)
    assert metric == lab.LogitDifference(13, 5099, 2322)
    assert lab.value_of(clean, metric) == pytest.approx(3.12139, rel=2e-3)
    assert lab.value_of(corrupted, metric) == pytest.approx(-4.1569, rel=1e-3)


@pytest.mark.parametrize(
    ("how", "effects"),
    [
        ("zero", ZERO),
        ("mean_positions", MEAN_POSITIONS),
        ("resample", RESAMPLE),
        ("denoise", DENOISE),
    ],
)
def test_effects_of_known_heads(
    named: tuple[lab.ReadText, lab.ReadText], how: lab.How, effects: dict[tuple[int, int], float]
) -> None:
    clean, corrupted = named
    metric = lab.metric_of(clean)
    ends = [lab.value_of(text, metric) for text in named]
    given = lab.replacements(how, "decoder", clean, corrupted)
    text = corrupted if how == "denoise" else clean
    start, end = (ends[1], ends[0]) if how == "denoise" else (ends[0], None)
    rows = lab.selections(text, "decoder", "heads")
    for (layer, head), effect in effects.items():
        where = rows[head : head + 1]
        edit = Edit("replace", "decoder", layer, z=given[layer], where=where)
        with torch.inference_mode():
            value = lab.measured(text, metric, [edit]).cpu()
        assert lab.scaled(value, start, end).item() == pytest.approx(effect, rel=3e-3, abs=5e-4)


# Direct logit attribution of the same metric: heads, MLPs, and their sums.
WRITES = {
    (20, 0): 0.225, (23, 0): -0.3875, (23, 1): 0.6501, (23, 2): 0.7107, (23, 3): 1.9166,
    (23, 7): 0.7436, (24, 4): -0.8664, (28, 1): -0.3961, (29, 0): -0.9368, (29, 1): 1.2286,
}  # fmt: skip
MLPS = {18: 0.4784, 26: 0.9311, 28: 1.8481, 29: 1.4727}


def test_direct_writes_of_known_heads(named: tuple[lab.ReadText, lab.ReadText]) -> None:
    clean = named[0]
    metric = lab.metric_of(clean)
    result = writes(clean, metric)
    assert result.sum == pytest.approx(result.value, abs=1e-5)
    heads = result.heads["decoder"]
    for (layer, head), effect in WRITES.items():
        assert heads[layer, head].item() == pytest.approx(effect, rel=5e-3, abs=2e-3)
    for layer, effect in MLPS.items():
        assert result.mlps[layer].item() == pytest.approx(effect, rel=5e-3)
    parts = heads.sum().item(), result.mlps.sum().item(), result.embedding
    assert parts == pytest.approx((0.1, 3.0611, -0.0397), abs=1e-2)
    assert heads[23].sum().item() == pytest.approx(3.6647, rel=5e-3)
    assert result.bias == 0, "a Llama has no biases"


def test_a_head_looks_at_one_name_and_writes_the_other(
    named: tuple[lab.ReadText, lab.ReadText],
) -> None:
    clean = named[0]
    metric = lab.metric_of(clean)
    row = head_writes(clean, metric.position, writes(clean, metric), "decoder", 23, 3)
    assert row.attn[[9, 0, 3]].tolist() == pytest.approx([0.634, 0.18, 0.103], abs=2e-3)
    assert row.k_tokens[row.looks].text == " John"
    assert row.looks == row.largest == 9
    assert row.writes[9].item() == pytest.approx(1.968, abs=1e-2), "which favours Mary"
    assert row.is_against(metric)


# The rank of " Mary" after the embedding and each layer; near 1000 neighbours are close together.
RANKS = [
    1867,
    1357,
    1479,
    1612,
    1285,
    1162,
    1286,
    1125,
    1055,
    1275,
    1595,
    1214,
    937,
    885,
    1008,
    945,
]
RANKS += [1002, 1149, 1094, 910, 829, 794, 856, 800, 125, 141, 158, 132, 107, 32, 0]


def test_ranks_of_mary_after_each_layer(named: tuple[lab.ReadText, lab.ReadText]) -> None:
    readings = logit_lens(named[0], lab.metric_of(named[0]))
    ranks = [reading.rank for reading in readings]
    assert ranks == pytest.approx(RANKS, rel=0.02, abs=2)
    assert ranks[23] > 6 * ranks[24], "the jump is layer 23's"


# The cosine of two sentences in MiniLM, from an implementation by hooks, float32 as here.
MONEY = "She opened an account at the bank to save money."
ZEROED = {(5, 7): -0.03577, (5, 10): -0.03036, (0, 4): 0.02535, (5, 8): 0.02248}


@pytest.fixture(scope="module")
def sentences(minilm: Loaded) -> Row:
    river, money = (lab.text_of(minilm, Spec(text)) for text in (RIVER, MONEY))
    metric = lab_metrics.cosine_of(river, money)
    return row_of(river, metric, 0, 0, 6)  # bank


def test_two_sentences_are_this_far_apart(sentences: Row) -> None:
    text, metric = sentences.text, sentences.metric
    start = lab.value_of(text, metric)
    assert start == pytest.approx(0.348483, abs=1e-5)
    for (layer, head), effect in ZEROED.items():
        edits = interventions.edits_of(
            bench_of(text, None), Intervention("zero", "encoder", layer, head), text
        )
        change = interventions.outcome(text, metric, edits).value - start
        assert change == pytest.approx(effect, abs=5e-5)


def test_three_methods_tell_three_stories(sentences: Row) -> None:
    """Values of integrated gradients, deletion and rollout."""
    words = [token.text for token in sentences.text.sequences["source"]]
    place = {word: i for i, word in enumerate(words)}
    stories = {
        "integrated_gradients": {"bank": 0.0962, "watched": 0.0413, "[CLS]": 0.0336},
        "leave_one_out": {"bank": 0.1492, "river": -0.1046, "sat": -0.064},
        "rollout": {"[CLS]": 0.6596, "[SEP]": 0.0979, "bank": 0.0303, "river": 0.0243},
    }
    for method, story in stories.items():
        values = attribution(sentences, method).values
        assert values is not None
        for word, value in story.items():
            assert values[place[word]].item() == pytest.approx(value, abs=2e-4), (method, word)
        if method == "integrated_gradients":
            assert values.sum().item() == pytest.approx(0.310712, abs=1e-3)


def test_integrated_gradients_do_not_converge_in_smollm2(
    named: tuple[lab.ReadText, lab.ReadText],
) -> None:
    clean = named[0]
    row = row_of(clean, lab.metric_of(clean), 23, 3, None)
    result = attribution(row, "integrated_gradients")
    assert result.complete is not None and result.complete.number > 0.5
    assert (result.values, result.reason) == (None, "property-fails")
    for method in ("attention", "flow", "norms", "gradient_attention", "value_zeroing"):
        assert attribution(row, method).values is not None, method
